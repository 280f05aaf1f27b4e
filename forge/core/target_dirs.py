"""What is known of each target dir on the RAM disk."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TargetDir:
    """One target dir. `root` None: found on the disk, but no index says whose it is.

    Times are seconds since the epoch; `size_bytes` counts allocated bytes, hard links once, and is
    None until it was measured.
    """

    path: str
    root: str | None
    created_at: float
    last_used_at: float
    builds: int = 0
    size_bytes: int | None = None
    files: int = 0
