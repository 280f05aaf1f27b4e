"""What the RAM disk is, as values: the wish, the disk that answers it, and how full it is."""

from dataclasses import dataclass
from enum import StrEnum


class DiskKind(StrEnum):
    """How the bytes are kept. What a kind does not guarantee is in `Disk.caveats`."""

    TMPFS = "tmpfs"  # Linux, root: own mount, sized by the kernel, out of swap where it can be
    SHM = "shm"  # Linux, no root: a private directory under /dev/shm; Forge keeps the size
    APFS = "apfs"  # macOS: a ram:// device with an APFS volume
    APFS_WIRED = "apfs-wired"  # the same in the kernel, where macOS lets us: out of swap
    DIRECTORY = "directory"  # anywhere: a directory on an ordinary disk

    @property
    def is_measured_by_the_kernel(self) -> bool:
        """Say whether one system call tells how full it is; the others are walked."""
        return self in (DiskKind.TMPFS, DiskKind.APFS, DiskKind.APFS_WIRED)


@dataclass(frozen=True, slots=True)
class DiskSpec:
    """The disk that the configuration asks for.

    `mount_point` is absolute. On macOS it is always /Volumes/<volume_name>. `kind` None means: the
    best that this machine and this user can have.
    """

    mount_point: str
    size_mib: int
    inodes: int
    kind: DiskKind | None = None


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk that is there and proven to be ours.

    `device_id` is st_dev of its root, `token` the random name in its marker file: together they
    tell this disk from a later one at the same place. `node` is the physical RAM device on macOS
    (`/dev/disk4`), None elsewhere. `caveats` are lines that say what this kind does not guarantee.
    """

    kind: DiskKind
    mount_point: str
    size_mib: int
    device_id: int
    token: str
    node: str | None = None
    adopted: bool = False
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """How full a disk is, in bytes and in files (0 total files: the kind has no such limit)."""

    total_bytes: int
    used_bytes: int
    free_bytes: int
    total_files: int
    used_files: int
