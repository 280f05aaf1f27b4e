"""What the core wants done to the RAM disk and to the target dirs on it."""

from dataclasses import dataclass

from forge.core.disk import Disk, DiskSpec
from forge.core.target_dirs import TargetDir


@dataclass(frozen=True, slots=True)
class MakeTargetDir:
    """Make a target dir on the disk; answered by `TargetDirReady` or `TargetDirFailed`.

    `link_from` is where a link named `target` is wanted, if the project has nothing there;
    `unlink_from` is where none of ours may be. `tmp_dir` is wanted as well, if it can be made.
    """

    conn: int
    disk: Disk
    path: str
    root: str
    link_from: str | None = None
    unlink_from: str | None = None
    tmp_dir: str | None = None


@dataclass(frozen=True, slots=True)
class MeasureTargetDir:
    """Walk a target dir; answered by `TargetDirMeasured`.

    With a `profile_dir`, profiles of other names are passed over.
    """

    path: str
    profile_dir: str | None = None


@dataclass(frozen=True, slots=True)
class FindTargetDirs:
    """List the target dirs on the disk; answered by `TargetDirsFound`."""

    disk: Disk


@dataclass(frozen=True, slots=True)
class RecordTargetDir:
    """Keep what is known of a target dir."""

    target_dir: TargetDir


@dataclass(frozen=True, slots=True)
class KeepTargetMode:
    """Keep the mode of a project."""

    root: str
    mode: str


@dataclass(frozen=True, slots=True)
class RemoveTmpDir:
    """Delete the temporary directory of a build that is over, with all that is in it."""

    disk: Disk
    path: str


@dataclass(frozen=True, slots=True)
class EnsureDisk:
    """Mount or adopt the disk; answered by `DiskReady` or `DiskFailed`."""

    spec: DiskSpec


@dataclass(frozen=True, slots=True)
class FindDisk:
    """See whether our disk is there already; answered by `DiskReady` or `DiskAbsent`."""

    spec: DiskSpec


@dataclass(frozen=True, slots=True)
class ResizeDisk:
    """Resize the disk; answered by `DiskReady` or `DiskFailed`."""

    disk: Disk
    size_mib: int


@dataclass(frozen=True, slots=True)
class UnmountDisk:
    """Unmount the disk; answered by `DiskUnmounted` or `DiskFailed`."""

    disk: Disk
    force: bool


@dataclass(frozen=True, slots=True)
class MeasureDisk:
    """Measure the disk; answered by `DiskMeasured`, `DiskLost` or `DiskUnmeasured`."""

    disk: Disk


@dataclass(frozen=True, slots=True)
class WatchDisk:
    """Keep the disk in sight; `DiskLost` and `DiskSighted` tell what comes of that."""

    disk: Disk


@dataclass(frozen=True, slots=True)
class UnwatchDisk:
    """Let the disk out of sight."""


@dataclass(frozen=True, slots=True)
class LookAtDisk:
    """Look at the disk now; answered by `DiskSighted` or `DiskLost`."""

    disk: Disk


DiskAction = (
    MakeTargetDir
    | MeasureTargetDir
    | FindTargetDirs
    | RecordTargetDir
    | KeepTargetMode
    | RemoveTmpDir
    | EnsureDisk
    | FindDisk
    | ResizeDisk
    | UnmountDisk
    | MeasureDisk
    | WatchDisk
    | UnwatchDisk
    | LookAtDisk
)
