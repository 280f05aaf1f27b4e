"""A cgroup in which the kernel kills for memory, made for one test and removed after it."""

import contextlib
import os
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from forge.host import cgroups

LIMITS = {"memory.limit_in_bytes": None, "memory.max": None, "memory.swap.max": "0"}
"""Files that limit a cgroup, of v1 and of v2; None: to what was asked for."""


@contextlib.contextmanager
def tight_cgroup(limit_bytes: int, *, may_swap: bool = False) -> Iterator[Path]:
    """Make a cgroup of so much memory, below ours; skip where that cannot be."""
    try:
        directory = _make(limit_bytes, may_swap)
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        yield directory
    finally:
        _remove(directory)


def _make(limit_bytes: int, may_swap: bool) -> Path:
    membership = Path("/proc/self/cgroup").read_text()
    found = cgroups.find(membership, Path("/proc/self/mountinfo").read_text())
    if found.memory is None:
        raise OSError(str(found.reason))
    directory = Path(found.memory.directories[0]) / f"forge-test-{secrets.token_hex(4)}"
    directory.mkdir()
    limits = [name for name in LIMITS if (directory / name).exists()]
    if may_swap:
        limits = [name for name in limits if LIMITS[name] is None]
    try:
        for name in limits:
            (directory / name).write_text(LIMITS[name] or str(limit_bytes))
    except OSError:
        directory.rmdir()
        raise
    if not limits:
        directory.rmdir()
        raise OSError("it could not be limited: our cgroup does not hand memory on")
    return directory


def _remove(directory: Path) -> None:
    """Remove it, and whatever is left in it first."""
    deadline = time.monotonic() + 20
    while True:
        for pid in (directory / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        try:
            return directory.rmdir()
        except OSError:
            assert time.monotonic() < deadline, f"{directory} cannot be removed"
            time.sleep(0.05)
