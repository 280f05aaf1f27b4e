"""Whether a cargo holds the lock of a target dir. Source: flock(2), by which cargo 1.95 locks."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from forge.core.build_lock import LOCK_NAME
from forge.errors import TargetDirBusy

LOCK_DEPTH = 2
"""A profile's directory is in the target dir, or in that of a `--target`."""


def is_locked(path: str) -> bool:
    """Say whether somebody holds an exclusive lock on the file; one that is not there is free.

    Asked by taking a shared lock without waiting, and giving it back at once.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks: cargo does not lock there either
    finally:
        os.close(descriptor)
    return False


@contextmanager
def held_still(target_dir: str) -> Iterator[None]:
    """Keep cargo from changing a target dir meanwhile: it waits for its lock, and says so.

    Raises TargetDirBusy when a cargo has one of the locks now. A profile whose directory is made
    meanwhile has no lock yet: whoever reads files looks whether they changed.
    """
    with ExitStack() as held:
        for path in _locks_in(target_dir, LOCK_DEPTH):
            try:
                file = held.enter_context(open(path, "rb", opener=_open_lock))
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TargetDirBusy(
                    f"a cargo builds in {target_dir}", hint="try again when it has ended"
                ) from None
            except OSError:  # no lock at all: gone, a link, a file system without locks
                continue
        yield


def _locks_in(directory: str, depth: int) -> Iterator[str]:
    try:
        with os.scandir(directory) as entries:
            below = [one.path for one in entries if one.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for path in below:
        yield os.path.join(path, LOCK_NAME)
        if depth > 1:
            yield from _locks_in(path, depth - 1)


def _open_lock(path: str, _flags: int) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
