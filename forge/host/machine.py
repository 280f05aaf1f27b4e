"""What machine this is: its memory and its cores, as far as this process may use them."""

import os
import sys
from pathlib import Path

from forge.core.units import MIB

_NO_LIMIT = 1 << 60  # cgroup v1 writes a number near 2^63 when there is no limit


def memory_mib() -> int:
    """Return physical memory, or the lowest cgroup limit above us if that is less, in MiB."""
    import psutil

    total = psutil.virtual_memory().total
    if sys.platform == "linux":
        limit = cgroup_limit_bytes()
        total = min(total, limit) if limit else total
    return int(total // MIB)


def cores() -> int:
    """Return the number of cores that this process may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cgroup_limit_bytes(
    membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """Return the lowest memory limit of our cgroup and its ancestors, v1 or v2; None if unlimited.

    Source: cgroups(7), Documentation/admin-guide/cgroup-v2.rst. Both paths may be recordings.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    limits: list[int] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            bases, name = [root, root / "unified"], "memory.max"
        elif "memory" in controllers.split(","):
            bases, name = [root / "memory"], "memory.limit_in_bytes"
        else:
            continue
        for base in bases:
            limits += _limits_upwards(base, path, name)
    return min(limits, default=None)


def _limits_upwards(base: Path, path: str, name: str) -> list[int]:
    found = []
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for depth in range(len(parts), -1, -1):
        try:
            text = base.joinpath(*parts[:depth], name).read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < _NO_LIMIT:
            found.append(int(text))
    return found
