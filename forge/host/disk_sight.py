"""Keeps the RAM disk in sight: notices within a second that it is gone, or has become read-only.

No event of the OS tells all of that everywhere (a lazy unmount tells nothing at all), and a look is
two system calls and a small file: so a thread looks twice a second, and events of the OS (watchdog)
on the disk's top directory only make it look at once. They also tell that a target dir came or went
behind our back. One watch is all that it takes; without one, looking goes on.
"""

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from forge.core.disk import Disk
from forge.errors import ForgeError

LOOK_EVERY_S = 0.5

_COMINGS_AND_GOINGS = frozenset(("created", "deleted", "moved"))


@dataclass(frozen=True, slots=True)
class Seen:
    """What is told: the disk is lost (`lost` says how), can be written to or not, or `changed`."""

    disk: Disk
    lost: str | None = None
    writable: bool = True
    changed: bool = False


class DiskSight(FileSystemEventHandler):
    """Watches one disk at a time. `tell` is called from the thread here, `look` as well.

    `look` says whether the disk can be written to; ForgeError means that it is gone, OSError that
    nobody can tell now.
    """

    def __init__(
        self,
        look: Callable[[Disk], bool],
        tell: Callable[[Seen], object],
        every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._look = look
        self._tell = tell
        self._every_s = every_s
        self._lock = threading.Lock()
        self._disk: Disk | None = None
        self._was_writable = True
        self._has_changed = False
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None
        self._observer: BaseObserver | None = None
        self._closed = False

    def watch(self, disk: Disk) -> str | None:
        """Begin to watch a disk; return why the OS gives no events, if it does not."""
        with self._lock:
            is_another = self._disk is None or self._disk.token != disk.token
            self._disk, self._was_writable = disk, True
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="disk-sight", daemon=True)
                self._thread.start()
        return self._listen(disk.mount_point) if is_another else None

    def unwatch(self) -> None:
        """Stop watching: the disk is being taken away."""
        with self._lock:
            self._disk = None
        self._hush()

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self.unwatch()
        self._woken.set()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Look at once when something comes to the top of the disk, or goes."""
        name = os.path.basename(os.fsdecode(event.src_path))
        if event.event_type in _COMINGS_AND_GOINGS and not name.startswith("."):
            self._has_changed = True
            self._woken.set()

    def _run(self) -> None:
        while not self._closed:
            self._woken.wait(self._every_s)
            self._woken.clear()
            disk = self._disk
            if disk is not None and not self._closed:
                self._look_at(disk)

    def _look_at(self, disk: Disk) -> None:
        changed, self._has_changed = self._has_changed, False
        try:
            writable = self._look(disk)
        except ForgeError as error:
            self._report(Seen(disk, lost=error.message))
            return
        except OSError:
            return  # a full table of open files: it says nothing of the disk
        if writable != self._was_writable or changed:
            self._report(Seen(disk, writable=writable, changed=changed))

    def _report(self, seen: Seen) -> None:
        with self._lock:
            if self._disk is None or self._disk.token != seen.disk.token:
                return  # it was taken away as asked
            self._was_writable = seen.writable
            if seen.lost:
                self._disk = None
        self._tell(seen)

    def _listen(self, mount_point: str) -> str | None:
        self._hush()
        observer = Observer()
        observer.daemon = True
        try:
            observer.schedule(self, mount_point)
            observer.start()
        except OSError as error:  # inotify(7): no watches left
            return str(error)
        self._observer = observer
        return None

    def _hush(self) -> None:
        observer, self._observer = self._observer, None
        if observer:
            with contextlib.suppress(OSError, RuntimeError):
                observer.stop()
