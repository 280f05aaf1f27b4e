"""Target dirs on the SSD, in a directory of Forge's own, and their way there and back.

A marker proves that the directory is ours: Forge makes it only where there is nothing, and deletes
in it only what it put there itself, by descriptors and never through a link. What is moved is gone
from where it was when the copy is whole and has its name.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from forge.core.disk import Disk, DiskKind
from forge.core.units import show_bytes
from forge.errors import SpillRefused, TargetDirInUse
from forge.host.build_locks import held_still
from forge.host.dir_users import users_of
from forge.host.disk_marker import DiskMarker, new_token, read_marker, write_marker
from forge.host.removal import set_aside
from forge.host.target_dirs import CACHEDIR_TAG, draft_on, take_place
from forge.host.trash import TRASH_PREFIX, empty, open_root, trash_on
from forge.host.tree_copies import OnBytes, copy_tree
from forge.host.trees import remove_tree, walk

KEEP_FREE_SHARE = 0.05
MOST_KEPT_FREE_BYTES = 10 * 1024**3
"""So much of the SSD stays free whatever is spilled, to everybody else."""

PATIENCE_S = 10.0
LOOK_EVERY_S = 0.2
"""Compilers of a build that was ended may live on for so long, and write."""


def nothing(_done: int, _of: int) -> None:
    """Tell nobody how far it is."""


def move_out(disk: Disk, path: str, place: str, on_bytes: OnBytes = nothing) -> int:
    """Move a target dir from the RAM disk to `place` on the SSD; return its bytes.

    Where there is none on the disk, an empty one is made. Raises SpillRefused, TargetDirInUse,
    TreeRefused, OSError and what `on_bytes` raises; then all is as it was.
    """
    spills = _open_dir(os.path.dirname(place))
    with _draft(spills, os.path.basename(place)) as draft:
        size_bytes = 0
        if os.path.lexists(path):
            _await_peace(path)
            with held_still(path):
                tree = walk(path)
                size_bytes = tree.size_bytes
                _check_room(spills, size_bytes)
                copy_tree(path, tree.entries, draft, on_bytes)
        Path(draft, "CACHEDIR.TAG").write_text(CACHEDIR_TAG, "ascii")
        _give_name(spills, draft, place)
    if os.path.lexists(path):
        _delete(disk, path)
    return size_bytes


def move_back(
    disk: Disk, path: str, place: str, most_bytes: int, on_bytes: OnBytes = nothing
) -> int:
    """Move a target dir from `place` on the SSD to the RAM disk. Raises as `move_out`."""
    spills = _open_dir(os.path.dirname(place))
    draft = draft_on(disk)
    try:
        with held_still(place):
            tree = walk(place)
            if tree.size_bytes > most_bytes:
                raise SpillRefused(
                    f"{place} has {show_bytes(tree.size_bytes)}, and the RAM disk only"
                    f" {show_bytes(most_bytes)} free"
                )
            copy_tree(place, tree.entries, draft, on_bytes)
            take_place(disk, draft, path)
    finally:
        if os.path.lexists(draft):
            remove_tree(draft)
    _delete(spills, place)
    return tree.size_bytes


def remove(place: str) -> int:
    """Delete a target dir on the SSD; return the bytes that are free again. Raises as above."""
    return _delete(_open_dir(os.path.dirname(place)), place)


def sweep(directory: str) -> list[str]:
    """Delete what a daemon that was killed has left half moved or half deleted; name it."""
    if not os.path.isdir(directory):
        return []
    spills = _open_dir(directory)
    root = open_root(spills.mount_point, spills.device_id)
    try:
        names = trash_on(root)
        for name in names:
            empty(root, name)
    finally:
        os.close(root)
    return [f"{directory}/{name}" for name in names]


def _open_dir(directory: str) -> Disk:
    """Return the directory as a disk of its own, made if there is none. Raises SpillRefused."""
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        seen = os.lstat(directory)
        is_new = not os.listdir(directory)
    except OSError as error:
        raise SpillRefused(f"{directory}: {error.strerror}") from None
    place = Path(directory)
    if is_new and seen.st_uid == os.getuid() and not place.is_symlink():
        try:
            write_marker(place, DiskMarker(new_token(), os.getuid(), DiskKind.DIRECTORY, 1))
        except OSError as error:
            raise SpillRefused(f"{directory}: {error.strerror}") from None
    marker = read_marker(place)
    if marker is None or place.is_symlink():
        raise SpillRefused(
            f"{directory} is not Forge's own: it has something in it and no marker",
            hint="set `disk.spill_dir` to a directory that does not exist",
        )
    return Disk(DiskKind.DIRECTORY, directory, 0, seen.st_dev, marker.token)


@contextlib.contextmanager
def _draft(spills: Disk, name: str) -> Iterator[str]:
    """Make a directory that is trash until it gets its name."""
    draft = f"{spills.mount_point}/{TRASH_PREFIX}{name}-{secrets.token_hex(4)}"
    os.mkdir(draft, 0o700)
    try:
        yield draft
    finally:
        _empty(spills, os.path.basename(draft))


def _give_name(spills: Disk, draft: str, place: str) -> None:
    """Put a draft in its place; what an earlier move has left there goes."""
    if os.path.lexists(place):
        _delete(spills, place)
    os.rename(draft, place)


def _delete(disk: Disk, path: str) -> int:
    return _empty(disk, set_aside(disk, path))


def _empty(disk: Disk, name: str) -> int:
    root = open_root(disk.mount_point, disk.device_id)
    try:
        return empty(root, name).freed_bytes
    finally:
        os.close(root)


def _check_room(spills: Disk, size_bytes: int) -> None:
    seen = os.statvfs(spills.mount_point)
    kept_bytes = int(min(MOST_KEPT_FREE_BYTES, KEEP_FREE_SHARE * seen.f_blocks * seen.f_frsize))
    room_bytes = max(0, seen.f_bavail * seen.f_frsize - kept_bytes)
    if size_bytes > room_bytes:
        raise SpillRefused(
            f"the SSD has room for {show_bytes(room_bytes)}, and {show_bytes(size_bytes)} would go"
            " there",
            hint="set `disk.spill_dir` to another disk, or delete something",
        )


def _await_peace(path: str) -> None:
    """Wait until nobody writes any more. Raises TargetDirInUse when somebody stays."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        user = next(users_of(path), None)
        if user is None:
            return
        if time.monotonic() >= deadline:
            raise TargetDirInUse(f"{path} is used by {user.name} (pid {user.pid})")
        time.sleep(LOOK_EVERY_S)
