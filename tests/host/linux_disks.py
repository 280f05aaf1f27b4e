"""RAM disks of the Linux door in a place of the test's own."""

import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from forge.core.disk import DiskKind, DiskSpec
from forge.host.mounts import mount_at
from forge.host.ramdisk_linux import (
    LinuxRamDisk,
)


def door(tmp_path, **more):
    shm = tmp_path / "shm"
    shm.mkdir(exist_ok=True)
    return LinuxRamDisk(tmp_path, cache_dir=tmp_path / "cache", shm=shm, **more)


def spec(place, kind=DiskKind.TMPFS, size_mib=64):
    return DiskSpec(place, size_mib, 5000, kind)


@contextmanager
def a_place():
    """A directory outside tmp_path, so that a mount left behind by a bug can't be walked by it."""
    with tempfile.TemporaryDirectory(prefix="forge-disk-") as root:
        where = Path(root) / "builds"
        try:
            yield str(where)
        finally:
            while mount_at(str(where)):
                subprocess.run(["umount", "-l", str(where)], check=True)
