"""RAM disks that keep more memory than they hold, and when such a disk is made anew.

On macOS what is deleted gives no memory back: a RAM disk keeps the most that it ever held, until it
is taken away. That most is tracked as its *high water*. Writing goes over new blocks first, so the
memory that it keeps may be more than that, up to its size, and never is less.

A disk is *bloated* when it keeps much that it does not hold. After a while without builds it is
made anew, by itself only where nothing on it would be lost: target dirs that are saved come back
with the next build of each. Elsewhere people are shown the command.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forge.core.actions import Action, KeepHighWater, Log
from forge.core.disk import Disk, DiskKind, DiskUsage
from forge.core.disk_life import DiskPhase
from forge.core.moment import Moment
from forge.core.units import MIB

if TYPE_CHECKING:
    from forge.core.state import State

KEEPS_THE_MOST = frozenset((DiskKind.APFS, DiskKind.APFS_WIRED))
"""Kinds that give nothing back. A tmpfs, and a directory, give back what is deleted, at once."""

BLOAT_SHARE = 0.25
LEAST_BLOAT_BYTES = 1024 * MIB
"""To be worth the seconds that it takes, so much must come back: 16 GiB on the reference host."""

IDLE_S = 600.0
"""So long nothing was built: who builds now and then is not to find an empty disk each time."""

EMPTY_BYTES = 64 * MIB
"""A disk without target dirs that holds more than this holds something of somebody's."""

KEEP_STEP_BYTES = 256 * MIB
"""The high water is written down when it has risen by so much: a lower one does no harm."""


@dataclass(frozen=True, slots=True)
class HighWater:
    """The most that the disk with this token ever held."""

    token: str
    bytes: int


def is_bloated(disk: Disk, high_water_bytes: int, live_bytes: int) -> bool:
    """Say whether it is worth it to make a disk anew, for what it keeps and does not hold.

    Whoever saves what is on a disk first, and restores it, asks this as well.
    """
    worth_bytes = max(LEAST_BLOAT_BYTES, int(BLOAT_SHARE * disk.size_mib * MIB))
    return disk.kind in KEEPS_THE_MOST and high_water_bytes - live_bytes >= worth_bytes


class Bloat:
    """The high water of the disk that is mounted, and how long nothing has used it.

    Invariant: `_high` is of the mounted disk, or of one that is gone and says nothing.
    """

    def __init__(self, state: "State", known: HighWater | None) -> None:
        self._state = state
        self._high = known or HighWater("", 0)
        self._kept_bytes = self._high.bytes
        self._idle_since_s: float | None = None
        self._next_build = 0

    @property
    def high_water_bytes(self) -> int | None:
        """The most that the mounted disk ever held; None where that does not matter, or no disk."""
        disk = self._state.disk.disk
        if disk is None or disk.kind not in KEEPS_THE_MOST or disk.token != self._high.token:
            return None
        return self._high.bytes

    @property
    def is_bloated(self) -> bool:
        """Say whether the mounted disk is."""
        disk, usage = self._state.disk.disk, self._state.disk.usage
        high_bytes = self.high_water_bytes
        if disk is None or usage is None or high_bytes is None:
            return False
        return is_bloated(disk, high_bytes, usage.used_bytes)

    def look(self, disk: Disk, usage: DiskUsage) -> list[Action]:
        """Take in how full a disk is; write its high water down now and then."""
        if disk.kind not in KEEPS_THE_MOST:
            return []
        is_new = disk.token != self._high.token
        most = usage.used_bytes if is_new else max(self._high.bytes, usage.used_bytes)
        self._high = HighWater(disk.token, most)
        if not is_new and most - self._kept_bytes < KEEP_STEP_BYTES:
            return []
        self._kept_bytes = most
        return [KeepHighWater(disk.token, most)]

    def tick(self, now: Moment) -> list[Action]:
        """Make a bloated disk anew that nobody has used for a while, if nothing on it is lost."""
        next_build = self._state.leases.next_build
        has_built = next_build != self._next_build  # and was done before we looked, perhaps
        self._next_build = next_build
        if has_built or self._state.is_busy or self._state.disk.phase is not DiskPhase.MOUNTED:
            self._idle_since_s = None
            return []
        if self._idle_since_s is None:
            self._idle_since_s = now.steady_s
        is_due = now.steady_s - self._idle_since_s >= IDLE_S
        if not is_due or not self.is_bloated or self._holds_something():
            return []
        self._idle_since_s = None  # one that cannot be taken away now is tried again as late
        usage = self._state.disk.usage
        assert usage, "what is bloated was measured"
        fields = {"kept": self.high_water_bytes, "used": usage.used_bytes, "idle_s": IDLE_S}
        return [
            Log("disk.bloated", fields),
            *self._state.disk.unmount(force=False, remount=True),
        ]

    def _holds_something(self) -> bool:
        """Say whether there is anything on the disk that somebody might miss."""
        usage, tasks = self._state.disk.usage, self._state.tasks
        dirs = self._state.target_dirs.values()
        coming_back = tasks.coming_back()
        saved = [one for one in dirs if one.path in coming_back]
        has_files = any(one.size_bytes is None or one.files > 1 for one in dirs if one not in saved)
        saved_bytes = sum(one.size_bytes or 0 for one in saved)
        return has_files or usage is None or usage.used_bytes - saved_bytes > EMPTY_BYTES
