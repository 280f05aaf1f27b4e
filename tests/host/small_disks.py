"""A small tmpfs for tests of what fills, removes and moves; a directory where none may be had."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forge.core.disk import Disk, DiskKind
from forge.host.mounts import mount_at
from forge.host.ramdisk_linux import may_mount


@contextmanager
def small_disk(size_mib: int = 32) -> Iterator[Disk]:
    """Mount a tmpfs outside tmp_path, so that a mount left behind by a bug is walked by nobody."""
    with tempfile.TemporaryDirectory(prefix="forge-disk-", dir="/tmp") as root:
        place = Path(root) / "builds"
        place.mkdir()
        kind = DiskKind.DIRECTORY
        if may_mount():
            options = f"size={size_mib}m,mode=700"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "forge-test", place], check=True)
            kind = DiskKind.TMPFS
        try:
            yield Disk(kind, str(place), size_mib, place.stat().st_dev, "token")
        finally:
            for line in reversed(Path("/proc/mounts").read_text().splitlines()):
                if line.split()[1].startswith(str(place)):
                    subprocess.run(["umount", "-l", line.split()[1]], check=True)
            assert mount_at(str(place)) is None


def fill(disk: Disk, name: str = "app-0123", *, kib: int = 64) -> Path:
    """Make a target dir such as cargo leaves."""
    target = Path(disk.mount_point, name)
    for place in ("debug/deps", "debug/.fingerprint/app-1", "debug/incremental/app-1/s-1"):
        (target / place).mkdir(parents=True, exist_ok=True)
    (target / "CACHEDIR.TAG").write_text("tag")
    (target / "debug/.cargo-lock").touch()
    (target / "debug/deps/libapp-1.rlib").write_bytes(b"x" * kib * 1024)
    (target / "debug/.fingerprint/app-1/lib-app").write_text("0123")
    (target / "debug/incremental/app-1/s-1/dep-graph.bin").write_bytes(b"x" * 4096)
    return target
