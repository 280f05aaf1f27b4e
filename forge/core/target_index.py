"""The index of target dirs: what is found on the disk, and how large it is."""

from dataclasses import replace
from typing import TYPE_CHECKING

from forge.core import events
from forge.core.actions import Action, MeasureTargetDir, RecordTargetDir
from forge.core.moment import Moment
from forge.core.target_dirs import TargetDir

if TYPE_CHECKING:
    from forge.core.state import State


class TargetIndex:
    """Keeps `State.target_dirs` true to the disk."""

    def __init__(self, state: "State") -> None:
        self._state = state

    def found(self, event: events.TargetDirsFound, now: Moment) -> list[Action]:
        """Take in what is on the disk, and measure what is new."""
        for one in event.found:  # what a build has just used is known better
            self._state.target_dirs.setdefault(one.path, one)
        return [MeasureTargetDir(one.path) for one in event.found if one.size_bytes is None]

    def measured(self, event: events.TargetDirMeasured, now: Moment) -> list[Action]:
        """Take a size in; a target dir that is gone has none."""
        known = self._state.target_dirs.get(event.path)
        if known is None:
            return []
        if event.size_bytes is None:
            del self._state.target_dirs[event.path]
            return []
        last_used_at = now.wall_s if self.in_use(known) else known.last_used_at
        measured = replace(
            known, last_used_at=last_used_at, size_bytes=event.size_bytes, files=event.files
        )
        self._state.target_dirs[event.path] = measured
        return [RecordTargetDir(measured)]

    def in_use(self, target_dir: TargetDir) -> bool:
        """Say whether a build is at work in it."""
        return any(build.target_dir == target_dir.path for build in self._state.builds.values())
