"""Parts of target dirs that are of little use, and may go alone: which there are, as far as known.

They are looked for while nothing is built and the disk is half full: before there is too little
room it is known what costs nothing to be without.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from forge.core import room_events
from forge.core.actions import Action
from forge.core.eviction import Choice, Piece
from forge.core.moment import Moment
from forge.core.room_actions import FindStale
from forge.core.target_dirs import TargetDir

if TYPE_CHECKING:
    from forge.core.state import State

FULL_SHARE = 0.5
NEEDED_SHARE = 0.05
"""The chance that a part which nobody has used for a day is wanted again."""

LOST_ANSWER_S = 60.0


@dataclass(slots=True)
class Stale:
    """What was found, by target dir, and as of which use of it."""

    state: "State"
    _found: dict[str, tuple[float, room_events.StaleFound]] = field(default_factory=dict)
    _asked: tuple[str, float] | None = None

    def tick(self, now: Moment) -> list[Action]:
        """Look at the next target dir, if it is time."""
        usage = self.state.disk.usage
        if self.state.builds or usage is None or self.state.tasks.running:
            return []
        if usage.used_bytes < FULL_SHARE * usage.total_bytes:
            return []
        if self._asked and now.steady_s - self._asked[1] < LOST_ANSWER_S:
            return []
        for one in self.state.target_dirs.values():
            if one.size_bytes and self._as_of(one.path) < one.last_used_at:
                self._asked = one.path, now.steady_s
                return [FindStale(one.path)]
        return []

    def found(self, event: room_events.StaleFound, now: Moment) -> list[Action]:
        """Take in what is of little use in a target dir."""
        if self._asked and self._asked[0] == event.path:
            self._asked = None
        known = self.state.target_dirs.get(event.path)
        if known:
            self._found[event.path] = known.last_used_at, event
        return self.state.room.stale_found(event.path, now)

    def pieces(self, one: TargetDir, rebuild_s: float) -> tuple[Piece, ...]:
        """Return what of a target dir can go alone; nothing when it was used since."""
        as_of, event = self._found.get(one.path, (0.0, None))
        if event is None or as_of < one.last_used_at:
            return ()
        size_bytes = max(1, one.size_bytes or 0)
        return tuple(
            Piece(paths, part_bytes, NEEDED_SHARE * rebuild_s * part_bytes / size_bytes, why)
            for paths, part_bytes, why in event.parts
        )

    def choices(self, path: str) -> tuple[Choice, ...]:
        """Return all that can go alone of a target dir that was just looked at."""
        _, event = self._found.get(path, (0.0, None))
        parts = event.parts if event else ()
        return tuple(Choice(path, paths, size, why) for paths, size, why in parts)

    def gone(self, path: str) -> None:
        """Forget what was found: it was deleted."""
        self._found.pop(path, None)

    def _as_of(self, path: str) -> float:
        return self._found[path][0] if path in self._found else float("-inf")
