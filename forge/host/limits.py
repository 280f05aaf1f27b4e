"""How many files the daemon may have open: macOS starts processes with 256."""

import resource
from contextlib import suppress

OPEN_FILES = 8192  # below OPEN_MAX, 10240, above which macOS refuses whatever the hard limit says


def raise_open_files(wanted: int = OPEN_FILES) -> int:
    """Raise the soft limit to `wanted` as far as the hard one allows; return what holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= target:
        return soft
    with suppress(ValueError, OSError):  # EINVAL, EPERM: the daemon serves with what it has
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
