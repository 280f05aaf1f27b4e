"""Who goes first, a person who waits or work that nobody watches, and who waits for how long."""

from collections.abc import Mapping

from forge.core.shares import Priority
from forge.core.units import parse_duration_s

EDITOR_VARIABLES = ("VSCODE_PID",)
"""Variables that editors set for what they start."""


def priority_of(env: Mapping[str, str], interactive: bool) -> Priority:
    """Say how urgent a build is by how it was started: FORGE_PRIORITY, CI, an editor, a terminal.

    `interactive`: stdin and stderr are a terminal, which is a person; an agent's shell, a pipe or a
    script has none.
    """
    named = env.get("FORGE_PRIORITY")
    if named in tuple(Priority):
        return Priority(named)
    if env.get("CI", "") not in ("", "0", "false"):
        return Priority.BATCH
    if any(env.get(name) for name in EDITOR_VARIABLES):
        return Priority.INTERACTIVE
    return Priority.INTERACTIVE if interactive else Priority.BATCH


def patience_of(env: Mapping[str, str]) -> float | None:
    """Return for how many seconds a build may wait in line; None: for as long as it takes."""
    try:
        return parse_duration_s(env.get("FORGE_WAIT_TIMEOUT", ""))
    except ValueError:
        return None  # the launcher refuses what is wrong
