"""What is mounted where, from /proc/self/mounts (proc(5), fstab(5) for the escapes)."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system; `options` as the kernel lists them."""

    source: str
    mount_point: str
    fs_type: str
    options: frozenset[str]


def read_mounts(mounts: Path = Path("/proc/self/mounts")) -> list[Mount]:
    """Return all mounts in the order they were made. `mounts` may be a recording."""
    found = []
    for line in mounts.read_text("utf-8", "surrogateescape").splitlines():
        fields = line.split(" ")
        if len(fields) >= 4:
            source, where, fs_type = (_unescape(field) for field in fields[:3])
            found.append(Mount(source, where, fs_type, frozenset(fields[3].split(","))))
    return found


def mount_at(mount_point: str, mounts: Path = Path("/proc/self/mounts")) -> Mount | None:
    """Return what is mounted at `mount_point` itself; the newest of several."""
    there = [mount for mount in read_mounts(mounts) if mount.mount_point == mount_point]
    return there[-1] if there else None


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
