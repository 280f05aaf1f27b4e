"""What uses the virtual host's memory from moment to moment, and what that amounts to.

Everything is a straight line between two events, so sums of lines are exact, and so are the highest
demand and the seconds below a level.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.sim.memory_day import GIB, MODEL_BYTES, SYSTEM_BYTES, Trace

TOTAL_BYTES = 256 * GIB
LOW_WATER_BYTES = 8 * GIB


@dataclass(slots=True)
class Lines:
    """A sum of straight lines over a clock: at `x` it is `base + slope * x`."""

    base: float = 0.0
    slope: float = 0.0

    def at(self, x: float) -> float:
        return self.base + self.slope * x

    def add(self, level: float, slope: float, x: float) -> None:
        """Add a line that has `level` at `x`; negative values take one away."""
        self.base += level - slope * x
        self.slope += slope


@dataclass(slots=True)
class Tenant:
    """Memory that goes by a trace."""

    trace: Trace
    _next: int = 0

    def at(self, now_s: float) -> float:
        trace = self.trace
        while self._next < len(trace) and trace[self._next][0] <= now_s:
            self._next += 1
        if self._next == 0 or self._next == len(trace):
            return trace[min(self._next, len(trace) - 1)][1]
        (from_s, low), (to_s, high) = trace[self._next - 1], trace[self._next]
        return low + (high - low) * (now_s - from_s) / (to_s - from_s)

    def corners(self) -> Iterator[float]:
        return (at_s for at_s, _ in self.trace)


@dataclass(frozen=True, slots=True)
class Sample:
    """Who has how much, at the moment of the highest demand of some seconds."""

    at_s: float
    fixed: float
    context: float
    disk: float
    rustcs: float
    links: float
    hog: float

    @property
    def demand(self) -> float:
        return self.fixed + self.context + self.disk + self.rustcs + self.links + self.hog


@dataclass(slots=True)
class Figures:
    """What is counted over a run. `evicted_bytes`: what would have to leave memory, all in all."""

    peak_bytes: float = 0.0
    below_low_water_s: float = 0.0
    beyond_machine_s: float = 0.0
    evicted_bytes: float = 0.0
    samples: list[Sample] = field(default_factory=list)

    def passed(self, before: float, after: float, over_s: float) -> None:
        """Count a stretch in which the demand went from one value to another, straight."""
        limit = TOTAL_BYTES - LOW_WATER_BYTES
        self.below_low_water_s += over_s * _share_above(before, after, limit)
        self.beyond_machine_s += over_s * _share_above(before, after, TOTAL_BYTES)
        self.jumped(before, after)

    def jumped(self, before: float, after: float) -> None:
        """Count a change of the demand that takes no time, or whose time is counted already."""
        excess = [max(0.0, one - TOTAL_BYTES) for one in (before, after)]
        self.evicted_bytes += max(0.0, excess[1] - excess[0])
        self.peak_bytes = max(self.peak_bytes, after)

    def sample(self, one: Sample, every_s: float) -> None:
        """Keep the highest sample of each stretch of `every_s`."""
        last = self.samples[-1] if self.samples else None
        if last is None or one.at_s // every_s > last.at_s // every_s:
            self.samples.append(one)
        elif one.demand > last.demand:
            self.samples[-1] = one


FIXED_BYTES = float(MODEL_BYTES + SYSTEM_BYTES)


def _share_above(before: float, after: float, level: float) -> float:
    low, high = min(before, after), max(before, after)
    if low >= level:
        return 1.0
    return (high - level) / (high - low) if high > level else 0.0
