"""What lies in a directory tree: looked at by descriptors, never through a link, on one device.

A tree is walked once into a list. What is done with its files later opens them again by their path,
one directory after the other and no link followed, and looks whether they still are what was seen.
"""

import os
import stat
from collections.abc import Iterator
from enum import StrEnum
from types import TracebackType
from typing import NamedTuple, Self

from forge.errors import TreeRefused

MAX_DEPTH = 128
"""No target dir is nested so deep (20 is a lot); each level costs a descriptor while we walk."""

BLOCK_BYTES = 512  # st_blocks counts these, whatever the file system's block is: stat(2)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Kind(StrEnum):
    """What an entry of a tree is. Others (sockets, pipes, devices) are left out."""

    DIRECTORY = "d"
    FILE = "f"
    LINK = "l"
    HARD_LINK = "h"  # a further name of a file that came before


class Entry(NamedTuple):
    """One thing in a tree, its path relative to the root. A million of these must be affordable.

    `target` is what a link says, or the first name of a hard link's file. `inode` and `ctime_ns`
    tell a file from a later one that looks alike, as long as it stays where it is.
    """

    path: str
    kind: Kind
    mode: int
    size_bytes: int
    mtime_ns: int
    inode: int = 0
    ctime_ns: int = 0
    target: str = ""
    is_sparse: bool = False


class Tree(NamedTuple):
    """The entries of a tree, each directory before what is in it, and what was left out and why."""

    entries: list[Entry]
    left_out: list[tuple[str, str]]

    @property
    def size_bytes(self) -> int:
        """Return the length of all files, each once."""
        return sum(entry.size_bytes for entry in self.entries)


def walk(root: str) -> Tree:
    """Look at all that is in `root`. Raises OSError, and TreeRefused where it is too deep.

    What vanishes while we walk is passed over: who needs it to hold still sees to that.
    """
    tree = Tree([], [])
    top = os.open(root, _DIRECTORY)
    try:
        _Walk(tree, os.fstat(top).st_dev).enter(top, "", 0)
    finally:
        os.close(top)
    return tree


class _Walk:
    """One walk: the device that it stays on, and the first name of each file with several."""

    def __init__(self, tree: Tree, device: int) -> None:
        self._tree = tree
        self._device = device
        self._first_names: dict[int, str] = {}

    def enter(self, directory: int, prefix: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise TreeRefused(f"{prefix[:200]} is nested deeper than {MAX_DEPTH} directories")
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            path = prefix + name
            try:
                seen = os.stat(name, dir_fd=directory, follow_symlinks=False)
                if self._takes(path, seen):
                    self._take(directory, name, path, seen)
                if not stat.S_ISDIR(seen.st_mode) or seen.st_dev != self._device:
                    continue
                below = os.open(name, _DIRECTORY, dir_fd=directory)
            except FileNotFoundError:
                continue  # gone meanwhile
            try:
                self.enter(below, f"{path}/", depth + 1)
            finally:
                os.close(below)

    def _takes(self, path: str, seen: os.stat_result) -> bool:
        if seen.st_dev != self._device:
            self._tree.left_out.append((path, "another file system"))
        elif not (stat.S_ISDIR(seen.st_mode) or stat.S_ISREG(seen.st_mode)
                  or stat.S_ISLNK(seen.st_mode)):  # fmt: skip
            self._tree.left_out.append((path, "neither a file, a directory nor a link"))
        else:
            return True
        return False

    def _take(self, directory: int, name: str, path: str, seen: os.stat_result) -> None:
        kind, size_bytes, target, is_sparse = Kind.DIRECTORY, 0, "", False
        if stat.S_ISLNK(seen.st_mode):
            kind, target = Kind.LINK, os.readlink(name, dir_fd=directory)
        elif stat.S_ISREG(seen.st_mode):
            kind, size_bytes = Kind.FILE, seen.st_size
            is_sparse = seen.st_blocks * BLOCK_BYTES < size_bytes
            if seen.st_nlink > 1:
                target = self._first_names.setdefault(seen.st_ino, path)
                if target == path:
                    target = ""
                else:
                    kind, size_bytes, is_sparse = Kind.HARD_LINK, 0, False
        self._tree.entries.append(
            Entry(path, kind, stat.S_IMODE(seen.st_mode) & 0o777, size_bytes, seen.st_mtime_ns,
                  seen.st_ino, seen.st_ctime_ns, target, is_sparse)
        )  # fmt: skip


class TreeFiles:
    """Opens the files of a tree by path, and keeps the directory of the last one open."""

    def __init__(self, root: str) -> None:
        self._root = os.open(root, _DIRECTORY)
        self._parent = ""
        self._directory = self._root

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()
        os.close(self._root)

    def open(self, entry: Entry) -> int:
        """Open a file for reading. Raises TreeRefused when it is not the one that was seen."""
        parent, _, name = entry.path.rpartition("/")
        try:
            descriptor = os.open(name, _FILE, dir_fd=self.directory(parent))
        except OSError as error:
            raise TreeRefused(f"{entry.path} changed meanwhile: {error.strerror}") from None
        seen = os.fstat(descriptor)
        if (seen.st_ino, seen.st_size, seen.st_mtime_ns) != (
            entry.inode,
            entry.size_bytes,
            entry.mtime_ns,
        ):
            os.close(descriptor)
            raise TreeRefused(f"{entry.path} changed meanwhile")
        return descriptor

    def directory(self, path: str) -> int:
        """Return the descriptor of a directory, until the next call. Raises OSError."""
        if path != self._parent:
            self._leave()
            try:
                for name in path.split("/") if path else ():
                    self._enter(name)
            except OSError:
                self._leave()
                raise
            self._parent = path
        return self._directory

    def _enter(self, name: str) -> None:
        below = os.open(name, _DIRECTORY, dir_fd=self._directory)
        if self._directory != self._root:
            os.close(self._directory)
        self._directory = below

    def _leave(self) -> None:
        if self._directory != self._root:
            os.close(self._directory)
        self._directory, self._parent = self._root, ""


def remove_tree(root: str) -> None:
    """Delete a tree, never through a link nor into another file system. Raises OSError.

    Whatever is mounted inside stays, and the way to it.
    """
    parent, name = os.path.split(root.rstrip("/"))
    directory = os.open(parent or ".", _DIRECTORY)
    try:
        _remove(name, directory, os.fstat(directory).st_dev if not os.path.ismount(root) else -1)
    finally:
        os.close(directory)


def _remove(name: str, directory: int, device: int) -> None:
    try:
        below = os.open(name, _DIRECTORY, dir_fd=directory)
    except NotADirectoryError:
        os.unlink(name, dir_fd=directory)
        return
    try:
        if os.fstat(below).st_dev != device:
            raise TreeRefused(f"{name} is on another file system")
        os.fchmod(below, 0o700)
        for child in _names(below):
            try:
                os.unlink(child, dir_fd=below)
            except (IsADirectoryError, PermissionError):  # macOS says EPERM for a directory
                _remove(child, below, device)
    finally:
        os.close(below)
    os.rmdir(name, dir_fd=directory)


def _names(directory: int) -> Iterator[str]:
    with os.scandir(directory) as entries:
        yield from [entry.name for entry in entries]
