"""What the machine has swapped out since the RAM disk was mounted.

The counter is the machine's and runs since boot, so what it said at the mount is kept. A disk that
can be swapped (macOS, /dev/shm) may be part of it; on one that cannot, it tells of the neighbours.
"""

from forge.core.disk import Disk


class SwappedOut:
    """The counter at the mount, and now. Invariant: both are of the disk with `_token`."""

    def __init__(self) -> None:
        self._token: str | None = None
        self._at_mount_bytes: int | None = None
        self._now_bytes: int | None = None

    def look(self, disk: Disk | None, out_bytes: int | None) -> None:
        """Take a reading in; another disk, or a counter that went back, begins anew."""
        token = disk.token if disk else None
        is_new = token != self._token or self._at_mount_bytes is None
        if is_new or (out_bytes is not None and out_bytes < (self._at_mount_bytes or 0)):
            self._token, self._at_mount_bytes = token, out_bytes
        self._now_bytes = out_bytes

    @property
    def since_mount_bytes(self) -> int | None:
        """Return it; None without a disk, or where the system does not count."""
        if self._token is None or self._now_bytes is None or self._at_mount_bytes is None:
            return None
        return self._now_bytes - self._at_mount_bytes
