"""What machine this is: its memory and its cores, as far as this process may use them."""

import os
import sys
import time

from forge.core.units import MIB
from forge.host.memory import open_memory


def memory_mib() -> int:
    """Return physical memory, or the lowest cgroup limit above us if that is less, in MiB."""
    return open_memory().read(time.monotonic()).total_bytes // MIB


def cores() -> int:
    """Return the number of cores that this process may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
