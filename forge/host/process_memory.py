"""How much memory a process and all below it hold."""

import os
import sys
from collections.abc import Mapping

import psutil

from forge.host.rusage import LibprocRusage, Rusage, RusageInfo


def tree_bytes(
    pid: int, env: Mapping[str, str] = os.environ, rusage: Rusage | None = None
) -> int | None:
    """Return the resident bytes of a process tree; None when it is not ours to ask.

    The pages of a mapped model count as they are read. On macOS memory of the GPU is not resident
    by that count, and pages of files are in no footprint: the larger of both is nearer.
    """
    asked = rusage or LibprocRusage()
    is_mac = env.get("FORGE_PLATFORM", sys.platform) == "darwin"
    try:
        root = psutil.Process(pid)
        total = _bytes_of(root, asked if is_mac else None)
        for child in root.children(recursive=True):
            try:
                total += _bytes_of(child, asked if is_mac else None)
            except psutil.Error:
                continue  # a child that has just ended holds nothing
    except psutil.Error:
        return None
    return total


def _bytes_of(process: psutil.Process, rusage: Rusage | None) -> int:
    resident_bytes = int(process.memory_info().rss)
    if rusage is None:
        return resident_bytes
    try:
        info = RusageInfo.from_buffer_copy(rusage.ask(process.pid))
    except (OSError, ValueError):
        return resident_bytes
    return max(resident_bytes, int(info.phys_footprint))
