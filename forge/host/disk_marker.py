"""The marker file at the root of a RAM disk: the proof that the disk is ours.

Unmounting and eviction lean on this file, so reading it fails closed: whatever is not a small
regular file of our own user, with all fields in it, counts as no marker at all.
"""

import json
import os
import secrets
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

from forge.core.disk import DiskKind
from forge.host.ramdisk import MARKER_NAME

MAX_MARKER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class DiskMarker:
    """Who made a disk, of what kind and how large; `token` tells it from a later disk there."""

    token: str
    uid: int
    kind: DiskKind
    size_mib: int


def new_token() -> str:
    """Return a name that no other disk has: 128 random bits as hex."""
    return secrets.token_hex(16)


def write_marker(root: Path, marker: DiskMarker) -> None:
    """Put `marker` at `root` in one step, readable by its owner alone."""
    draft = root / f"{MARKER_NAME}.{secrets.token_hex(4)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(marker), file)
            file.write("\n")
        draft.replace(root / MARKER_NAME)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def read_marker(root: Path) -> DiskMarker | None:
    """Return the marker at `root`, or None when there is none that proves anything."""
    raw = _read_own_file(root / MARKER_NAME)
    if raw is None:
        return None
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return _marker_from(data) if isinstance(data, dict) else None


def _marker_from(data: dict[str, object]) -> DiskMarker | None:
    token, uid, kind, size_mib = (data.get(key) for key in ("token", "uid", "kind", "size_mib"))
    if not isinstance(token, str) or not token:
        return None
    # bool is an int to Python and never to us
    if not isinstance(uid, int) or not isinstance(size_mib, int):
        return None
    if isinstance(uid, bool) or isinstance(size_mib, bool) or size_mib <= 0 or uid != os.getuid():
        return None
    if kind not in list(DiskKind):
        return None
    return DiskMarker(token, uid, DiskKind(str(kind)), size_mib)


def _read_own_file(path: Path) -> bytes | None:
    """Read a small regular file of our user; O_NONBLOCK, so that a FIFO there cannot hold us."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None  # missing, a symlink, not readable: none of them proves anything
    try:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode) or seen.st_uid != os.getuid():
            return None
        raw = os.read(descriptor, MAX_MARKER_BYTES + 1)
    except OSError:
        return None  # the disk went away under us
    finally:
        os.close(descriptor)
    return raw if len(raw) <= MAX_MARKER_BYTES else None
