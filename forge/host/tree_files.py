"""Files of a tree, written and looked at below one directory and never outside it.

Each component of a path is opened by itself, relative to its parent's descriptor, and never through
a symlink: whoever puts one in the way while we work gets an error, and we never leave the tree. A
file is made in a directory of its own beside the tree and renamed into its place, so what is there
is the old one or the new one, and a hard link to something else is replaced, not written through.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
CHUNK_BYTES = 1 << 20


def open_below(top: int, path: bytes) -> int:
    """Open a directory below another, `b""` for that one itself. Raises OSError."""
    descriptor = os.open(b".", _DIRECTORY, dir_fd=top)
    for component in path.split(b"/") if path else ():
        above = descriptor
        try:
            descriptor = os.open(component, _DIRECTORY, dir_fd=above)
        finally:
            os.close(above)
    return descriptor


def make_below(top: int, path: bytes) -> int:
    """Make and open a directory below another, and what is missing on the way."""
    descriptor = os.open(b".", _DIRECTORY, dir_fd=top)
    for component in path.split(b"/"):
        above = descriptor
        try:
            with contextlib.suppress(FileExistsError):  # what it is, the next line says
                os.mkdir(component, 0o700, dir_fd=above)
            descriptor = os.open(component, _DIRECTORY, dir_fd=above)
        finally:
            os.close(above)
    return descriptor


def is_within(path: str, directory: str) -> bool:
    """Say whether a path names a directory or what is below it, by its text."""
    path, directory = os.path.normpath(path), os.path.normpath(directory)
    return path == directory or path.startswith(directory + os.sep)


class TreeFiles:
    """The files below one directory, or one `below` it that no symlink leads to. Close it."""

    def __init__(self, directory: str, below: bytes = b"") -> None:
        top = os.open(directory, _DIRECTORY)
        try:
            self._top = open_below(top, below)
        finally:
            os.close(top)
        self._parent = (b"", os.dup(self._top))

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._top)
        os.close(self._parent[1])

    def look(self, path: bytes) -> os.stat_result | None:
        """Return what a path is, by itself; None when there is nothing. For looking only."""
        try:
            return os.lstat(path, dir_fd=self._top)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None
            raise

    def read_link(self, path: bytes) -> bytes:
        """Return what a symlink says."""
        parent, name = self._place(path)
        return os.readlink(name, dir_fd=parent)

    def open_file(self, path: bytes) -> int:
        """Open a plain file to read. Raises OSError, also where it is another thing."""
        parent, name = self._place(path)
        descriptor = os.open(name, _FILE, dir_fd=parent)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "no plain file", path)
        return descriptor

    def digest_of(self, path: bytes) -> str:
        """Return the SHA-256 of a plain file; empty when there is none."""
        try:
            descriptor = self.open_file(path)
        except OSError:
            return ""
        digest = hashlib.sha256()
        try:
            for chunk in chunks_of(descriptor):
                digest.update(chunk)
        finally:
            os.close(descriptor)
        return digest.hexdigest()

    def make_directory(self, path: bytes) -> None:
        """Make a directory where none is, in the place of whatever else is there."""
        parent, name = self._place(path)
        found = _look_at(name, parent)
        if found is not None and not stat.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=parent)
            found = None
        if found is None:
            os.mkdir(name, 0o700, dir_fd=parent)

    def put_file(self, path: bytes, staged: bytes, staging: int, mode: int, mtime_ns: int) -> None:
        """Put a staged file in its place, with its mode and time."""
        descriptor = os.open(staged, _FILE, dir_fd=staging)
        try:
            os.fchmod(descriptor, mode)
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(descriptor)
        parent, name = self._place(path)
        self._clear(name, parent)
        os.rename(staged, name, src_dir_fd=staging, dst_dir_fd=parent)

    def put_symlink(self, path: bytes, target: bytes, mtime_ns: int) -> None:
        """Put a symlink in its place."""
        parent, name = self._place(path)
        self._clear(name, parent)
        if _look_at(name, parent) is not None:
            os.unlink(name, dir_fd=parent)
        os.symlink(target, name, dir_fd=parent)
        os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=parent, follow_symlinks=False)

    def set_mode(self, path: bytes, mode: int, mtime_ns: int) -> None:
        """Give a file or a directory its mode and time."""
        parent, name = self._place(path)
        descriptor = os.open(name, _FILE, dir_fd=parent)
        try:
            os.fchmod(descriptor, mode)
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(descriptor)

    def remove(self, path: bytes) -> None:
        """Remove a file or a symlink, or a directory if nothing is left in it."""
        try:
            parent, name = self._place(path)
            found = _look_at(name, parent)
            if found is None:
                return
            if stat.S_ISDIR(found.st_mode):
                os.rmdir(name, dir_fd=parent)
            else:
                os.unlink(name, dir_fd=parent)
        except OSError as error:
            # What a build has made there stays; what is gone with its directory is gone.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR):
                raise

    def clear(self) -> None:
        """Remove all that there is."""
        for name in os.listdir(self._top):
            found = os.lstat(name, dir_fd=self._top)
            if stat.S_ISDIR(found.st_mode):
                shutil.rmtree(name, dir_fd=self._top)
            else:
                os.unlink(name, dir_fd=self._top)

    def _clear(self, name: bytes, parent: int) -> None:
        """Take away a directory that stands where something else belongs."""
        found = _look_at(name, parent)
        if found is not None and stat.S_ISDIR(found.st_mode):
            shutil.rmtree(name, dir_fd=parent)

    def _place(self, path: bytes) -> tuple[int, bytes]:
        """Return the descriptor of a path's parent, and its name there.

        The last parent stays open: what is removed or replaced is always a child of it.
        """
        directory, _, name = path.rpartition(b"/")
        if self._parent[0] != directory:
            opened = open_below(self._top, directory)
            os.close(self._parent[1])
            self._parent = (directory, opened)
        return self._parent[1], name


def _look_at(name: bytes, parent: int) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=parent)
    except FileNotFoundError:
        return None


def chunks_of(descriptor: int) -> Iterator[bytes]:
    """Yield what is in an open file."""
    while chunk := os.read(descriptor, CHUNK_BYTES):
        yield chunk
