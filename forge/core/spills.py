"""Projects that are built on the SSD because the RAM disk has no room for them.

Their target dirs lie in a directory of Forge's own. A build that runs out of room is ended before
the disk is full, or fails because it is, and begins anew like one that was ended for memory; before
its cargo goes on, its target dir moves. A project that is known to be larger than the disk starts
there. At a later build's start, when it would fit, it comes back. docs/design/room.md has the why.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from forge.core import disk_events
from forge.core.actions import Action, Log
from forge.core.builds import Build, BuildPhase
from forge.core.disk_actions import MeasureTargetDir, RecordTargetDir
from forge.core.moment import Moment
from forge.core.room_actions import ForgetSpill, KeepSpill, SweepSpills
from forge.core.spill import Spill
from forge.core.target_dirs import TargetDir
from forge.core.tasks import Task, TaskKind
from forge.core.units import show_bytes
from forge.core.workspace import target_dir_name

if TYPE_CHECKING:
    from forge.core.state import State

AGAIN_S = 60.0
"""A move that failed is tried again no sooner."""

GROWS_BY = 1.1
"""What a project needs: as much as it has after a whole build, and a little for the next one."""


@dataclass(slots=True)
class Spills:
    """The projects that are on the SSD, by workspace root."""

    state: "State"
    by_root: dict[str, Spill] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)
    _refused_s: dict[str, float] = field(default_factory=dict)
    _whole: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, state: "State", known: Iterable[Spill]) -> "Spills":
        """Begin with what an earlier daemon knew."""
        return cls(state, {one.root: one for one in known})

    def begin(self) -> list[Action]:
        """Clean up after an earlier daemon."""
        directory = self.state.settings.spill_dir
        return [SweepSpills(directory)] if directory else []

    # Where a build goes

    def before_build(self, build: Build, path: str, now: Moment) -> list[Action] | None:
        """Send a build to the SSD, or its target dir back; None when it belongs on the disk."""
        assert build.root, "only builds of a workspace are redirected"
        one = self.by_root.get(build.root)
        if self.state.tasks.at(path) or (one is None and not self._is_too_large(build, now)):
            return None
        if one is None:
            disk = self.state.disk.usage
            room = show_bytes(disk.total_bytes) if disk else "less"
            needs_bytes = self.state.growth.cold_bytes(build) or 0
            why = f"it needs {show_bytes(needs_bytes)}, and the RAM disk has {room}"
            one = self.put_out(build.root, needs_bytes, why, now)
        if not one.is_there:
            return self._move(TaskKind.SPILL, build, path, one, now)
        if build.again is None and self._fits(one, now):
            return self._move(TaskKind.RETURN, build, path, one, now)
        return self._go(build, one, now)

    def put_out(self, root: str, needs_bytes: int, why: str, now: Moment) -> Spill:
        """Send a project to the SSD, from its next build on."""
        directory = self.state.settings.spill_dir
        path = f"{directory}/{target_dir_name(root)}"
        one = self.by_root[root] = Spill(root, path, needs_bytes, why, now.wall_s)
        self._told.discard(root)
        return one

    def may_move(self, root: str, now_s: float) -> bool:
        """Say whether moving a project may be tried: it is wanted, and did not just fail."""
        is_wanted = bool(self.state.settings.spill_dir) and root not in self.by_root
        return is_wanted and self._has_rested(root, now_s)

    def ended(self, build: Build) -> None:
        """Take note that a whole build is over: what it needs is there to be measured."""
        if build.is_spilled and build.root and build.exit == 0:
            self._whole.add(build.root)

    def root_of(self, path: str) -> str | None:
        """Return whose target dir on the SSD that is."""
        return next((one.root for one in self.by_root.values() if one.path == path), None)

    def lock_of(self, build: Build) -> str | None:
        """Return the lock file that cargo takes: on the SSD where the build is there."""
        path = self.state.launches.path_of(build)
        if not (build.lock and build.is_spilled and build.target_dir and path):
            return build.lock
        return build.target_dir + build.lock.removeprefix(path)

    def _is_too_large(self, build: Build, now: Moment) -> bool:
        usage = self.state.disk.usage
        assert build.root, "only builds of a workspace are redirected"
        if usage is None or not usage.total_bytes or not self.may_move(build.root, now.steady_s):
            return False
        cold = self.state.growth.cold_bytes(build)
        return cold is not None and cold > usage.total_bytes

    def _has_rested(self, root: str, now_s: float) -> bool:
        """Say whether no move of a project has failed lately."""
        return now_s - self._refused_s.get(root, float("-inf")) >= AGAIN_S

    def _fits(self, one: Spill, now: Moment) -> bool:
        usage = self.state.disk.usage
        if usage is None or any(b.target_dir == one.path for b in self.state.builds.values()):
            return False
        if not self._has_rested(one.root, now.steady_s):
            return False
        needs_bytes = one.needs_bytes + self.state.room.wanted_bytes()
        return needs_bytes <= usage.free_bytes

    def _move(
        self, kind: TaskKind, build: Build, path: str, one: Spill, now: Moment
    ) -> list[Action]:
        tasks = self.state.tasks
        usage = self.state.disk.usage
        room_bytes = usage.free_bytes - self.state.room.wanted_bytes() if usage else 0
        new = tasks.new(kind, path, one.root, source=one.path)
        task = replace(new, most_bytes=max(0, room_bytes))
        build.enters(BuildPhase.RESTORING, now.steady_s)
        return [*tasks.start(task), *self.state.launches.tell_wait(build, now)]

    def _go(self, build: Build, one: Spill, now: Moment) -> list[Action]:
        if one.root not in self._told:
            self._told.add(one.root)
            build.notes.append(f"building on the SSD, in {one.path}: {one.why}")
        build.target_dir, build.is_spilled = one.path, True
        return self.state.launches.go(build, now, why="no room on the RAM disk")

    # What becomes of a move

    def moved(self, task: Task, size_bytes: int, now: Moment) -> list[Action]:
        """Take note that a target dir is where it was to go."""
        one = self.by_root.get(task.root or "")
        if one is None or task.kind not in (TaskKind.SPILL, TaskKind.RETURN):
            return []
        fields = {"root": one.root, "target_dir": task.path, "size_bytes": size_bytes}
        if task.kind is TaskKind.RETURN:
            del self.by_root[one.root]
            entry = TargetDir(task.path, one.root, now.wall_s, now.wall_s, size_bytes=size_bytes)
            self.state.target_dirs[task.path] = entry
            return [Log("target.returned", fields), ForgetSpill(one.root), RecordTargetDir(entry),
                    MeasureTargetDir(task.path)]  # fmt: skip
        self.state.target_dirs.pop(task.path, None)
        one = replace(one, is_there=True, needs_bytes=max(one.needs_bytes, size_bytes))
        self.by_root[one.root] = one
        return [Log("target.spilled", {**fields, "to": one.path, "why": one.why}), KeepSpill(one),
                MeasureTargetDir(task.path)]  # fmt: skip

    def stayed(self, task: Task, reason: str, builds: list[Build], now: Moment) -> None:
        """Take note that a target dir could not be moved: the build goes on where that is."""
        if task.kind not in (TaskKind.SPILL, TaskKind.RETURN) or not task.root:
            return
        self._refused_s[task.root] = now.steady_s
        if task.kind is TaskKind.SPILL:
            self.by_root.pop(task.root, None)
            for build in builds:
                build.notes.append(f"it cannot go on on the SSD: {reason}")

    def measured(self, event: disk_events.TargetDirMeasured, now: Moment) -> list[Action]:
        """Take in how large a target dir on the SSD is; all others are the index's."""
        root = self.root_of(event.path)
        if root is None:
            return self.state.target_index.measured(event, now)
        one = self.by_root[root]
        if event.size_bytes is None:
            if one.is_there:  # it was deleted: its next build is at home again
                del self.by_root[root]
            return [ForgetSpill(root)]
        needs_bytes = int(GROWS_BY * event.size_bytes)
        if root not in self._whole:
            needs_bytes = max(needs_bytes, one.needs_bytes)
        self._whole.discard(root)
        self.by_root[root] = replace(one, needs_bytes=needs_bytes)
        return [KeepSpill(self.by_root[root])]

    def report(self) -> list[dict[str, Any]]:
        """Tell which projects are on the SSD, as in the status."""
        return [
            {"root": one.root, "path": one.path, "needs_bytes": one.needs_bytes, "why": one.why,
             "since": one.at, "moved": one.is_there}
            for one in self.by_root.values()
        ]  # fmt: skip
