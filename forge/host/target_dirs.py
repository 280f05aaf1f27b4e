"""Target dirs on the RAM disk: making one, listing them, linking to one."""

import contextlib
import os
import secrets
import stat

from forge.core.disk import Disk
from forge.errors import DiskUnavailable, ForgeError
from forge.host.build_locks import held_still
from forge.host.trees import remove_tree

DRAFT = ".draft-"
"""How the name of a target dir begins that is not whole yet; hidden, so nobody takes it for one."""

CACHEDIR_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# A target directory of cargo on the RAM disk of Opta Forge.\n"
    "# Backups may leave it out: https://bford.info/cachedir/\n"
)


def make_target_dir(disk: Disk, path: str) -> None:
    """Make `path` on the disk, mode 0700, with its CACHEDIR.TAG. Idempotent.

    Raises DiskUnavailable when the disk is not the one that was mounted, OSError when it is full.
    """
    _check_place(disk, path)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise DiskUnavailable(f"{path} is not a directory")
    if status.st_mode & 0o077:
        os.chmod(path, 0o700)
    tag = os.path.join(path, "CACHEDIR.TAG")
    if not os.path.lexists(tag):
        with open(tag, "w", encoding="ascii") as file:
            file.write(CACHEDIR_TAG)


def draft_on(disk: Disk) -> str:
    """Make a directory on the disk for a target dir that is being made. Raises DiskUnavailable."""
    path = os.path.join(disk.mount_point, f"{_own_drafts()}{secrets.token_hex(8)}")
    _check_place(disk, path)
    os.mkdir(path, 0o700)
    return path


def take_place(disk: Disk, draft: str, path: str) -> None:
    """Give a draft its name, in place of what is there. Raises TargetDirBusy when that is in use.

    What was there is deleted when it has another name, so it is there whole or not at all.
    """
    _check_place(disk, path)
    if not os.path.lexists(path):
        os.rename(draft, path)
        return
    aside = f"{draft}-old"
    with held_still(path):
        os.rename(path, aside)
        os.rename(draft, path)
    remove_tree(aside)


def sweep_drafts(disk: Disk) -> list[str]:
    """Delete the drafts that a daemon which was killed has left on the disk; return them.

    Our own may be at work meanwhile.
    """
    swept = []
    with os.scandir(disk.mount_point) as entries:
        drafts = [entry for entry in entries if entry.name.startswith(DRAFT)]
    left = [entry.path for entry in drafts if not entry.name.startswith(_own_drafts())]
    for path in left:
        with contextlib.suppress(OSError, ForgeError):  # it is tried again at the next start
            remove_tree(path)
            swept.append(path)
    return swept


def list_target_dirs(disk: Disk) -> list[tuple[str, float]]:
    """Return path and time of last change of each target dir on the disk."""
    found = []
    with os.scandir(disk.mount_point) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
                continue
            found.append((entry.path, entry.stat(follow_symlinks=False).st_mtime))
    return found


def link_target(link: str, target_dir: str) -> None:
    """Point `<project>/target` at a target dir; leaves alone whatever is not a link of ours.

    A link is ours when it points into the same disk: no project's own link does.
    """
    try:
        old = os.readlink(link)
    except FileNotFoundError:
        os.symlink(target_dir, link)
        return
    except OSError:
        return  # a real directory or file: the user's
    if old != target_dir and os.path.dirname(old) == os.path.dirname(target_dir):
        draft = f"{link}.forge-{os.getpid()}"
        os.symlink(target_dir, draft)
        os.replace(draft, link)


def is_filled(path: str) -> bool:
    """Say whether a target dir has anything in it beside its tag."""
    try:
        return bool(set(os.listdir(path)) - {"CACHEDIR.TAG"})
    except OSError:
        return False


def _own_drafts() -> str:
    return f"{DRAFT}{os.getpid()}-"


def _check_place(disk: Disk, path: str) -> None:
    """See that a path is right below the root of the disk that was mounted."""
    if os.path.dirname(path) != disk.mount_point:
        raise DiskUnavailable(f"{path} is not on the RAM disk at {disk.mount_point}")
    try:
        device_id = os.stat(disk.mount_point).st_dev
    except OSError as error:
        raise DiskUnavailable(f"{disk.mount_point}: {error.strerror}") from None
    if device_id != disk.device_id:
        raise DiskUnavailable(f"another file system is at {disk.mount_point}")


def unlink_target(link: str, target_dir: str) -> None:
    """Take away a link of ours from `<project>/target`: cargo is to make a directory there."""
    with contextlib.suppress(OSError):  # nothing there, or a real directory
        if os.path.dirname(os.readlink(link)) == os.path.dirname(target_dir):
            os.unlink(link)
