"""What memory there is and how it fares, as one reading.

Nothing here trusts "free" memory. What is available is what could be handed out now without
swapping: on Linux MemAvailable, on macOS what is neither wired nor anonymous nor compressed. A
cgroup above us may leave less than the machine does, and then that counts.

A figure that could not be had is None, and `Reading.missing` says why.
"""

from dataclasses import dataclass
from enum import IntEnum


@dataclass(frozen=True, slots=True)
class Missing:
    """A figure that a reading does not have, and the reason."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of one cgroup above us, and how much of it is used.

    `place` is the cgroup, `name` the file that sets the limit. `droppable_bytes` is page cache that
    is part of the use and goes before anything is refused.
    """

    place: str
    name: str
    limit_bytes: int
    used_bytes: int
    droppable_bytes: int

    @property
    def headroom_bytes(self) -> int:
        """Return what may still be taken below this limit."""
        held_bytes = self.used_bytes - min(self.droppable_bytes, self.used_bytes)
        return max(0, self.limit_bytes - held_bytes)


@dataclass(frozen=True, slots=True)
class Swap:
    """Swap space of the machine. What went in and out is counted since boot."""

    total_bytes: int | None
    used_bytes: int | None
    in_bytes: int | None = None
    out_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Stalls:
    """Time that tasks spent waiting for memory (Linux: PSI), as `source` counts it.

    *some*: at least one task waited. *full*: all that had something to do did. The averages are
    percent over 10 s, the totals count since boot.
    """

    source: str
    some_avg10_percent: float
    full_avg10_percent: float
    some_total_us: int
    full_total_us: int


class PressureLevel(IntEnum):
    """What macOS calls the state of memory (kern.memorystatus_vm_pressure_level)."""

    NORMAL = 1
    WARNING = 2
    CRITICAL = 4


@dataclass(frozen=True, slots=True)
class MacMemory:
    """What only macOS has. `level_percent` is its own idea of free memory, 0 to 100."""

    level: PressureLevel | None
    level_percent: int | None
    wired_bytes: int | None
    compressor_bytes: int | None
    anonymous_bytes: int | None
    file_backed_bytes: int | None


@dataclass(frozen=True, slots=True)
class TmpfsUse:
    """What lies on one tmpfs. It is memory in use, and not in what is available."""

    mount_point: str
    size_bytes: int
    used_bytes: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The memory of this machine at `taken_s`, on a clock that only goes forward.

    `limits` are those of the cgroups above us, the nearest first; `limit_stalls` are counted within
    the outermost cgroup that has one. `oom_kills` is how many processes the kernel has killed for
    memory since boot, on the whole machine.
    """

    taken_s: float
    machine_total_bytes: int
    machine_available_bytes: int
    swap: Swap
    limits: tuple[Limit, ...] = ()
    stalls: Stalls | None = None
    limit_stalls: Stalls | None = None
    oom_kills: int | None = None
    mac: MacMemory | None = None
    tmpfs: tuple[TmpfsUse, ...] = ()
    missing: tuple[Missing, ...] = ()

    @property
    def total_bytes(self) -> int:
        """Return the machine's memory, or the tightest limit where that is less."""
        return min((self.machine_total_bytes, *(one.limit_bytes for one in self.limits)))

    @property
    def available_bytes(self) -> int:
        """Return what can be had now: by the machine, and below every limit."""
        return min((self.machine_available_bytes, *(one.headroom_bytes for one in self.limits)))

    @property
    def binding(self) -> Limit | None:
        """Return the limit that leaves the least; None where the machine itself does."""
        tightest = min(self.limits, key=lambda one: one.headroom_bytes, default=None)
        if tightest and tightest.headroom_bytes < self.machine_available_bytes:
            return tightest
        return None
