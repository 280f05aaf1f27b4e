"""The mode of each project: what of it is on the RAM disk.

In the mode `target-dir` all of its target dir is. In the mode `build-dir` the intermediates are,
and cargo puts programs and libraries into the project's own `target`, as it would without us. The
directory on the disk is the same one in both, and cargo finds all of it fresh in both (measured,
cargo 1.95), so a switch costs nothing.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

from forge.core import messages
from forge.core.actions import Action, Log, Send
from forge.core.disk_actions import KeepTargetMode
from forge.core.moment import Moment
from forge.core.replies import error

if TYPE_CHECKING:
    from forge.core.state import State


class TargetMode(StrEnum):
    """What of a project is on the RAM disk."""

    TARGET_DIR = "target-dir"
    BUILD_DIR = "build-dir"


class TargetModes:
    """The modes that were chosen, by canonical root; the others are `target-dir`."""

    def __init__(self, state: "State", chosen: Mapping[str, str]) -> None:
        self._state = state
        known = {root: mode for root, mode in chosen.items() if mode in tuple(TargetMode)}
        self._chosen = {root: TargetMode(mode) for root, mode in known.items()}

    def of(self, root: str | None) -> TargetMode:
        """Return the mode of a project."""
        return self._chosen.get(root or "", TargetMode.TARGET_DIR)

    def request(self, conn: int, message: messages.SetTargetMode, now: Moment) -> list[Action]:
        """Take note of another mode, from a project's next build on."""
        if message.mode not in tuple(TargetMode):
            return [error(conn, "usage-mistake", f"there is no mode `{message.mode[:40]}`",
                          "it is `target-dir` or `build-dir`")]  # fmt: skip
        mode, was = TargetMode(message.mode), self.of(message.root)
        self._chosen[message.root] = mode
        line = f"{message.root} is built in the mode {mode}"
        line += " already" if was is mode else " from its next build on"
        fields = {"root": message.root, "mode": mode, "was": was}
        return [
            Log("target.mode", fields),
            KeepTargetMode(message.root, mode),
            Send(conn, {"type": "ok", "line": line}),
        ]
