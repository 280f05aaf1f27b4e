"""The life of the RAM disk: absent, being mounted, mounted, being changed.

Invariant: at most one action on the disk is under way (`is_changing`), and only while it is are
there waiters; `disk` is set exactly in the phases MOUNTED, RESIZING and UNMOUNTING. A change that
is overdue has cost one build its whole patience: others do not wait for it any more.
"""

from dataclasses import dataclass
from enum import StrEnum

from forge.core.actions import Action, Log
from forge.core.disk import Disk, DiskSpec, DiskUsage
from forge.core.disk_actions import (
    EnsureDisk,
    FindDisk,
    MeasureDisk,
    ResizeDisk,
    UnmountDisk,
    UnwatchDisk,
    WatchDisk,
)

RETRY_S = 30.0
"""After a failed mount, builds go on without a disk for so long before the next try."""

MEASURE_BUSY_S = 0.2
"""While builds run, at each tick: 4 Hz. That costs one system call."""

WALK_BUSY_S = 1.0
"""Where it takes a walk, seldomer."""

MEASURE_IDLE_S = 10.0


class DiskPhase(StrEnum):
    """Where the disk stands."""

    LOOKING = "being looked for"
    ABSENT = "absent"
    ENSURING = "mounting"
    MOUNTED = "mounted"
    RESIZING = "resizing"
    UNMOUNTING = "unmounting"
    FAILED = "failed"


@dataclass(slots=True)
class DiskLife:
    """What the core knows of the disk."""

    phase: DiskPhase = DiskPhase.ABSENT
    disk: Disk | None = None
    usage: DiskUsage | None = None
    failure: str | None = None
    hint: str | None = None
    failed_at: float = 0.0
    measured_at: float = float("-inf")
    remount: bool = False
    resize_to_mib: int | None = None
    is_overdue: bool = False
    is_measuring: bool = False
    is_read_only: bool = False

    @property
    def is_changing(self) -> bool:
        """Say whether an action on the disk is under way."""
        return self.phase not in (DiskPhase.ABSENT, DiskPhase.MOUNTED, DiskPhase.FAILED)

    def is_worth_a_try(self, now_s: float) -> bool:
        """Say whether mounting may be tried now."""
        return self.phase is DiskPhase.ABSENT or (
            self.phase is DiskPhase.FAILED and now_s - self.failed_at >= RETRY_S
        )

    def find(self, spec: DiskSpec) -> list[Action]:
        """Begin to look for a disk that an earlier daemon has left."""
        assert self.phase is DiskPhase.ABSENT, "a known disk is not looked for"
        self.phase = DiskPhase.LOOKING
        return [FindDisk(spec)]

    def ensure(self, spec: DiskSpec) -> list[Action]:
        """Begin to mount."""
        assert not self.is_changing and self.disk is None, "one action on the disk at a time"
        self.phase = DiskPhase.ENSURING
        return [
            Log("disk.mounting", {"size_mib": spec.size_mib, "mount_point": spec.mount_point}),
            EnsureDisk(spec),
        ]

    def resize(self, size_mib: int) -> list[Action]:
        """Begin to resize the mounted disk."""
        assert self.phase is DiskPhase.MOUNTED and self.disk, "only a mounted disk is resized"
        self.phase = DiskPhase.RESIZING
        return [
            Log("disk.resizing", {"from_mib": self.disk.size_mib, "to_mib": size_mib}),
            ResizeDisk(self.disk, size_mib),
        ]

    def fit(self, size_mib: int) -> list[Action]:
        """Give the disk the size that the configuration has now, after the change under way."""
        if self.phase is DiskPhase.MOUNTED:
            return self.resize(size_mib)
        self.resize_to_mib = size_mib if self.is_changing else None
        return []

    def go_on(self) -> list[Action]:
        """Resize the disk if its size was set while it was being changed."""
        size_mib, self.resize_to_mib = self.resize_to_mib, None
        if size_mib is None or self.phase is not DiskPhase.MOUNTED or self.disk is None:
            return []
        return self.resize(size_mib) if self.disk.size_mib != size_mib else []

    def unmount(self, *, force: bool, remount: bool) -> list[Action]:
        """Begin to unmount the mounted disk; `remount` makes a new one afterwards."""
        assert self.phase is DiskPhase.MOUNTED and self.disk, "only a mounted disk is unmounted"
        self.phase = DiskPhase.UNMOUNTING
        self.remount = remount
        return [
            Log("disk.unmounting", {"mount_point": self.disk.mount_point, "force": force}),
            UnwatchDisk(),
            UnmountDisk(self.disk, force),
        ]

    def is_absent(self) -> None:
        """Take note that none was found."""
        self.phase = DiskPhase.ABSENT
        self.is_overdue = False

    def is_ready(self, disk: Disk, usage: DiskUsage, now_s: float) -> list[Action]:
        """Take note of a disk that is mounted."""
        self.phase = DiskPhase.MOUNTED
        self.disk, self.usage = disk, usage
        self.failure = self.hint = None
        self.is_overdue = self.is_measuring = self.is_read_only = False
        self.measured_at = now_s
        return [
            WatchDisk(disk),
            Log(
                "disk.mounted",
                {
                    "kind": disk.kind,
                    "mount_point": disk.mount_point,
                    "size_mib": disk.size_mib,
                    "used_bytes": usage.used_bytes,
                    "adopted": disk.adopted,
                },
            ),
        ]

    def has_failed(
        self, reason: str, hint: str | None, *, lost: bool, now_s: float
    ) -> list[Action]:
        """Take note of a failed action: back to mounted, or to a failed or lost disk."""
        was = self.phase
        self.is_overdue = self.is_measuring = False
        if self.disk and not lost:
            self.phase = DiskPhase.MOUNTED  # the request that failed is told why
            watch: Action = WatchDisk(self.disk)
        else:
            watch = UnwatchDisk()
            self.phase = DiskPhase.ABSENT if lost else DiskPhase.FAILED
            self.disk = self.usage = None
            self.failure, self.hint, self.failed_at = reason, hint, now_s
        self.remount = False
        decision = "disk.lost" if lost else "disk.failed"
        return [Log(decision, {"reason": reason, "while": was}), watch]

    def is_unmounted(self) -> list[Action]:
        """Take note that the disk is gone as asked."""
        self.phase = DiskPhase.ABSENT
        self.disk = self.usage = None
        self.failure = self.hint = None
        self.is_overdue = self.is_measuring = False
        return [Log("disk.unmounted")]

    def measure_if_due(self, now_s: float, *, busy: bool) -> list[Action]:
        """Measure a mounted disk now and then."""
        is_cheap = self.disk is not None and self.disk.kind.is_measured_by_the_kernel
        busy_s = MEASURE_BUSY_S if is_cheap else WALK_BUSY_S
        every_s = busy_s if busy else MEASURE_IDLE_S
        if now_s - self.measured_at < every_s:
            return []
        self.measured_at = now_s
        return self.measure()

    def measure(self) -> list[Action]:
        """Measure a mounted disk now, unless that is under way."""
        if self.phase is not DiskPhase.MOUNTED or self.disk is None or self.is_measuring:
            return []
        self.is_measuring = True
        return [MeasureDisk(self.disk)]
