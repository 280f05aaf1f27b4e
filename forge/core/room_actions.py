"""What is done for room on the RAM disk."""

from dataclasses import dataclass

from forge.core.disk import Disk
from forge.core.spill import Spill


@dataclass(frozen=True, slots=True)
class EvictTargetDir:
    """Delete a target dir that nobody uses; answered by `TargetDirEvicted`.

    `disk` None: one on the SSD. With `parts` these alone go, paths below it.
    """

    disk: Disk | None
    path: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeepPin:
    """Keep that a target dir is pinned, or that it is not."""

    path: str
    pinned: bool


@dataclass(frozen=True, slots=True)
class KeepSpill:
    """Keep that a project is on the SSD."""

    spill: Spill


@dataclass(frozen=True, slots=True)
class ForgetSpill:
    """Forget that a project was on the SSD."""

    root: str


@dataclass(frozen=True, slots=True)
class FindStale:
    """See what in a target dir is of little use; answered by `StaleFound`."""

    path: str


@dataclass(frozen=True, slots=True)
class LookAtCheckouts:
    """See which workspace roots do not exist any more; answered by `CheckoutsSeen`."""

    roots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SweepSpills:
    """Delete what an earlier daemon has left half moved on the SSD."""

    directory: str


RoomAction = (
    EvictTargetDir | KeepPin | KeepSpill | ForgetSpill | LookAtCheckouts | SweepSpills | FindStale
)
