"""Why something waits and what each build has, as values for people."""

from dataclasses import dataclass
from enum import StrEnum

from forge.core.shares import Priority
from forge.core.units import plural, show_duration


class Why(StrEnum):
    """What a unit waits for."""

    HELD = "held"  # the machine is held by hand or by pressure
    OWN_CAP = "own cap"  # its build runs as much as its own -j allows
    CORES = "cores"  # the machine runs as much as it may
    ROOM = "room"  # it needs several cores, and they are being cleared for it
    CLEARING = "clearing"  # cores are being cleared for another unit that needs several


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a unit waits: what is missing, since when, and who is ahead.

    `ahead` names the builds that come first, `ahead_of_own` counts the units of the same build.
    """

    ticket: int
    build: str
    why: Why
    since_s: float
    cores: int
    running_cores: int
    capacity: int
    ahead: tuple[str, ...] = ()
    ahead_of_own: int = 0

    @property
    def text(self) -> str:
        """Say it in a line for people."""
        busy = f"{self.running_cores} of {plural(self.capacity, 'core')} busy"
        needs = f", this needs {self.cores}" if self.cores > 1 else ""
        if not self.capacity and self.why is Why.CORES:
            busy = "one unit runs while memory is short"
        said = {
            Why.HELD: "waiting: the machine is held",
            Why.OWN_CAP: "waiting for this build's own units: it runs as many as it may",
            Why.CORES: f"waiting for a core: {busy}{needs}",
            Why.ROOM: f"waiting for cores to be cleared: {busy}{needs}",
            Why.CLEARING: f"waiting while cores are cleared for a larger unit: {busy}{needs}",
        }[self.why]
        ahead = []
        if self.ahead:
            shown = ", ".join(self.ahead[:3])
            more = len(self.ahead) - 3
            ahead.append(f"{shown} and {more} more" if more > 0 else shown)
        if self.ahead_of_own:
            ahead.append(f"{plural(self.ahead_of_own, 'unit')} of its own build")
        behind = f"; behind {' and '.join(ahead)}" if ahead else ""
        return f"{said}{behind} (for {show_duration(self.since_s)})"


@dataclass(frozen=True, slots=True)
class Standing:
    """What one build has now.

    `share_cores` is its max-min fair part of the capacity, given what all builds can use now;
    `running` and `waiting` count units. `is_guest`: it has left, or was never announced.
    """

    build: str
    priority: Priority
    share_cores: float
    running: int
    running_cores: int
    waiting: int
    is_guest: bool
