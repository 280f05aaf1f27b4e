"""Notices that forge.toml has changed, by the events of the OS (watchdog).

Editors replace files, so the directory is watched and not the file; where there is none yet, the
nearest directory above that exists.
"""

import os
from collections.abc import Callable

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

_CHANGES = frozenset(("created", "modified", "moved", "deleted", "closed"))


class ConfigWatch(FileSystemEventHandler):
    """Calls `on_change`, from a thread of its own, when the file may have changed."""

    def __init__(self, file: str, on_change: Callable[[], object]) -> None:
        self._file = os.path.abspath(file)
        self._on_change = on_change
        self._observer = Observer()
        self._watched: str | None = None
        self._seen = _stamp(self._file)

    def start(self) -> None:
        """Begin to watch. Raises OSError where the OS has no watches left (inotify(7))."""
        self._observer.daemon = True
        self._watch_nearest()
        self._observer.start()

    def stop(self) -> None:
        """Stop watching."""
        self._observer.stop()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Look whether the file is another than it was, and where it is to be watched from now."""
        if event.event_type not in _CHANGES:
            return
        self._watch_nearest()
        stamp = _stamp(self._file)
        if stamp != self._seen:
            self._seen = stamp
            self._on_change()

    def _watch_nearest(self) -> None:
        directory = os.path.dirname(self._file)
        while not os.path.isdir(directory):
            directory = os.path.dirname(directory)
        if directory != self._watched:
            self._observer.unschedule_all()
            self._observer.schedule(self, directory)
            self._watched = directory


def _stamp(file: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
