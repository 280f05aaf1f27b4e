"""What people ask of snapshots and target dirs, who waits for it, and what comes before an end.

A request may stand for several tasks; it is answered when the last of them is over. Before the disk
is unmounted, and before the daemon is ended from outside, what has changed is saved: that is a
request as well, without a connection to answer for the latter.
"""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from forge.core import events, messages
from forge.core.actions import Action, Log, Quit, Send, StopTask
from forge.core.moment import Moment
from forge.core.replies import error
from forge.core.snapshots import Snapshot, newest, total_bytes
from forge.core.tasks import Task, TaskKind
from forge.core.workspace import target_dir_name

if TYPE_CHECKING:
    from forge.core.state import State

ENDING_PATIENCE_S = 45.0
"""So long the daemon saves when it is told to end; systemd and launchd give 60 s and more."""

SNAPSHOT_VERBS = ("save", "restore", "list", "remove")
MOVE_VERBS = ("adopt", "disown")


@dataclass(slots=True)
class _Asked:
    """A request under way: the numbers of its tasks, and what came of those that are over."""

    since_s: float
    pending: set[int]
    results: list[dict[str, Any]] = field(default_factory=list)
    failure: events.TaskFailed | None = None
    unmount: messages.DiskRequest | None = None


class SnapshotRequests:
    """The requests that wait. Invariant: each waits for a task that is under way."""

    def __init__(self, state: "State") -> None:
        self._state = state
        self._asked: dict[int, _Asked] = {}
        self._ending_s: float | None = None

    # Requests

    def snapshot(self, conn: int, message: messages.SnapshotRequest, now: Moment) -> list[Action]:
        """Take a request about snapshots."""
        tasks = self._state.tasks
        if message.verb not in SNAPSHOT_VERBS:
            return [_no_such_verb(conn, message.verb)]
        if tasks.snapshots is None:
            return [error(conn, "target-busy", "the snapshots are being looked through",
                          "try again")]  # fmt: skip
        if message.verb == "list":
            return [self._list(conn, message.root)]
        if message.verb == "save":
            return self._save(conn, message, now)
        found = self._named(message)
        if found is None:
            what = f"no snapshot {message.id}" if message.id else "no snapshot"
            where = f" of {message.root}" if message.root else ""
            return [error(conn, "no-such-snapshot", f"there is {what}{where}",
                          "`forge target snapshots` lists all")]  # fmt: skip
        if message.verb == "remove":
            return [*tasks.remove([found]), _answer(conn, [asdict(found)])]
        return self._restore(conn, found, message, now)

    def move(self, conn: int, message: messages.MoveRequest, now: Moment) -> list[Action]:
        """Take a request to adopt or to disown."""
        if message.verb not in MOVE_VERBS:
            return [_no_such_verb(conn, message.verb)]
        place = self._state.mount_point()
        disk = self._state.disk.disk
        if place is None or (disk is None and not message.to_snapshot):
            return [_no_disk(conn)]
        path = f"{place}/{target_dir_name(message.root)}"
        busy = self._busy(conn, path)
        if busy:
            return busy
        kind = TaskKind.DISOWN
        if message.verb == "adopt":
            kind = TaskKind.KEEP if message.to_snapshot else TaskKind.ADOPT
        source = f"{message.root}/target"
        task = self._state.tasks.new(kind, path, message.root, source=source)
        return self._begin(conn, [task], now)

    def _save(self, conn: int, message: messages.SnapshotRequest, now: Moment) -> list[Action]:
        tasks, dirs = self._state.tasks, self._state.target_dirs.values()
        if self._state.disk.disk is None:
            return [_no_disk(conn)]
        wanted = [one for one in dirs if one.root and message.root in (None, one.root)]
        if message.root and not wanted:
            return [error(conn, "no-such-snapshot",
                          f"{message.root} has no target dir on the RAM disk")]  # fmt: skip
        free = [one for one in wanted
                if not self._state.target_index.in_use(one) and not tasks.at(one.path)]  # fmt: skip
        if message.root and not free:
            return self._busy(conn, wanted[0].path)
        if not free:
            return [_answer(conn, [])]
        new = [tasks.new(TaskKind.SAVE, one.path, one.root) for one in free]
        return self._begin(conn, new, now)

    def _restore(
        self, conn: int, found: Snapshot, message: messages.SnapshotRequest, now: Moment
    ) -> list[Action]:
        disk = self._state.disk.disk
        if disk is None:
            return [_no_disk(conn)]
        path = f"{disk.mount_point}/{found.name}"
        busy = self._busy(conn, path)
        if busy:
            return busy
        task = self._state.tasks.new(
            TaskKind.RESTORE, path, found.root, snapshot=found, replaces=message.replace
        )
        return self._begin(conn, [task], now)

    def _busy(self, conn: int, path: str) -> list[Action]:
        """Refuse what would disturb a build or another task."""
        running = self._state.tasks.at(path)
        if running:
            return [error(conn, "target-busy", running.text, "try again")]
        users = [b.name for b in self._state.builds.values()
                 if path in (b.target_dir, self._state.launches.path_of(b))]  # fmt: skip
        if users:
            return [error(conn, "target-busy", f"{path} is used by {', '.join(users)}",
                          "wait for it to end")]  # fmt: skip
        return []

    def _named(self, message: messages.SnapshotRequest) -> Snapshot | None:
        known = self._state.tasks.snapshots or ()
        if message.id is not None:
            of_it = [one for one in known
                     if one.id == message.id and message.root in (None, one.root)]  # fmt: skip
            return of_it[0] if len(of_it) == 1 else None
        return newest(known, target_dir_name(message.root)) if message.root else None

    def _list(self, conn: int, root: str | None) -> Send:
        known = self._state.tasks.snapshots or ()
        shown = sorted(known, key=lambda one: (-one.at, one.id))
        return _answer(
            conn,
            [asdict(one) for one in shown if root in (None, one.root)],
            total_bytes=total_bytes(known),
            most_bytes=self._state.tasks.room_for_snapshots(),
            directory=self._state.settings.snapshots.directory,
            by_itself=self._state.tasks.saves_by_itself,
        )

    def _begin(self, conn: int, tasks: list[Task], now: Moment) -> list[Action]:
        self._asked[conn] = _Asked(now.steady_s, {task.number for task in tasks})
        return [action for task in tasks for action in self._state.tasks.start(task)]

    # What becomes of them

    def done(self, task: Task, event: events.TaskDone, now: Moment) -> list[Action]:
        """Take note that a task is done."""
        result = {
            "task": task.kind, "root": task.root, "target_dir": task.path, "source": task.source,
            "size_bytes": event.size_bytes, "took_s": event.took_s,
            "snapshot": asdict(event.snapshot) if event.snapshot else None,
        }  # fmt: skip
        return self._over(task, now, result=result)

    def failed(self, task: Task, event: events.TaskFailed, now: Moment) -> list[Action]:
        """Take note that a task has failed."""
        return self._over(task, now, failure=event)

    def _over(
        self,
        task: Task,
        now: Moment,
        *,
        result: dict[str, Any] | None = None,
        failure: events.TaskFailed | None = None,
    ) -> list[Action]:
        actions: list[Action] = []
        for conn, asked in list(self._asked.items()):
            if task.number not in asked.pending:
                continue
            asked.pending.discard(task.number)
            asked.failure = failure or asked.failure
            asked.results += [result] if result else []
            if not asked.pending:
                del self._asked[conn]
                actions += self._finish(conn, asked, now)
        if self._ending_s is not None and not self._state.tasks.running:
            actions.append(Quit())
        return actions

    def _finish(self, conn: int, asked: _Asked, now: Moment) -> list[Action]:
        if asked.unmount:
            failure = asked.failure.reason if asked.failure else ""
            return self._state.disk_watch.unmount_saved(conn, asked.unmount, failure, now)
        if asked.failure and not asked.results:
            one = asked.failure
            return [error(conn, one.slug, one.reason, one.hint)]
        why = asked.failure.reason if asked.failure else None
        return [_answer(conn, asked.results, failure=why)]

    # Before an end

    def before_unmount(
        self, conn: int, request: messages.DiskRequest, now: Moment
    ) -> list[Action] | None:
        """Save what has changed before the disk goes; None when there is nothing to save."""
        tasks = self._state.tasks
        unsaved = tasks.unsaved() if tasks.saves_by_itself and not request.force else []
        if not unsaved and not tasks.running:
            return None
        actions: list[Action] = [StopTask(n) for n in tasks.running if request.force]
        actions += [action for one in unsaved for action in tasks.save(one)]
        self._asked[conn] = _Asked(now.steady_s, set(tasks.running), unmount=request)
        return actions

    def ending(self, event: events.Ending, now: Moment) -> list[Action]:
        """Save what has changed before the daemon ends; when told again, end at once."""
        tasks = self._state.tasks
        tasks.try_again()
        if self._ending_s is not None or not tasks.saves_by_itself:
            return [Quit()]
        self._ending_s = now.steady_s
        self._state.stopping = True
        actions = [action for one in tasks.unsaved() for action in tasks.save(one)]
        if not tasks.running:
            return [Quit()]
        return [Log("daemon.saving", {"target_dirs": len(tasks.running)}), *actions]

    # Time

    def say_wait(self, now: Moment) -> list[Action]:
        """Tell those who wait how far it is."""
        actions: list[Action] = []
        for conn, asked in self._asked.items():
            running = [self._state.tasks.running[number] for number in sorted(asked.pending)]
            first = max(running, key=lambda one: one.done_bytes)
            more = f" and {len(running) - 1} more to come" if len(running) > 1 else ""
            reason = f"{first.task.root or first.task.name}: {first.text}{more}"
            since_s = round(now.steady_s - asked.since_s, 1)
            actions.append(Send(conn, {"type": "wait", "reason": reason, "since_s": since_s}))
        if self._ending_s is not None and now.steady_s - self._ending_s >= ENDING_PATIENCE_S:
            actions.append(Quit())
        return actions

    def closed(self, conn: int) -> None:
        """Forget who asked; what was begun is finished."""
        self._asked.pop(conn, None)

    def check(self) -> None:
        """Assert the invariant."""
        for asked in self._asked.values():
            waits = asked.pending and asked.pending <= self._state.tasks.running.keys()
            assert waits, "a request waits for nothing"


def _answer(conn: int, results: list[dict[str, Any]], **more: Any) -> Send:
    return Send(conn, {"type": "targets", "results": results, **more})


def _no_such_verb(conn: int, verb: str) -> Send:
    return error(conn, "usage-mistake", f"there is no verb `{verb[:40]}`")


def _no_disk(conn: int) -> Send:
    return error(conn, "disk-unavailable", "the RAM disk is not mounted", "`forge disk mount`")
