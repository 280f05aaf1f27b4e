"""A RAM disk that is a directory: how it is taken away and how it is measured.

A build may still write to the directory while it goes, and may have made parts of it read-only. So
it is renamed first, which no writer holds up: from then on its place is free. What cannot be
deleted under the new name stays there with its marker, by which a later `ensure` knows it.

A directory is entered only after it was renamed, and moved to the top of the tree: rename(2)
refuses mount points (EBUSY), so nothing that is mounted inside is entered, and no tree is too deep.
All goes by descriptors, never through a link.
"""

import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from forge.core.disk import Disk, DiskKind
from forge.core.workspace import is_target_dir_name
from forge.errors import DiskBusy
from forge.host.disk_marker import DiskMarker, read_marker, write_marker
from forge.host.disk_usage import TreeSize, measure_tree
from forge.host.mounts import read_mounts
from forge.host.processes_linux import users_of
from forge.host.ramdisk import MARKER_NAME

WALK_EVERY_S = 15.0
"""A directory's size is measured by walking it, at most this often."""
WALK_SHARE = 0.05
"""A walk that takes long is made so much more rarely that it costs no more of a core."""
TRIES = 5
PAUSE_S = 0.1
RETRIES_S = 2.0  # all tries after the first together: a build may write faster than we delete

_ASIDE = ".gone-"


class TreeMeter:
    """The size of a disk's tree, walked now and then. One thread walks at a time."""

    def __init__(
        self,
        every_s: float = WALK_EVERY_S,
        walk: Callable[[str], TreeSize | None] = measure_tree,
        share: float = WALK_SHARE,
    ) -> None:
        self._every_s = every_s
        self._share = share
        self._walk = walk
        self._walking = threading.Lock()
        self._last: tuple[str, float, TreeSize] | None = None  # replaced whole, never changed
        self._took_s = 0.0

    def read(self, disk: Disk) -> TreeSize:
        """Return the last figure while it is fresh or a walk is under way; walk otherwise."""
        every_s = max(self._every_s, self._took_s / self._share)
        if size := self._known(disk, every_s):
            return size
        if not self._walking.acquire(blocking=False):
            if size := self._known(disk, float("inf")):
                return size
            self._walking.acquire()
        try:
            return self._known(disk, every_s) or self._measure(disk)
        finally:
            self._walking.release()

    def forget(self) -> None:
        """Walk at the next reading."""
        self._last = None

    def _known(self, disk: Disk, age_s: float) -> TreeSize | None:
        last = self._last
        fits = last and last[0] == disk.token and time.monotonic() - last[1] < age_s
        return last[2] if last and fits else None

    def _measure(self, disk: Disk) -> TreeSize:
        began = time.monotonic()
        size = self._walk(disk.mount_point) or TreeSize(0, 0)
        self._took_s = time.monotonic() - began
        # after the walk: one that takes longer than the pause would never count as fresh
        self._last = (disk.token, time.monotonic(), size)
        return size


def refuse_if_used(place: str) -> None:
    """Raise DiskBusy when a process has something of `place` open, or a mount sits in it."""
    users = [f"{name} (pid {pid})" for pid, name in users_of(place)]
    users += [
        f"a mount at {mount.mount_point}"
        for mount in read_mounts()
        if mount.mount_point.startswith(place.rstrip("/") + "/")
    ]
    if users:
        raise DiskBusy(
            f"{place} is in use by {', '.join(users[:5])}",
            hint="end it, or `forge disk unmount --force`",
        )


def put_aside(place: str, marker: DiskMarker) -> str | None:
    """Free `place` by renaming it, and return the name to `delete_aside`.

    Where its parent does not allow that, delete it in place and return None; DiskBusy when
    something is left, which keeps its marker.
    """
    aside = f"{place.rstrip('/')}{_ASIDE}{secrets.token_hex(16)}"
    try:
        os.rename(place, aside)
    except OSError:  # EACCES, EPERM, EROFS: the parent's; EBUSY: a mount point; ENAMETOOLONG
        if _delete(place, marker, TRIES):
            return None
        raise DiskBusy(
            f"{place} cannot be emptied: something still writes there, or is another user's",
            hint="end it, then `forge disk unmount` again",
        ) from None
    return aside


def delete_aside(aside: str, marker: DiskMarker) -> None:
    """Delete what `put_aside` renamed. What resists is left for `delete_leftovers`."""
    with suppress(OSError):  # EMFILE, EIO, another that deletes it: its place is free all the same
        _delete(aside, marker, TRIES)


def delete_leftovers(place: str) -> None:
    """Delete what earlier deletions of `place` left beside it, where the marker proves it ours."""
    parent, name = os.path.split(place.rstrip("/"))
    shape = re.compile(re.escape(name + _ASIDE) + "[0-9a-f]{32}")
    with suppress(OSError):  # EACCES: a parent that we may pass and not list
        for other in filter(shape.fullmatch, os.listdir(parent)):
            aside = os.path.join(parent, other)
            if marker := _own_marker(aside):
                with suppress(OSError):  # as in `delete_aside`
                    _delete(aside, marker, 1)


def holds_only_target_dirs(place: Path) -> bool:
    """Say whether all there are target dirs of ours.

    When a disk vanishes below builds, their compilers make their directories anew, in its place.
    """
    with os.scandir(place) as entries:
        return all(
            is_target_dir_name(entry.name)
            and entry.is_dir(follow_symlinks=False)
            and entry.stat(follow_symlinks=False).st_uid == os.getuid()
            for entry in entries
        )


def _own_marker(aside: str) -> DiskMarker | None:
    marker = read_marker(Path(aside))
    if os.path.islink(aside) or os.lstat(aside).st_uid != os.getuid():
        return None
    return marker if marker and marker.kind is not DiskKind.TMPFS else None


def _delete(root: str, marker: DiskMarker, tries: int) -> bool:
    """Say whether the tree is gone, or empty where its parent keeps it."""
    until = float("inf")
    for attempt in range(tries):
        if attempt:
            until = min(until, time.monotonic() + RETRIES_S)
            time.sleep(PAUSE_S)
        top = _open_directory(root)
        try:
            _empty(top, until)
            left = set(os.listdir(top)) - {MARKER_NAME}
        finally:
            os.close(top)
        if not left and _remove_root(root, marker):
            return True
    return False


def _remove_root(root: str, marker: DiskMarker) -> bool:
    """Remove a root that has only its marker left; it gets that back if a build was quicker."""
    (Path(root) / MARKER_NAME).unlink(missing_ok=True)
    try:
        os.rmdir(root)
    except FileNotFoundError:
        return True
    except OSError:  # ENOTEMPTY, or the parent keeps it
        if os.listdir(root):
            write_marker(Path(root), marker)
            return False
    return True


def _empty(top: int, until: float) -> None:
    """Delete what can be deleted below `top` before `until`, except the marker."""
    directories = _delete_files(top, top, until)
    while directories and time.monotonic() < until:
        name = directories.pop()
        with suppress(OSError):  # ENOTEMPTY, EACCES: what is left is counted in the end
            directory = _open_directory(name, top)
            try:
                directories += _delete_files(directory, top, until)
            finally:
                os.close(directory)
            os.rmdir(name, dir_fd=top)


def _delete_files(directory: int, top: int, until: float) -> list[str]:
    """Delete the files of `directory`, move its directories to `top`; return their new names."""
    moved = []
    for name in os.listdir(directory):
        if directory == top and name == MARKER_NAME:
            continue
        if time.monotonic() >= until:
            break
        with suppress(OSError):  # as in `_empty`
            try:
                os.unlink(name, dir_fd=directory)
            except IsADirectoryError:
                moved.append(_move_up(name, directory, top))
    return moved


def _move_up(name: str, directory: int, top: int) -> str:
    new = secrets.token_hex(16)
    os.rename(name, new, src_dir_fd=directory, dst_dir_fd=directory)  # EBUSY: a mount point
    os.close(_open_directory(new, directory))  # writable, else it cannot get another parent
    os.rename(new, new, src_dir_fd=directory, dst_dir_fd=top)
    return new


def _open_directory(path: str, parent: int | None = None) -> int:
    """Open a directory, never through a link, and make it readable and writable first."""
    flags = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    found = os.open(path, flags | os.O_PATH, dir_fd=parent)
    try:
        with suppress(PermissionError):  # another user's: what comes next tells whether it matters
            os.chmod(f"/proc/self/fd/{found}", 0o700)
        return os.open(".", flags | os.O_RDONLY, dir_fd=found)
    finally:
        os.close(found)
