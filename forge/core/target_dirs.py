"""What is known of each target dir on the RAM disk."""

from dataclasses import dataclass

from forge.core.target_parts import TargetParts

TMP_NAME = ".tmp"
"""At the top of the disk: the temporary directories of builds, each `<build>-<launcher's pid>`."""


@dataclass(frozen=True, slots=True)
class LastUse:
    """The build that used a target dir last.

    `who` is the build key that it came by from another machine, else `person`, `editor`, `agent`,
    `ssh`, `ci` or `program`.
    """

    build: str
    verb: str | None
    profile: str
    priority: str
    via: str
    who: str


@dataclass(frozen=True, slots=True)
class TargetDir:
    """One target dir. `root` None: found on the disk, but no index says whose it is.

    Times are seconds since the epoch; `size_bytes` counts allocated bytes, hard links once, and is
    None until it was measured. `parts` is what the last walk has found, `last` the last build.
    """

    path: str
    root: str | None
    created_at: float
    last_used_at: float
    builds: int = 0
    size_bytes: int | None = None
    files: int = 0
    parts: TargetParts | None = None
    last: LastUse | None = None
