"""Tasks on whole target dirs: which run, who waits for them, and which are due.

At most one task has a target dir at a time, and a build has it never together with one. A build
whose target dir is missing waits for it to be restored or seeded, for as long as that takes: it is
faster than the build. A save gives way to a build at once: it is stopped and comes again later.
Whatever fails leaves things as they were, and the build goes on from there.

Invariant: a build in the phase RESTORING waits for a task on its target dir, or for the list of
snapshots.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from forge.core import events
from forge.core.actions import Action, BeginTask, FindSnapshots, Log, RemoveSnapshots, StopTask
from forge.core.builds import Build, BuildPhase
from forge.core.cargo_args import Kind
from forge.core.disk_actions import MeasureTargetDir, RecordTargetDir
from forge.core.moment import Moment
from forge.core.snapshots import (
    Room,
    Snapshot,
    is_due,
    most_bytes,
    newest,
    restorable,
    saves_by_itself,
    superfluous,
    total_bytes,
)
from forge.core.target_dirs import TargetDir
from forge.core.tasks import Task, TaskKind, progress

if TYPE_CHECKING:
    from forge.core.state import State

NICE = 10
LOOKING = "the snapshots are being looked through"
SPARE_BYTES = 256 * 1024 * 1024
"""What a restore or a seed leaves free on the RAM disk for the build that waits for it."""


@dataclass(slots=True)
class Running:
    """A task under way, and how far it is."""

    task: Task
    done_bytes: int = 0
    whole_bytes: int = 0
    is_stopped: bool = False

    @property
    def text(self) -> str:
        """Say it to those who wait."""
        return progress(self.task.kind, self.done_bytes, self.whole_bytes)


@dataclass(slots=True)
class TargetTasks:
    """The tasks under way, and the snapshots that are known. `snapshots` None: not yet."""

    state: "State"
    snapshots: tuple[Snapshot, ...] | None = None
    room: Room | None = None
    running: dict[int, Running] = field(default_factory=dict)
    _next: int = 1
    _tried: dict[str, float] = field(default_factory=dict)
    _were_there: set[str] = field(default_factory=set)

    def begin(self) -> list[Action]:
        """Look for snapshots, at the start and when they are kept elsewhere."""
        directory = self.state.settings.snapshots.directory
        self.snapshots = None if directory else ()
        return [FindSnapshots(directory)] if directory else []

    @property
    def saves_by_itself(self) -> bool:
        """Say whether target dirs are saved without being asked."""
        return saves_by_itself(self.state.settings.snapshots, self.room)

    def at(self, path: str) -> Running | None:
        """Return the task that has a target dir."""
        return next((one for one in self.running.values() if one.task.path == path), None)

    # What a build waits for

    def before_build(self, build: Build, path: str, now: Moment) -> list[Action] | None:
        """Let a build wait for its target dir if there is reason to; None when there is none."""
        actions = self.provide(build, path)
        holder = self.at(path)
        if holder is None and (self.snapshots is not None or build.is_provided):
            return None
        if holder and holder.task.kind is TaskKind.SAVE and not holder.is_stopped:
            holder.is_stopped = True
            actions.append(StopTask(holder.task.number))
        build.enters(BuildPhase.RESTORING, now.steady_s)
        return [*actions, *self.state.launches.tell_wait(build, now)]

    def provide(self, build: Build, path: str) -> list[Action]:
        """Begin to restore or seed the target dir of a build, if this disk never had it.

        This can be long before the build needs it: while it stands in line, for instance.
        """
        if build.is_provided or build.args.kind is not Kind.BUILD:
            build.is_provided = True
            return []
        if self.snapshots is None or self.at(path):
            return []
        build.is_provided = True
        was_there = path in self._were_there or path in self.state.target_dirs
        self._were_there.add(path)
        if was_there or self.state.disk.disk is None:
            return []
        task = self._restore(build, path) or self._seed(build, path)
        return self.start(task) if task else []

    def cleaned(self, path: str) -> None:
        """Take note that a person has deleted a target dir: its next build begins anew."""
        self._were_there.add(path)

    def evicted(self, path: str) -> None:
        """Take note that a target dir was deleted for room: its next build wants it back."""
        self._were_there.discard(path)
        name = path.rpartition("/")[2]
        self.snapshots = tuple(
            replace(one, disk="") if one.name == name else one for one in self.snapshots or ()
        )

    def _restore(self, build: Build, path: str) -> Task | None:
        disk = self.state.disk.disk
        assert disk, "a build is placed on a disk that is there"
        if self.state.settings.snapshots.enabled is False:
            return None
        last = restorable(self.snapshots or (), path.rpartition("/")[2], disk.token)
        if last is None or last.size_bytes > self.room_on_disk():
            return None
        return self.new(TaskKind.RESTORE, path, build.root, snapshot=last)

    def _seed(self, build: Build, path: str) -> Task | None:
        if not self.state.settings.seeds:
            return None
        there = sorted(self.state.target_dirs.values(), key=lambda one: -one.last_used_at)
        siblings = tuple((one.path, one.root) for one in there if one.root and one.path != path)
        if not siblings:
            return None
        return self.new(TaskKind.SEED, path, build.root, siblings=siblings)

    def wait_reason(self, build: Build) -> str:
        """Say what a build in the phase RESTORING waits for."""
        path = self.state.launches.path_of(build)
        holder = self.at(path) if path else None
        return holder.text if holder else LOOKING

    def room_on_disk(self) -> int:
        """Return how much may be put on the RAM disk."""
        usage = self.state.disk.usage
        return max(0, usage.free_bytes - SPARE_BYTES) if usage else 0

    # Tasks

    def new(
        self,
        kind: TaskKind,
        path: str,
        root: str | None,
        *,
        snapshot: Snapshot | None = None,
        source: str = "",
        siblings: tuple[tuple[str, str], ...] = (),
        replaces: bool = False,
    ) -> Task:
        """Put a task together."""
        goes_to_ssd = kind in (TaskKind.SAVE, TaskKind.KEEP)
        self._next += 1
        return Task(
            self._next, kind, path, root, self.state.disk.disk, snapshot, source, siblings,
            self.room_for_snapshots() if goes_to_ssd else self.room_on_disk(),
            replaces, self.state.settings.snapshots.directory, self.state.settings.cores,
        )  # fmt: skip

    def room_for_snapshots(self) -> int:
        """Return how much all snapshots together may take."""
        held = total_bytes(self.snapshots or ())
        return most_bytes(self.state.settings.snapshots, self.room or Room(0, 0), held)

    def start(self, task: Task) -> list[Action]:
        """Begin a task on a target dir that nothing else has."""
        assert self.at(task.path) is None, f"two tasks for {task.path}"
        self.running[task.number] = Running(task)
        if task.kind is TaskKind.SAVE:
            known = self.state.target_dirs.get(task.path)
            self._tried[task.path] = known.last_used_at if known else 0.0
        return [BeginTask(task)]

    def found(self, event: events.SnapshotsFound, now: Moment) -> list[Action]:
        """Take in which snapshots there are."""
        self.snapshots, self.room = event.snapshots, event.room
        said: list[Action] = [Log("target.swept", {"path": path}) for path in event.swept]
        return said + self._wake(None, now)

    def progressed(self, event: events.TaskProgressed, now: Moment) -> list[Action]:
        """Take in how far a task is."""
        running = self.running.get(event.number)
        if running:
            running.done_bytes, running.whole_bytes = event.done_bytes, event.whole_bytes
        return []

    def done(self, event: events.TaskDone, now: Moment) -> list[Action]:
        """Take in what a task has done."""
        running = self.running.pop(event.number, None)
        if running is None:
            return []
        task = running.task
        fields = {"target_dir": task.path, "size_bytes": event.size_bytes, "took_s": event.took_s}
        is_told = event.size_bytes or event.snapshot
        said = [Log("target.task_done", {"task": task.kind, **fields})] if is_told else []
        actions: list[Action] = [*said]
        if event.snapshot:
            actions += self._keep(event.snapshot)
        if task.kind in (TaskKind.RESTORE, TaskKind.ADOPT) and event.size_bytes:
            actions += self._index(task, event.size_bytes, now)
        if task.kind is TaskKind.RESTORE and task.snapshot and task.disk:
            self._is_on(task.snapshot, task.disk.token)
        if task.kind is TaskKind.DISOWN:
            actions.append(MeasureTargetDir(task.path))
        actions += self.state.spills.moved(task, event.size_bytes, now)
        actions += self.state.disk.measure()
        return actions + self._wake(task, now) + self.state.snapshot_requests.done(task, event, now)

    def failed(self, event: events.TaskFailed, now: Moment) -> list[Action]:
        """Go on without what a task should have done."""
        running = self.running.pop(event.number, None)
        if running is None:
            return []
        task = running.task
        if running.is_stopped:
            self._tried.pop(task.path, None)
        fields = {"task": task.kind, "target_dir": task.path, "reason": event.reason}
        decision = "target.task_stopped" if running.is_stopped else "target.task_failed"
        actions: list[Action] = [Log(decision, fields)]
        if task.kind is TaskKind.RESTORE:
            self._note(task, f"{event.reason}; building anew")
        self.state.spills.stayed(task, event.reason, self._waiting_for(task), now)
        return (
            actions + self._wake(task, now) + self.state.snapshot_requests.failed(task, event, now)
        )

    def try_again(self) -> None:
        """Take what could not be saved as unsaved, because its disk is about to go."""
        self._tried.clear()

    def forget_disk(self) -> None:
        """Forget what was on a disk that is gone."""
        self._tried.clear()
        self._were_there.clear()
        for build in self.state.builds.values():
            build.is_provided = False  # on the next disk there is nothing of what it had here

    # What is due

    def unsaved(self) -> list[TargetDir]:
        """Return the target dirs that have changed since they were saved, and are not in use."""
        index = self.state.target_index
        return [
            one
            for one in self.state.target_dirs.values()
            if one.root and one.size_bytes and not index.in_use(one)
            and self.at(one.path) is None and one.last_used_at > self._saved_at(one)
        ]  # fmt: skip

    def coming_back(self) -> set[str]:
        """Return the target dirs that are saved as they are: their next builds restore them."""
        disk = self.state.disk.disk
        if disk is None or not self.saves_by_itself:
            return set()
        last = {one.name: one for one in sorted(self.snapshots or (), key=lambda one: one.at)}
        tasks = {running.task.path for running in self.running.values()}
        return {
            one.path
            for one in self.state.target_dirs.values()
            if (saved := last.get(one.path.rpartition("/")[2])) and one.path not in tasks
            and saved.disk == disk.token and saved.at >= one.last_used_at
        }  # fmt: skip

    def save(self, one: TargetDir) -> list[Action]:
        """Begin to save a target dir."""
        return self.start(self.new(TaskKind.SAVE, one.path, one.root))

    def tick(self, now: Moment) -> list[Action]:
        """Save a target dir that is due, one at a time."""
        if self.running or self.snapshots is None or not self.saves_by_itself:
            return []
        idle_s, is_idle = self.state.settings.snapshots.idle_s, not self.state.builds
        due = [
            one
            for one in self.unsaved()
            if is_due(
                one.last_used_at, self._saved_at(one), now.wall_s, idle_s, machine_is_idle=is_idle
            )
        ]
        if not due:
            return []
        one = due[0]  # nobody waits for it: it gives way to whatever else there is to do
        return self.start(replace(self.new(TaskKind.SAVE, one.path, one.root), nice=NICE))

    def check(self) -> None:
        """Assert the invariants."""
        paths = [one.task.path for one in self.running.values()]
        assert len(paths) == len(set(paths)), "two tasks have one target dir"
        for build in self.state.builds.values():
            if build.phase is BuildPhase.RESTORING:
                path = self.state.launches.path_of(build)
                assert path in paths or self.snapshots is None, f"{build.id} waits for nothing"

    def _saved_at(self, one: TargetDir) -> float:
        """Return when a target dir was last used before it was saved, or tried to be."""
        last = newest(self.snapshots or (), one.path.rpartition("/")[2])
        disk = self.state.disk.disk
        saved_at = last.at if last and disk and last.disk == disk.token else 0.0
        return max(self._tried.get(one.path, 0.0), saved_at)

    def _keep(self, snapshot: Snapshot) -> list[Action]:
        """Take a new snapshot in, and let those go that are too many."""
        self.snapshots = (*(self.snapshots or ()), snapshot)
        settings = self.state.settings.snapshots
        gone = superfluous(self.snapshots, settings.keep, self.room_for_snapshots())
        fields = {"snapshot": snapshot.id, "target_dir": snapshot.name,
                  "stored_bytes": snapshot.stored_bytes}  # fmt: skip
        actions: list[Action] = [Log("target.saved", fields)]
        return actions + self.remove(gone)

    def remove(self, gone: list[Snapshot]) -> list[Action]:
        """Delete snapshots."""
        if not gone:
            return []
        self.snapshots = tuple(one for one in self.snapshots or () if one not in gone)
        logged = [Log("target.unsaved", {"snapshot": o.id, "target_dir": o.name}) for o in gone]
        directory = self.state.settings.snapshots.directory
        return [*logged, RemoveSnapshots(directory, tuple(gone))]

    def _is_on(self, snapshot: Snapshot, token: str) -> None:
        self.snapshots = tuple(
            replace(one, disk=token) if (one.name, one.id) == (snapshot.name, snapshot.id) else one
            for one in self.snapshots or ()
        )

    def _index(self, task: Task, size_bytes: int, now: Moment) -> list[Action]:
        """Enter a target dir that was not made by a build."""
        at = task.snapshot.at if task.snapshot else now.wall_s
        entry = TargetDir(task.path, task.root, created_at=at, last_used_at=at,
                          size_bytes=size_bytes)  # fmt: skip
        self.state.target_dirs[task.path] = entry
        return [RecordTargetDir(entry), MeasureTargetDir(task.path)]

    def _note(self, task: Task, line: str) -> None:
        for build in self._waiting_for(task):
            build.notes.append(line)

    def _wake(self, task: Task | None, now: Moment) -> list[Action]:
        """Place the builds that waited for a task, or for the list of snapshots."""
        waiting = self._waiting_for(task)
        return [action for build in waiting for action in self.state.launches.place(build, now)]

    def _waiting_for(self, task: Task | None) -> list[Build]:
        waiting = [b for b in self.state.builds.values() if b.phase is BuildPhase.RESTORING]
        if task is None:
            return waiting
        return [build for build in waiting if self.state.launches.path_of(build) == task.path]
