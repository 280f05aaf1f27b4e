"""Deletes what was put aside on the RAM disk, and nothing that lies anywhere else.

Everything is reached by descriptors, one directory after the other, no link is followed, and each
directory must lie on the disk's own device and mount. What is mounted inside stays, with the way to
it: the next daemon tries again.
"""

import contextlib
import errno
import fcntl
import os
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from forge.errors import DiskUnavailable

TRASH_PREFIX = ".evicted-"
MAX_DEPTH = 64
"""Below that a directory is moved to the top, so that no tree takes all our descriptors."""

BLOCK_BYTES = 512  # st_blocks counts these, whatever the file system's block is: stat(2)
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TOLD = 20
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS = 0x80086601, 0x40086602
_IMMUTABLE_OR_APPEND_ONLY = 0x10 | 0x20
"""linux/fs.h: FS_IMMUTABLE_FL, FS_APPEND_FL."""


@dataclass(slots=True)
class Emptied:
    """What became of it: bytes that are free again, and what could not be deleted, and why."""

    freed_bytes: int = 0
    files: int = 0
    left: list[str] = field(default_factory=list)


def open_root(mount_point: str, device_id: int) -> int:
    """Open the root of the disk. Raises DiskUnavailable when another file system is there."""
    try:
        root = os.open(mount_point, DIRECTORY)
    except OSError as error:
        raise DiskUnavailable(f"{mount_point}: {error.strerror}") from None
    if os.fstat(root).st_dev != device_id:
        os.close(root)
        raise DiskUnavailable(f"another file system is at {mount_point}")
    return root


def trash_on(root: int) -> list[str]:
    """Name what was put aside and is still there."""
    with os.scandir(root) as entries:
        return sorted(one.name for one in entries if one.name.startswith(TRASH_PREFIX))


def empty(root: int, name: str, should_stop: Callable[[], bool] = lambda: False) -> Emptied:
    """Delete one thing that was put aside; `should_stop` is asked at each directory."""
    assert name.startswith(TRASH_PREFIX) and "/" not in name, f"{name} was not put aside"
    sweep = _Sweep(root, _mount_of(root), should_stop, pending=[name])
    with contextlib.suppress(_Stopped):
        while sweep.pending:
            sweep.remove(root, sweep.pending.pop(), 0)
    return sweep.done


class _Stopped(Exception):  # no failure
    """Somebody wants us to stop."""


@dataclass(slots=True)
class _Sweep:
    """One deletion. `pending` are names at the root; what lies too deep is moved there."""

    root: int
    mount: tuple[int, str]
    should_stop: Callable[[], bool]
    pending: list[str]
    done: Emptied = field(default_factory=Emptied)
    _moved: int = 0

    def remove(self, directory: int, name: str, depth: int) -> None:
        """Delete a file, or a directory with all that is in it."""
        try:
            below = self._open(directory, name)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                self._unlink(directory, name)
            else:
                self._leave(name, error)
            return
        try:
            if _mount_of(below) != self.mount:
                self.done.left.append(f"{name}: another file system is mounted there")
                return
            self._children(below, depth)
        finally:
            os.close(below)
        self._take_away(os.rmdir, directory, name)

    def _open(self, directory: int, name: str) -> int:
        try:
            return os.open(name, DIRECTORY, dir_fd=directory)
        except PermissionError:
            _make_readable(directory, name)
            return os.open(name, DIRECTORY, dir_fd=directory)

    def _children(self, below: int, depth: int) -> None:
        if self.should_stop():
            raise _Stopped
        with contextlib.suppress(OSError):  # not ours: what can be deleted is
            os.fchmod(below, 0o700)
        with os.scandir(below) as entries:
            names = [(one.name, one.is_dir(follow_symlinks=False)) for one in entries]
        for name, is_directory in names:
            if not is_directory:
                self._unlink(below, name)
            elif depth < MAX_DEPTH:
                self.remove(below, name, depth + 1)
            else:
                self._move_up(below, name)

    def _move_up(self, below: int, name: str) -> None:
        """Take a directory out of the depth; it is deleted from the top."""
        self._moved += 1
        top = f"{TRASH_PREFIX}deep-{os.getpid()}-{self._moved}"
        try:
            os.rename(name, top, src_dir_fd=below, dst_dir_fd=self.root)
            self.pending.append(top)
        except OSError as error:
            self._leave(name, error)

    def _unlink(self, directory: int, name: str) -> None:
        try:
            seen = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError:
            return  # somebody was faster
        if self._take_away(os.unlink, directory, name):
            self.done.files += 1
            if seen.st_nlink == 1:
                self.done.freed_bytes += seen.st_blocks * BLOCK_BYTES

    def _take_away(self, take: Callable[..., None], directory: int, name: str) -> bool:
        try:
            try:
                take(name, dir_fd=directory)
            except PermissionError:
                make_mutable(directory, name)
                make_mutable(directory, ".")
                take(name, dir_fd=directory)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._leave(name, error)
            return False
        return True

    def _leave(self, name: str, error: OSError) -> None:
        if len(self.done.left) < _TOLD:
            self.done.left.append(f"{name}: {error.strerror}")


def _make_readable(directory: int, name: str) -> None:
    """Let us into a directory that is shut, never through a link."""
    if os.chmod in os.supports_follow_symlinks:
        os.chmod(name, 0o700, dir_fd=directory, follow_symlinks=False)
        return
    place = os.open(name, os.O_PATH | DIRECTORY, dir_fd=directory)
    try:
        os.chmod(f"/proc/self/fd/{place}", 0o700)
    finally:
        os.close(place)


def make_mutable(directory: int, name: str) -> None:
    """Take away what forbids deleting a file or a directory: immutable, append-only, locked."""
    with contextlib.suppress(OSError):
        descriptor = os.open(name, _FILE, dir_fd=directory)
        try:
            if sys.platform == "darwin":
                os.chflags(descriptor, 0)
                return
            (flags,) = struct.unpack("l", fcntl.ioctl(descriptor, _FS_IOC_GETFLAGS, b"\0" * 8))
            if flags & _IMMUTABLE_OR_APPEND_ONLY:
                mutable = struct.pack("l", flags & ~_IMMUTABLE_OR_APPEND_ONLY)
                fcntl.ioctl(descriptor, _FS_IOC_SETFLAGS, mutable)
        finally:
            os.close(descriptor)


def _mount_of(descriptor: int) -> tuple[int, str]:
    """Return what tells a mount from others: the device, and on Linux, where a directory may be
    mounted inside another of the same device, the number of the mount.
    """
    device = os.fstat(descriptor).st_dev
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as lines:
            return device, next((line for line in lines if line.startswith("mnt_id")), "")
    except OSError:
        return device, ""
