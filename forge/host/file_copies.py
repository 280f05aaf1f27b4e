"""Copies of files: by sharing blocks where the file system can, else byte by byte.

FICLONE (btrfs, XFS, bcachefs) and clonefile (APFS) share blocks until one side writes; both sides
are then files of their own. tmpfs can do neither. Sources: ioctl_ficlone(2), clonefile(2).
"""

import ctypes
import errno
import fcntl
import functools
import os
import sys

from forge.host.frames import write_all

PIECE_BYTES = 4 * 1024 * 1024
_FICLONE = 0x40049409
_CLONE_NOFOLLOW = 1
_CANNOT = {errno.EOPNOTSUPP, errno.EXDEV, errno.ENOTTY, errno.EINVAL, errno.ENOSYS, errno.EPERM}


class FileCopies:
    """Copies files within one tree; what the file system cannot do is asked of it once."""

    def __init__(self) -> None:
        self.can_clone = True

    def copy(self, source: int, path: str, mode: int) -> int:
        """Copy an open file to a new `path`, and return its descriptor. Raises OSError."""
        if self.can_clone and sys.platform == "darwin":
            self.can_clone = _clonefile(source, path)
            if self.can_clone:
                return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        copy = os.open(path, flags, mode | 0o600)
        try:
            if self.can_clone and sys.platform == "linux":
                self.can_clone = _ficlone(source, copy)
            if not self.can_clone or sys.platform != "linux":
                _copy_bytes(source, copy)
        except BaseException:
            os.close(copy)
            raise
        return copy


def are_equal(one: int, other: int) -> bool:
    """Say whether two open files have the same content, by reading both."""
    at = 0
    while True:
        piece = os.pread(one, PIECE_BYTES, at)
        if piece != os.pread(other, PIECE_BYTES, at):
            return False
        if not piece:
            return True
        at += len(piece)


def _copy_bytes(source: int, copy: int) -> None:
    while piece := os.read(source, PIECE_BYTES):
        write_all(copy, piece)


def _ficlone(source: int, copy: int) -> bool:
    try:
        fcntl.ioctl(copy, _FICLONE, source)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        return False
    return True


def _clonefile(source: int, path: str) -> bool:
    at_cwd = -2  # AT_FDCWD of macOS
    if _libsystem().fclonefileat(source, at_cwd, os.fsencode(path), _CLONE_NOFOLLOW) == 0:
        return True
    number = ctypes.get_errno()
    if number not in _CANNOT:
        raise OSError(number, os.strerror(number), path)
    return False


@functools.cache
def _libsystem() -> ctypes.CDLL:
    return ctypes.CDLL("/usr/lib/libSystem.B.dylib", use_errno=True)
