"""Whether a cargo holds the lock of a target dir. Source: flock(2), by which cargo 1.95 locks."""

import fcntl
import os


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
