"""What the outside tells the core of the RAM disk and of the target dirs on it."""

from dataclasses import dataclass

from forge.core.disk import Disk, DiskUsage
from forge.core.target_dirs import TargetDir
from forge.core.target_parts import TargetParts


@dataclass(frozen=True, slots=True)
class TargetDirReady:
    """A target dir exists on the disk; `usage` is how full the disk is at this moment.

    `usage` None: to know it would take a walk, and what was measured last has to do. `tmp_dir` is
    the build's temporary directory, if it was wanted and made.
    """

    conn: int
    path: str
    usage: DiskUsage | None
    tmp_dir: str | None = None


@dataclass(frozen=True, slots=True)
class TargetDirFailed:
    """A target dir could not be made. `disk_lost`: because the disk is not there any more."""

    conn: int
    path: str
    reason: str
    disk_lost: bool = False


@dataclass(frozen=True, slots=True)
class TargetDirsFound:
    """Target dirs that are on the disk, as the index and a look at the disk tell.

    `looked_at`: when that began, in seconds since the epoch.
    """

    found: tuple[TargetDir, ...]
    looked_at: float = float("inf")


@dataclass(frozen=True, slots=True)
class TargetDirMeasured:
    """One target dir was walked. `size_bytes` None: it is not there any more.

    `kept` are places of profiles that the walk has passed over: for them, what was known holds.
    """

    path: str
    size_bytes: int | None
    files: int = 0
    parts: TargetParts | None = None
    kept: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DiskReady:
    """The disk is mounted, adopted or resized, and measured."""

    disk: Disk
    usage: DiskUsage


@dataclass(frozen=True, slots=True)
class DiskFailed:
    """An action on the disk failed; the disk is as it was before, if `lost` is false."""

    slug: str
    reason: str
    hint: str | None = None
    lost: bool = False


@dataclass(frozen=True, slots=True)
class DiskAbsent:
    """No disk of ours was found."""


@dataclass(frozen=True, slots=True)
class DiskUnmounted:
    """The disk is gone because we were asked."""


@dataclass(frozen=True, slots=True)
class DiskMeasured:
    """How full the disk is now."""

    usage: DiskUsage


@dataclass(frozen=True, slots=True)
class DiskLost:
    """The disk with this token is not there any more, or another is in its place."""

    token: str
    reason: str


@dataclass(frozen=True, slots=True)
class DiskSighted:
    """The disk with this token is there. `changed`: a target dir came or went at its top."""

    token: str
    writable: bool
    changed: bool = False


@dataclass(frozen=True, slots=True)
class DiskUnmeasured:
    """The disk could not be looked at now, which says nothing of the disk."""

    reason: str


DiskEvent = (
    TargetDirReady
    | TargetDirFailed
    | TargetDirsFound
    | TargetDirMeasured
    | DiskReady
    | DiskFailed
    | DiskAbsent
    | DiskUnmounted
    | DiskMeasured
    | DiskLost
    | DiskSighted
    | DiskUnmeasured
)
