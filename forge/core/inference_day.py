"""What Forge did for inference within the last day, as the status tells it.

It is kept in memory: a daemon that is restarted begins anew.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from forge.core.actions import Action, Log
from forge.core.moment import Moment

DAY_S = 86400.0
MOST_KEPT = 10_000


class Favour(StrEnum):
    """Something that builds gave up for inference."""

    SQUEEZES = "squeezes"  # times that a server was squeezed
    HELD_LOADS = "held_loads"  # times that heavy units were held while a model was loaded
    HELD_BUILDS = "held_builds"  # times that no further build was admitted
    SHUT_GATES = "shut_gates"  # times that the gate of units or links was shut
    CANCELLED_LINKS = "cancelled_links"
    PAUSED_UNITS = "paused_units"
    ENDED_BUILDS = "ended_builds"


OF_DECISION = {
    "link.cancelled": Favour.CANCELLED_LINKS,
    "unit.paused": Favour.PAUSED_UNITS,
    "build.requeued": Favour.ENDED_BUILDS,
}
OF_RUNG = {
    "hold admission": Favour.HELD_BUILDS,
    "shut units": Favour.SHUT_GATES,
    "shut links": Favour.SHUT_GATES,
}


@dataclass(slots=True)
class InferenceDay:
    """Favours with their times, the oldest first. Clocks that jump back lose nothing."""

    _given: deque[tuple[float, Favour]] = field(default_factory=deque)
    _kept: deque[tuple[float, float]] = field(default_factory=deque)

    def add(self, favour: Favour, wall_s: float) -> None:
        """Take note of a favour."""
        self._given.append((wall_s, favour))
        while len(self._given) > MOST_KEPT:
            self._given.popleft()

    def add_core_seconds(self, cores: int, since_s: float, now: Moment) -> None:
        """Take note that so many cores were kept since a moment of the steady clock.

        What adds up within a minute is one entry.
        """
        passed_s = max(0.0, now.steady_s - since_s)
        if not cores or not passed_s:
            return
        last = self._kept[-1] if self._kept else None
        if last and 0 <= now.wall_s - last[0] < 60.0:
            self._kept[-1] = (last[0], last[1] + cores * passed_s)
        else:
            self._kept.append((now.wall_s, cores * passed_s))

    def note(self, actions: Iterable[Action], wall_s: float) -> None:
        """Take note of what the ladder did, when it was climbed for inference."""
        for one in actions:
            if not isinstance(one, Log):
                continue
            favour = OF_DECISION.get(one.decision)
            if one.decision == "memory.tight":
                favour = OF_RUNG.get(str(one.fields["rung"]))
            if favour:
                self.add(favour, wall_s)

    def report(self, wall_s: float) -> dict[str, float]:
        """Count each favour of the last day, and the core seconds that were kept free."""
        for line in (self._given, self._kept):
            while line and wall_s - line[0][0] > DAY_S:
                line.popleft()
        found: dict[str, float] = {favour.value: 0 for favour in Favour}
        for _, favour in self._given:
            found[favour] += 1
        return found | {"kept_core_s": round(sum(core_s for _, core_s in self._kept), 1)}
