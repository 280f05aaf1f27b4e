"""Who goes first: a person who waits, or work that nobody watches."""

from forge.core.builds import Build
from forge.core.shares import Priority

EDITOR_VARIABLES = ("VSCODE_PID",)
"""Variables that editors set for what they start."""


def priority_of(build: Build) -> Priority:
    """Say how a build was started: FORGE_PRIORITY, else CI, an editor, a terminal.

    A terminal on both ends is a person; an agent's shell, a pipe or a script has none.
    """
    named = build.env.get("FORGE_PRIORITY")
    if named in tuple(Priority):
        return Priority(named)
    if build.env.get("CI", "") not in ("", "0", "false"):
        return Priority.BATCH
    if any(build.env.get(name) for name in EDITOR_VARIABLES):
        return Priority.INTERACTIVE
    return Priority.INTERACTIVE if build.interactive else Priority.BATCH
