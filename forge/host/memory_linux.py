"""Memory on Linux: /proc/meminfo, the cgroups above us, swap counters, and stalls.

MemAvailable is the kernel's own estimate of what can be had without swapping: free memory and the
page cache and slab that can be dropped. A tmpfs is not among that: its pages count as used.

Source: proc_meminfo(5), proc_vmstat(5).
"""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from forge.core.memory import Limit, Missing, Reading, Stalls, Swap
from forge.host import cgroups
from forge.host.cgroup_memory import read_limits
from forge.host.memory import tmpfs_use
from forge.host.small_files import figure, read_text, reason_of
from forge.host.stalls import StallTrigger, read_stalls

_MACHINE_STALLS = "/proc/pressure/memory"


class LinuxMemory:
    """The door. `root` is the root of a recorded tree in tests.

    Where our cgroups are is looked up again only when /proc/self/cgroup says another thing.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = str(root).rstrip("/")
        self._membership: str | None = None
        self._found = cgroups.Found(None, None, "not looked up yet")

    def read(self, now_s: float, tmpfs: Sequence[str] = ()) -> Reading:
        """Take a reading. Raises OSError when /proc/meminfo does not tell how much there is."""
        path = f"{self._root}/proc/meminfo"
        meminfo = read_text(path)
        if figure(meminfo, "MemTotal:") is None:
            raise OSError(errno.ENODATA, "there is no MemTotal in it", path)
        limits, missing = self._limits()
        available_bytes = _available(meminfo, missing)
        swap, oom_kills = self._counted(meminfo, missing)
        stalls = _taken(read_stalls(self._root + _MACHINE_STALLS), "stalls", missing)
        limit_stalls = self._limit_stalls(limits, missing)
        uses, unseen = tmpfs_use(tmpfs)
        return Reading(
            taken_s=now_s,
            machine_total_bytes=_bytes(meminfo, "MemTotal"),
            machine_available_bytes=available_bytes,
            swap=swap,
            limits=tuple(limits),
            stalls=stalls,
            limit_stalls=limit_stalls,
            oom_kills=oom_kills,
            tmpfs=tuple(uses),
            missing=(*missing, *unseen),
        )

    def watch_stalls(self) -> StallTrigger:
        """Watch the outermost cgroup that has a limit, where v2 counts stalls; else the machine."""
        limits, _ = self._limits()
        path = self._limited_pressure_file(limits)
        return StallTrigger(path or self._root + _MACHINE_STALLS)

    def _limits(self) -> tuple[list[Limit], list[Missing]]:
        try:
            self._look_up()
        except OSError as error:
            return [], [Missing("limits", reason_of(error))]
        if self._found.memory is None:
            return [], [Missing("limits", str(self._found.reason))]
        return read_limits(self._found.memory, self._root)

    def _look_up(self) -> None:
        membership = read_text(f"{self._root}/proc/self/cgroup")
        if membership != self._membership:
            mountinfo = read_text(f"{self._root}/proc/self/mountinfo")
            self._found = cgroups.find(membership, mountinfo)
            self._membership = membership

    def _counted(self, meminfo: str, missing: list[Missing]) -> tuple[Swap, int | None]:
        """Return the use of swap, and how many processes were killed for memory."""
        total_bytes = _bytes(meminfo, "SwapTotal")
        used_bytes = total_bytes - _bytes(meminfo, "SwapFree")
        try:
            vmstat = read_text(f"{self._root}/proc/vmstat")
        except OSError as error:
            missing.append(Missing("swap counters", reason_of(error)))
            return Swap(total_bytes, used_bytes), None
        pages = [figure(vmstat, name) for name in ("pswpin", "pswpout")]
        if None in pages:
            missing.append(Missing("swap counters", "this kernel is built without swap"))
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        went_in, went_out = (None if count is None else count * page_bytes for count in pages)
        swap = Swap(total_bytes, used_bytes, went_in, went_out)
        return swap, figure(vmstat, "oom_kill")

    def _limit_stalls(self, limits: list[Limit], missing: list[Missing]) -> Stalls | None:
        path = self._limited_pressure_file(limits)
        if path:
            return _taken(read_stalls(path), "stalls of the limit", missing)
        if limits:
            missing.append(Missing("stalls of the limit", "no cgroup of that name counts them"))
        return None

    def _limited_pressure_file(self, limits: list[Limit]) -> str | None:
        """Name the pressure file of the outermost limited cgroup: it counts all that is below.

        In a hybrid the limits are in another hierarchy than the stalls; where both have a cgroup
        of that name, as under systemd, they hold the same processes.
        """
        stalls = self._found.stalls
        if not limits or stalls is None or limits[-1].place not in stalls.places:
            return None
        directory = stalls.directories[stalls.places.index(limits[-1].place)]
        return f"{self._root}{directory}/memory.pressure"


def _available(meminfo: str, missing: list[Missing]) -> int:
    if figure(meminfo, "MemAvailable:") is not None:
        return _bytes(meminfo, "MemAvailable")
    missing.append(Missing("MemAvailable", "this kernel has none; free and inactive cache counted"))
    return _bytes(meminfo, "MemFree") + _bytes(meminfo, "Inactive(file)")


def _bytes(meminfo: str, name: str) -> int:
    return (figure(meminfo, f"{name}:") or 0) * 1024


def _taken(got: Stalls | Missing, what: str, missing: list[Missing]) -> Stalls | None:
    if isinstance(got, Stalls):
        return got
    missing.append(Missing(what, got.reason))
    return None
