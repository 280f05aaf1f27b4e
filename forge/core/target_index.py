"""The index of target dirs: what is found on the disk, and how large it is.

A target dir is walked when a build that has changed it is over, and then only the profile that was
built; never because time has passed. What else comes and goes at the top of the disk (a person who
deletes or renames a target dir) is seen by a watch, and looked up.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from forge.core import disk_events
from forge.core.actions import Action, Log
from forge.core.build_lock import profile_dir
from forge.core.builds import Build
from forge.core.cargo_args import Kind
from forge.core.disk_actions import MeasureTargetDir, RecordTargetDir
from forge.core.history import Recorder
from forge.core.moment import Moment
from forge.core.priority import who_of
from forge.core.target_dirs import LastUse, TargetDir

if TYPE_CHECKING:
    from forge.core.state import State


class TargetIndex:
    """Keeps `State.target_dirs` true to the disk."""

    def __init__(self, state: "State") -> None:
        self._state = state

    def found(self, event: disk_events.TargetDirsFound, now: Moment) -> list[Action]:
        """Take in what is on the disk, forget what is not, and measure what is new."""
        known = self._state.target_dirs
        actions: list[Action] = []
        there = {one.path for one in event.found}
        for path in [path for path in known if path not in there]:
            if self._is_expected_back(known[path], event.looked_at):
                continue
            actions.append(Log("target.gone", {"path": path, "root": known[path].root}))
            del known[path]
        for one in event.found:
            if one.path not in known:  # what a build has just used is known better
                known[one.path] = one
                if one.parts is None:
                    actions.append(MeasureTargetDir(one.path))
        return actions

    def used(self, build: Build, path: str, now: Moment) -> TargetDir:
        """Take note that a build uses a target dir."""
        known = self._state.target_dirs.get(path)
        target_dir = TargetDir(
            path=path,
            root=build.root,
            created_at=known.created_at if known else now.wall_s,
            last_used_at=now.wall_s,
            builds=(known.builds if known else 0) + 1,
            size_bytes=known.size_bytes if known else None,
            files=known.files if known else 0,
            parts=known.parts if known else None,
            last=LastUse(
                build.id, build.args.verb, build.args.profile, build.priority, build.via,
                build.client["key"] if build.client else who_of(build.env, build.interactive),
            ),
        )  # fmt: skip
        self._state.target_dirs[path] = target_dir
        return target_dir

    def walk_after(self, build: Build, recorder: Recorder | None) -> list[Action]:
        """Measure what a build that is over may have changed."""
        assert build.target_dir, "only what is on the disk is walked"
        known = self._state.target_dirs.get(build.target_dir)
        if known is None or known.parts is None:
            return [MeasureTargetDir(build.target_dir)]
        has_worked = recorder is None or recorder.tally.units or recorder.tally.links
        if build.is_gated and not has_worked and build.args.verb not in _UNGATED_VERBS:
            return []  # all was fresh
        if build.args.kind is not Kind.BUILD:
            return [MeasureTargetDir(build.target_dir)]  # `clean`
        return [MeasureTargetDir(build.target_dir, profile_dir(build.args))]

    def measured(self, event: disk_events.TargetDirMeasured, now: Moment) -> list[Action]:
        """Take a size in; a target dir that is gone has none."""
        known = self._state.target_dirs.get(event.path)
        if known is None:
            return []
        if event.size_bytes is None:
            del self._state.target_dirs[event.path]
            return []
        size_bytes, files, parts = event.size_bytes, event.files, event.parts
        if parts:
            parts = parts.after(known.parts, event.kept).named(known.parts)
            size_bytes, files = parts.size_bytes, parts.files
        last_used_at = now.wall_s if self.in_use(known) else known.last_used_at
        measured = replace(
            known, last_used_at=last_used_at, size_bytes=size_bytes, files=files, parts=parts
        )
        self._state.target_dirs[event.path] = measured
        return [RecordTargetDir(measured)]

    def evicted(self, path: str) -> None:
        """Forget one that was evicted, unless a build has made it again by now."""
        known = self._state.target_dirs.get(path)
        if known and not self.in_use(known):
            del self._state.target_dirs[path]

    def _is_expected_back(self, one: TargetDir, looked_at: float) -> bool:
        """Say whether one that was not there is made again, or others tell what becomes of it."""
        is_ours = one.path in self._state.room.evicting or self._state.tasks.at(one.path)
        return bool(is_ours) or self.in_use(one) or one.last_used_at > looked_at

    def in_use(self, target_dir: TargetDir) -> bool:
        """Say whether a build is at work in it."""
        return any(build.target_dir == target_dir.path for build in self._state.builds.values())


_UNGATED_VERBS = frozenset(("doc", "d", "rustdoc", "test", "t", "clean", "package", "publish"))
"""What may write without a unit at our gates: rustdoc passes none, a test may leave files."""
