"""What the outside tells of room on the RAM disk."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StaleFound:
    """What in a target dir is of little use: its paths, their bytes, and why."""

    path: str
    parts: tuple[tuple[tuple[str, ...], int, str], ...]


@dataclass(frozen=True, slots=True)
class CheckoutsSeen:
    """Which of the workspace roots that were looked at do not exist any more."""

    gone: frozenset[str]


RoomEvent = CheckoutsSeen | StaleFound
