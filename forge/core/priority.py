"""Who goes first, a person who waits or work that nobody watches, and who waits for how long."""

import os
from collections.abc import Mapping

from forge.core.shares import Priority
from forge.core.units import parse_duration_s

AGENT_VARIABLES = ("CLAUDECODE",)
"""Variables that coding agents set for what they run; their editors set them in terminals too."""

EDITOR_VARIABLES = ("VSCODE_PID",)
"""Variables that editors set for what they start, but not in their terminals."""

FLYCHECK_LOG = "cargo::core::compiler::fingerprint=info"
"""CARGO_LOG of the check that rust-analyzer runs at each save, in whatever editor."""

ANALYZER = "rust-analyzer"
"""The RUSTC_WRAPPER with which it builds build scripts and macros when a project is opened."""


def priority_of(env: Mapping[str, str], interactive: bool) -> Priority:
    """Say how urgent a build is by how it was started.

    `interactive`: stdin and stderr are a terminal, which is a person; an agent's shell, a pipe or a
    script has none. Without one it is a person's where an editor asks, and no agent in between.
    """
    named = env.get("FORGE_PRIORITY")
    if named in tuple(Priority):
        return Priority(named)
    if env.get("CI", "") not in ("", "0", "false"):
        return Priority.BATCH
    if interactive:
        return Priority.INTERACTIVE
    if any(env.get(name) for name in AGENT_VARIABLES):
        return Priority.BATCH
    return Priority.INTERACTIVE if _is_an_editors(env) else Priority.BATCH


def who_of(env: Mapping[str, str], interactive: bool) -> str:
    """Name who has asked for a build, as far as its environment tells."""
    if env.get("CI", "") not in ("", "0", "false"):
        return "ci"
    if any(env.get(name) for name in AGENT_VARIABLES):
        return "agent"
    if _is_an_editors(env) and not interactive:
        return "editor"
    if env.get("SSH_CONNECTION"):
        return "ssh"
    return "person" if interactive else "program"


def patience_of(env: Mapping[str, str]) -> float | None:
    """Return for how many seconds a build may wait in line; None: for as long as it takes.

    With 0 it does not wait at all.
    """
    try:
        return parse_duration_s(env.get("FORGE_WAIT_TIMEOUT", ""))
    except ValueError:
        return None  # the launcher says so


def _is_an_editors(env: Mapping[str, str]) -> bool:
    if any(env.get(name) for name in EDITOR_VARIABLES):
        return True
    if env.get("CARGO_LOG") == FLYCHECK_LOG:
        return True
    return os.path.basename(env.get("RUSTC_WRAPPER", "")) == ANALYZER
