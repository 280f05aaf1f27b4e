"""Readings of memory: when the next one is due, what it says, and what follows from it.

Between a reading and what is done about it memory goes on falling. So the low water below which
memory is tight rises with the rate at which it falls: what `AHEAD_S` will take counts as gone.
"""

from typing import TYPE_CHECKING, Any

from forge.core import events
from forge.core.actions import Action, Log, MeasureMemory
from forge.core.inference_claim import beside
from forge.core.memory import Reading
from forge.core.memory_signs import HARD, Sign, Tightness, tightness
from forge.core.memory_trend import Trail, interval_s
from forge.core.moment import Moment
from forge.core.pressure import Change, Ladder, Rung
from forge.core.relief import Relief
from forge.core.swapped_out import SwappedOut
from forge.core.units import MIB

if TYPE_CHECKING:
    from forge.core.state import State

LOW_WATER_SHARE = 0.04
LEAST_LOW_WATER_BYTES = 384 * MIB
MOST_LOW_WATER_BYTES = 8 * 1024 * MIB
"""What stays available for all that Forge does not know of: 8 GiB on the reference host."""

CALM_MARGIN = 1.5
"""Memory is calm again when so many times the low water is available."""

AHEAD_S = 0.4
"""What a falling machine loses until a step of ours has its effect: a reading and a signal."""

SIGNS_OVER_S = 1.0
"""Stalls and swapping are looked at over so long: over less they are noise."""

LIKELY_FALL = 512 * MIB
"""Bytes a second that memory may begin to fall by at any moment while something is built."""

LOST_ANSWER_S = 5.0
"""An answer that is missing for so long will not come."""


def proposed_low_water_bytes(total_bytes: int) -> int:
    """Return what is to stay available on a machine of that size."""
    return min(MOST_LOW_WATER_BYTES, max(LEAST_LOW_WATER_BYTES, int(LOW_WATER_SHARE * total_bytes)))


class MemoryWatch:
    """The last reading, the trend, and the rung of the ladder that we stand on."""

    def __init__(self, state: "State") -> None:
        self._state = state
        self.trail = Trail()
        self.beside: Reading | None = None
        self.fall_bytes_per_s = 0.0
        self.tightness = Tightness({})
        self.failure: str | None = None
        self.ladder = Ladder()
        self.relief = Relief(state)
        self.swapped = SwappedOut()
        self._looked_s = float("-inf")
        self._asked_s: float | None = None

    @property
    def reading(self) -> Reading | None:
        """The last reading, if memory can be measured."""
        return self.trail.readings[-1] if self.trail.readings else None

    @property
    def low_water_bytes(self) -> int:
        """What is to stay available."""
        if self._state.settings.low_water_mib is not None:
            return self._state.settings.low_water_mib * MIB
        total_bytes = self._state.settings.memory_map.total_mib * MIB
        return proposed_low_water_bytes(self.reading.total_bytes if self.reading else total_bytes)

    @property
    def headroom_bytes(self) -> int | None:
        """What builds have above the low water; None when it was not measured."""
        return self.beside.available_bytes - self.low_water_bytes if self.beside else None

    @property
    def shuts_links(self) -> bool:
        """Say whether nothing that books bytes may start."""
        return self.ladder.rung >= Rung.SHUT_LINKS or self._state.inference.is_loading

    @property
    def is_for_inference(self) -> bool:
        """Say whether memory is tight because of what a model needs, and not otherwise."""
        if Sign.SQUEEZED in self.tightness.signs:
            return True
        hard = HARD & self.tightness.signs.keys()
        has_enough = self.reading and self.reading.available_bytes >= self.low_water_bytes
        return bool(hard == {Sign.LOW} and has_enough)

    @property
    def due_s(self) -> float:
        """When the next reading is due, by the steady clock."""
        if self._asked_s is not None:
            return self._asked_s + LOST_ANSWER_S
        return self._looked_s + self._interval_s()

    def tick(self, now: Moment) -> list[Action]:
        """Measure, if it is time."""
        return self.ask(now) if now.steady_s >= self.due_s else []

    def ask(self, now: Moment) -> list[Action]:
        """Measure now: the machine, and the processes of all that holds bytes."""
        self._asked_s = now.steady_s
        behind = self._state.gates.behind
        holders = self._state.gates.memory.reservations.holders()
        pids = {one.ticket: behind[one.ticket].pid for one in holders if one.ticket in behind}
        return [MeasureMemory(pids)]

    def unmeasured(self, event: events.MemoryUnmeasured, now: Moment) -> list[Action]:
        """Go on by the buffer alone, where memory cannot be measured."""
        self._asked_s, self._looked_s = None, now.steady_s
        is_news = self.failure != event.reason
        self.failure, self.trail, self.fall_bytes_per_s = event.reason, Trail(), 0.0
        self.beside = None
        log: list[Action] = [Log("memory.unmeasured", {"reason": event.reason})] if is_news else []
        freed = self._state.gates.measured(None, {}, now)
        return [*log, *freed, *self._state.killed.unmeasured(now)]

    def measured(self, event: events.MemoryMeasured, now: Moment) -> list[Action]:
        """Take a reading in: who gets bytes, and whether a rung is to be climbed or left."""
        self._asked_s, self._looked_s, self.failure = None, now.steady_s, None
        self.trail = self.trail.and_then(event.reading)
        last = self.trail.trend(0.0)
        fall = self.fall_bytes_per_s = max(0.0, last.fall_bytes_per_s) if last else 0.0
        inference = self._state.inference
        reading = self.beside = beside(event.reading, inference.claims())
        low_water_bytes = self.low_water_bytes + int(AHEAD_S * fall)
        available_bytes = reading.available_bytes
        squeezed = inference.squeezed_sign(available_bytes - self.low_water_bytes, now.steady_s)
        self.tightness = tightness(
            reading, self.trail.trend(SIGNS_OVER_S), low_water_bytes, squeezed
        )
        is_calm = not self.tightness.signs and (
            available_bytes >= CALM_MARGIN * self.low_water_bytes + AHEAD_S * fall
        )
        change = self.ladder.look(
            now.steady_s,
            is_tight=self.tightness.is_tight,
            is_calm=is_calm and not self.tightness.is_tight,
            has_more=self.relief.has_more(self.ladder.rung),
        )
        actions = [*self._logs(change), *self.relief.follow(change, now)]
        if self.is_for_inference:
            inference.day.note(actions, now.wall_s)
        room_bytes = available_bytes - self.low_water_bytes - inference.promised_bytes
        actions += self._state.gates.measured(room_bytes, event.used_bytes, now)
        actions += self.relief.keep_going(available_bytes, now)
        self.swapped.look(self._state.disk.disk, event.reading.swap.out_bytes)
        actions += self._state.killed.measured(event, now)
        return [*actions, *self._state.cgroup.fit()]

    def check(self) -> None:
        """Assert the invariants."""
        is_shut = self._state.gates.memory.reservations.is_shut
        assert is_shut == self.shuts_links, "the links' gate and the reasons to shut it differ"

    def _interval_s(self) -> float:
        at_work = len(self._state.builds) + len(self._state.reserved.by_id)
        builds = at_work or int(self.ladder.rung > Rung.CALM)
        headroom_bytes = self.headroom_bytes
        if headroom_bytes is None:
            return interval_s(builds, 1 << 60, None)
        return interval_s(builds, headroom_bytes, max(self.fall_bytes_per_s, LIKELY_FALL))

    def _logs(self, change: Change) -> list[Action]:
        if not change.is_new:
            return []
        reading = self.reading
        assert reading
        numbers: dict[str, Any] = {
            "rung": change.rung.title,
            "was": change.was.title,
            "available": (self.beside or reading).available_bytes,
            "low_water": self.low_water_bytes,
            "falling": int(self.fall_bytes_per_s),
            "because": list(self.tightness.signs.values()),
        }
        up = change.rung > change.was
        return [Log("memory.tight" if up else "memory.eased", numbers)]
