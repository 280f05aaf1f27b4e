"""The RAM disk door: one Protocol, an implementation per OS."""

from typing import Protocol

from forge.core.disk import Disk, DiskKind, DiskSpec, DiskUsage

MARKER_NAME = ".opta-forge-disk.json"


class RamDisk(Protocol):
    """Mount, measure and unmount one RAM disk.

    Every call may block up to its deadline and is made from a worker thread. Nothing here formats,
    detaches or deletes what Forge did not make: proof is the marker file on the disk's root, with
    our uid in it, and, while a disk is half made, the intent file in the state directory.
    """

    def place_of(self, kind: DiskKind | None) -> tuple[DiskKind, str]:
        """Return the kind tried first when `kind` is wanted (None: the best), and where it goes."""
        ...

    def ensure(self, spec: DiskSpec) -> Disk:
        """Mount the disk, or adopt the one that is there; idempotent.

        Raises DiskTaken (a stranger sits there), DiskUnavailable, DeadlineExceeded.
        """
        ...

    def identify(self, spec: DiskSpec) -> Disk | None:
        """Name our disk if it is there now; None otherwise. Changes nothing."""
        ...

    def measure(self, disk: Disk) -> DiskUsage:
        """Read how full it is. Raises DiskUnavailable when it is gone or another sits there."""
        ...

    def is_writable(self, disk: Disk) -> bool:
        """Look at it, which takes no time; DiskUnavailable as above, OSError: nobody can tell."""
        ...

    def resize(self, disk: Disk, size_mib: int) -> Disk:
        """Give it another size while in use. Raises ResizeRefused below use or if it can't be."""
        ...

    def unmount(self, disk: Disk, *, force: bool = False) -> None:
        """Take it away with all that is on it. Raises DiskBusy with the holder where known."""
        ...
