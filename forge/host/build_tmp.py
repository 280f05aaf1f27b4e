"""Temporary directories of builds on the RAM disk: rustc's and linkers' files may take GiBs.

Each is private to one build and goes when that is over. Its name has the pid of the launcher, so
one that a crash has left is known by a process that is gone. It is deleted as all that is put aside
on the disk: by descriptors, never through a link and never on another file system.
"""

import os
import secrets
import stat
from contextlib import suppress

from forge.core.disk import Disk
from forge.core.target_dirs import TMP_NAME
from forge.errors import DiskUnavailable
from forge.host.trash import DIRECTORY, TRASH_PREFIX, empty, open_root


def make_tmp_dir(path: str) -> str | None:
    """Make it, mode 0700; None when it cannot be: the build does without."""
    try:
        with suppress(FileExistsError):
            os.mkdir(os.path.dirname(path), 0o700)
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
        status = os.lstat(path)
    except OSError:
        return None
    is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    return path if is_ours else None


def remove_tmp_dir(disk: Disk, path: str) -> bool:
    """Put it aside and delete it; say whether it is gone from its place."""
    aside = f"{TRASH_PREFIX}tmp-{secrets.token_hex(4)}"
    with suppress(OSError, DiskUnavailable):
        root = open_root(disk.mount_point, disk.device_id)
        try:
            top = os.open(TMP_NAME, DIRECTORY, dir_fd=root)
            try:
                os.rename(os.path.basename(path), aside, src_dir_fd=top, dst_dir_fd=root)
            finally:
                os.close(top)
            empty(root, aside)
        finally:
            os.close(root)
    return not os.path.lexists(path)


def sweep_tmp_dirs(disk: Disk) -> list[str]:
    """Delete those whose launcher is gone; return their paths."""
    top = f"{disk.mount_point}/{TMP_NAME}"
    try:
        names = os.listdir(top)
    except OSError:
        return []
    dead = [f"{top}/{name}" for name in names if not _is_alive(name.rpartition("-")[2])]
    return [path for path in dead if remove_tmp_dir(disk, path)]


def _is_alive(pid: str) -> bool:
    if not (pid.isascii() and pid.isdigit() and 0 < len(pid) < 10):
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True
