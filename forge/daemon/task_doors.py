"""Performs tasks on whole target dirs, and lists and deletes snapshots. In threads of its own.

One thread saves: two at once would only make each slower. What a build may wait for has others. A
task tells how far it is a few times a second, and asks as often whether it was stopped.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import forge
from forge.core import actions, events
from forge.core.snapshots import Snapshot
from forge.core.tasks import Task, TaskKind
from forge.daemon.ports import Ports
from forge.errors import ForgeError
from forge.host import adoption, seeding, spill_dir
from forge.host.restoring import restore
from forge.host.saving import Source, save
from forge.host.snapshots import SnapshotStore
from forge.host.target_dirs import is_filled

TOLD_EVERY_S = 0.25
Post = Callable[[events.Event], None]


class Stopped(ForgeError):
    """A task was told to stop: a build wants its target dir."""

    slug = "task-stopped"


class TaskDoors:
    """The doors of tasks. `post` takes events from any thread."""

    def __init__(self, ports: Ports, post: Post) -> None:
        self._loop = ports.loop
        self._post = post
        self._saving = ThreadPoolExecutor(1, "snapshot")
        self._moving = ThreadPoolExecutor(2, "target")
        self._stops: dict[int, threading.Event] = {}
        self._has_swept = False

    def does(self) -> dict[type, Callable[[Any], None]]:
        """Return which actions are performed here, and how."""
        return {
            actions.FindSnapshots: lambda a: self._in_saving(self._find, a),
            actions.RemoveSnapshots: lambda a: self._in_saving(self._remove, a),
            actions.BeginTask: self._begin,
            actions.StopTask: self._stop,
        }

    def close(self) -> None:
        """Stop all tasks; what they have half done they clean up."""
        for stop in list(self._stops.values()):
            stop.set()
        for threads in (self._saving, self._moving):
            threads.shutdown(wait=True, cancel_futures=True)

    def _begin(self, action: actions.BeginTask) -> None:
        task = action.task
        self._stops[task.number] = threading.Event()
        to_ssd = task.kind in (TaskKind.SAVE, TaskKind.KEEP)
        (self._saving if to_ssd else self._moving).submit(self._run, task)

    def _stop(self, action: actions.StopTask) -> None:
        if action.number in self._stops:
            self._stops[action.number].set()

    def _run(self, task: Task) -> None:
        stop = self._stops[task.number]
        try:
            teller = _Teller(task.number, self._post, stop)
            began = time.monotonic()
            size_bytes, snapshot = perform(task, teller.tell)
            took_s = round(time.monotonic() - began, 3)
            event: events.Event = events.TaskDone(task.number, size_bytes, took_s, snapshot)
        except ForgeError as error:
            event = events.TaskFailed(task.number, error.slug, error.message, error.hint)
        except OSError as error:
            reason = f"{error.filename or task.path}: {error.strerror or error}"
            event = events.TaskFailed(task.number, "snapshot-failed", reason)
        except Exception as error:  # noqa: BLE001  # a bug: nobody may wait for it for ever
            self._report(task, error)
            reason = f"internal error: {error!r}"
            event = events.TaskFailed(task.number, "snapshot-failed", reason)
        del self._stops[task.number]
        self._post(event)

    def _report(self, task: Task, error: Exception) -> None:
        context = {"message": f"the task {task.kind} failed", "exception": error}
        self._loop.call_soon_threadsafe(self._loop.call_exception_handler, context)

    def _in_saving(self, do: Callable[[Any], None], action: Any) -> None:
        self._saving.submit(do, action)

    def _find(self, action: actions.FindSnapshots) -> None:
        store = SnapshotStore(action.directory)
        try:
            swept = [] if self._has_swept else store.sweep()
            self._has_swept = True
            found = events.SnapshotsFound(tuple(store.known()), store.room(), tuple(swept))
        except OSError:
            found = events.SnapshotsFound((), None)
        self._post(found)

    def _remove(self, action: actions.RemoveSnapshots) -> None:
        store = SnapshotStore(action.directory)
        for one in action.snapshots:
            try:
                store.remove(one)
            except (OSError, ForgeError):
                continue  # the list that follows tells that it is still there
        self._find(actions.FindSnapshots(action.directory))


class _Teller:
    """Tells how far a task is, and ends it when it was stopped."""

    def __init__(self, number: int, post: Post, stop: threading.Event) -> None:
        self._number = number
        self._post = post
        self._stop = stop
        self._told_at = 0.0

    def tell(self, done_bytes: int, whole_bytes: int) -> None:
        if self._stop.is_set():
            raise Stopped("stopped: a build wants the target dir")
        now = time.monotonic()
        if now - self._told_at >= TOLD_EVERY_S:
            self._told_at = now
            self._post(events.TaskProgressed(self._number, done_bytes, whole_bytes))


def perform(task: Task, on_bytes: Callable[[int, int], None]) -> tuple[int, Snapshot | None]:
    """Do what a task says; return the bytes it was about, and the snapshot it has made."""
    store = SnapshotStore(task.snapshots_dir, task.cores, version=forge.__version__, nice=task.nice)
    token = task.disk.token if task.disk else ""
    if task.kind is TaskKind.SAVE:
        saved = save(store, Source(task.path, task.root, token, task.name), task.most_bytes,
                     on_bytes)  # fmt: skip
        return (saved.size_bytes if saved else 0), saved
    if task.kind is TaskKind.KEEP:
        kept = adoption.keep(
            store, task.source, task.path, task.root or "", task.most_bytes, on_bytes
        )
        return kept.size_bytes, kept
    if task.kind is TaskKind.DISOWN:
        return adoption.disown(task.path, task.source, on_bytes), None
    assert task.disk, f"{task.kind} goes to a disk"
    if task.kind is TaskKind.ADOPT:
        return adoption.adopt(task.disk, task.source, task.path, task.most_bytes, on_bytes), None
    if task.kind is TaskKind.SPILL:
        return spill_dir.move_out(task.disk, task.path, task.source, on_bytes), None
    if task.kind is TaskKind.RETURN:
        return spill_dir.move_back(
            task.disk, task.path, task.source, task.most_bytes, on_bytes
        ), None
    if is_filled(task.path) and not task.replaces:
        return 0, None  # a build was quicker, or an earlier daemon has made it
    if task.kind is TaskKind.RESTORE:
        assert task.snapshot, "a restore has a snapshot"
        restore(store, task.snapshot, task.disk, task.most_bytes, on_bytes)
        return task.snapshot.size_bytes, None
    return _seed(task, on_bytes), None


def _seed(task: Task, on_bytes: Callable[[int, int], None]) -> int:
    assert task.disk and task.root, "a target dir is seeded for a checkout, on a disk"
    candidates = [seeding.Sibling(path, root) for path, root in task.siblings]
    sibling = seeding.sibling_of(task.root, candidates)
    if sibling is None:
        return 0  # no other checkout of the repository is built here
    return seeding.seed(task.disk, sibling, task.root, task.path, task.most_bytes, on_bytes)
