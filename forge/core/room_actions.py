"""What is done for room on the RAM disk."""

from dataclasses import dataclass

from forge.core.disk import Disk


@dataclass(frozen=True, slots=True)
class EvictTargetDir:
    """Delete a target dir that nobody uses; answered by `TargetDirEvicted`."""

    disk: Disk
    path: str


@dataclass(frozen=True, slots=True)
class KeepPin:
    """Keep that a target dir is pinned, or that it is not."""

    path: str
    pinned: bool


RoomAction = EvictTargetDir | KeepPin
