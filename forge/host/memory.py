"""The machine's memory: one reading at a time, by whatever way this system has."""

import os
import sys
from collections.abc import Sequence
from typing import Protocol

from forge.core.memory import Missing, Reading, TmpfsUse
from forge.host.stalls import StallTrigger


class Memory(Protocol):
    """The door to the machine's memory."""

    def read(self, now_s: float, tmpfs: Sequence[str] = ()) -> Reading:
        """Take a reading; `tmpfs` are mount points whose use is wanted too.

        Raises OSError where the system does not even tell how much memory there is.
        """
        ...

    def watch_stalls(self) -> StallTrigger | None:
        """Ask to be told when tasks wait for memory; None where the system has no such thing."""
        ...


def open_memory() -> Memory:
    """Return this platform's door."""
    if sys.platform == "darwin":
        from forge.host.memory_darwin import DarwinMemory

        return DarwinMemory()
    from forge.host.memory_linux import LinuxMemory

    return LinuxMemory()


def tmpfs_use(mount_points: Sequence[str]) -> tuple[list[TmpfsUse], list[Missing]]:
    """Ask each file system how full it is."""
    found, missing = [], []
    for place in mount_points:
        try:
            status = os.statvfs(place)
        except OSError as error:
            missing.append(Missing(f"use of {place}", (error.strerror or str(error)).lower()))
            continue
        block = status.f_frsize
        used_bytes = (status.f_blocks - status.f_bfree) * block
        found.append(TmpfsUse(place, status.f_blocks * block, used_bytes))
    return found, missing
