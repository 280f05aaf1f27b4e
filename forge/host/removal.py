"""Puts target dirs, and parts of them, aside on the RAM disk, so that they can be deleted.

A target dir is renamed in one step: a build that starts at that moment finds none and gets a new
one. Who wins is decided by cargo's own locks. They are taken without waiting before the rename; a
cargo that has one keeps its target dir. After the rename nobody can open anything by the old path,
so whoever uses it is seen then, by the new one: a program that runs from it, an editor's macro
server, a cargo that waits for a lock that we hold. For any of them the rename is undone.
"""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator, Sequence

from forge.core.disk import Disk
from forge.errors import DiskUnavailable, TargetDirInUse, TargetDirMissing
from forge.host.dir_users import users_of
from forge.host.trash import DIRECTORY, TRASH_PREFIX, open_root

_LOCK = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def set_aside(
    disk: Disk, path: str, *, save_first: Callable[[str], None] = lambda _path: None
) -> str:
    """Rename a target dir to a name in the trash, and return that name.

    `save_first` gets its path while it is locked and still in its place; what it raises keeps the
    target dir. Raises TargetDirInUse, TargetDirMissing, DiskUnavailable and OSError.
    """
    with _opened(disk, path) as (root, name, directory), locked(directory, path):
        _refuse_if_used(path, path)
        save_first(path)
        return _rename(root, name, directory, path, disk.mount_point)


def set_parts_aside(disk: Disk, path: str, parts: Sequence[str]) -> str:
    """Move parts of a target dir, paths relative to it, to one name in the trash; return that.

    A part that is gone meanwhile, or that somebody uses, is passed over. Raises as `set_aside`.
    """
    with _opened(disk, path) as (root, name, directory), locked(directory, path):
        used = [one.path.removeprefix(f"{path}/") for one in users_of(path)]
        parts = [part for part in parts if not any(_is_below(one, part) for one in used)]
        trash = _trash_name(name)
        os.mkdir(trash, 0o700, dir_fd=root)
        heap = os.open(trash, DIRECTORY, dir_fd=root)
        try:
            for number, part in enumerate(parts):
                _move_part(directory, part, heap, str(number))
        finally:
            os.close(heap)
        return trash


@contextlib.contextmanager
def locked(directory: int, path: str) -> Iterator[None]:
    """Hold cargo's locks of all profiles. Raises TargetDirInUse when a cargo has one of them."""
    held: list[int] = []
    try:
        for lock in _lock_files(directory):
            held += _lock(directory, lock, path)
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)


@contextlib.contextmanager
def _opened(disk: Disk, path: str) -> Iterator[tuple[int, str, int]]:
    """Open the disk's root and a target dir on it, which nothing else is."""
    mount_point, name = os.path.split(path)
    if mount_point != disk.mount_point or name.startswith(".") or not name:
        raise DiskUnavailable(f"{path} is no target dir on the RAM disk at {disk.mount_point}")
    root = open_root(disk.mount_point, disk.device_id)
    try:
        try:
            directory = os.open(name, DIRECTORY, dir_fd=root)
        except OSError as error:
            raise TargetDirMissing(f"{path}: {error.strerror}") from None
        try:
            if os.fstat(directory).st_dev != disk.device_id:
                raise DiskUnavailable(f"another file system is at {path}")
            yield root, name, directory
        finally:
            os.close(directory)
    finally:
        os.close(root)


def _rename(root: int, name: str, directory: int, path: str, mount_point: str) -> str:
    trash = _trash_name(name)
    os.rename(name, trash, src_dir_fd=root, dst_dir_fd=root)
    try:
        there = os.stat(trash, dir_fd=root, follow_symlinks=False)
        if not os.path.samestat(there, os.fstat(directory)):
            raise TargetDirInUse(f"{path} was replaced at this moment")
        _refuse_if_used(f"{mount_point}/{trash}", path)
    except BaseException:
        with contextlib.suppress(OSError):  # there is a new one: this one is nobody's any more
            os.rename(trash, name, src_dir_fd=root, dst_dir_fd=root)
        raise
    return trash


def _is_below(path: str, part: str) -> bool:
    return path == part or path.startswith(f"{part}/")


def _trash_name(name: str) -> str:
    return f"{TRASH_PREFIX}{name}-{secrets.token_hex(4)}"


def _refuse_if_used(place: str, path: str) -> None:
    user = next(users_of(place), None)
    if user:
        what = user.path.removeprefix(place).lstrip("/") or "the directory"
        raise TargetDirInUse(f"{path} is used by {user.name} (pid {user.pid}): {what}")


def _lock_files(directory: int) -> list[str]:
    """Return the lock files of all profiles: `debug/.cargo-lock`, `TRIPLE/debug/.cargo-lock`."""
    found: list[str] = []
    for one in _directories(directory, "."):
        for place in (one, *(f"{one}/{below}" for below in _directories(directory, one))):
            found += _locks_in(directory, place)
    return found


def _directories(directory: int, place: str) -> list[str]:
    return [one.name for one in _scan(directory, place) if one.is_dir(follow_symlinks=False)]


def _locks_in(directory: int, place: str) -> list[str]:
    return [
        f"{place}/{one.name}"
        for one in _scan(directory, place)
        if one.name.startswith(".cargo-") and one.name.endswith("lock")
        and one.is_file(follow_symlinks=False)
    ]  # fmt: skip


def _scan(directory: int, place: str) -> list[os.DirEntry[str]]:
    try:
        here = _open_below(directory, place)
    except OSError:
        return []
    try:
        with os.scandir(here) as entries:
            return list(entries)
    finally:
        os.close(here)


def _open_below(directory: int, place: str) -> int:
    """Open a directory step by step, through no link and on the same device."""
    here = os.open(".", DIRECTORY, dir_fd=directory)
    device = os.fstat(here).st_dev
    for name in place.split("/"):
        try:
            below = os.open(name, DIRECTORY, dir_fd=here)
        finally:
            os.close(here)
        here = below
        if os.fstat(here).st_dev != device:
            os.close(here)
            raise NotADirectoryError(place)
    return here


def _lock(directory: int, lock: str, path: str) -> list[int]:
    place, _, name = lock.rpartition("/")
    try:
        here = _open_below(directory, place)
    except OSError:
        return []
    try:
        descriptor = os.open(name, _LOCK, dir_fd=here)
    except OSError:
        return []  # gone, or not ours to open: then no build of ours has it
    finally:
        os.close(here)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise TargetDirInUse(f"a cargo builds in {path}: it holds {lock}") from None
    except OSError:
        pass  # a file system without locks: cargo does not lock there either
    return [descriptor]


def _move_part(directory: int, part: str, heap: int, name: str) -> None:
    place, _, last = part.rpartition("/")
    try:
        here = _open_below(directory, place or ".")
    except OSError:
        return
    try:
        with contextlib.suppress(FileNotFoundError):
            os.rename(last, name, src_dir_fd=here, dst_dir_fd=heap)
    finally:
        os.close(here)
