"""How memory changes from one reading to the next, and when to look again.

Counters start anew at a reboot or with another cgroup, a clock may jump, and a machine may sleep.
What lies between two such readings is unknown, and unknown is None, never zero.
"""

from dataclasses import dataclass

from forge.core.memory import Reading, Stalls

LONGEST_GAP_S = 60.0
"""Readings that lie further apart say nothing about now: the machine may have slept between."""

REACH_S = 2.0
"""How far a trail reaches back: some figures of macOS change once a second only."""

IDLE_S = 5.0
BUSY_S = 0.25
FASTEST_S = 0.05
LOOKS_LEFT = 20
"""How often to look before the headroom is gone, if it goes on falling as it does."""


@dataclass(frozen=True, slots=True)
class Trend:
    """What changed between two readings, each second. Negative `fall`: there is more than before.

    The shares are parts of the time between, 0 to 1, in which tasks stalled for memory: the larger
    of the machine's and our limit's.
    """

    over_s: float
    fall_bytes_per_s: float
    swap_in_bytes_per_s: float | None
    swap_out_bytes_per_s: float | None
    some_share: float | None
    full_share: float | None


@dataclass(frozen=True, slots=True)
class Trail:
    """The last readings, oldest first, each later than the one before it.

    It reaches back `REACH_S`, and always one reading further, however long ago that was.
    """

    readings: tuple[Reading, ...] = ()

    def and_then(self, reading: Reading) -> "Trail":
        """Add a reading; one that is not later than the last begins a new trail."""
        if self.readings and reading.taken_s <= self.readings[-1].taken_s:
            return Trail((reading,))
        old = [one for one in self.readings if reading.taken_s - one.taken_s >= REACH_S]
        return Trail((*old[-1:], *self.readings[len(old) :], reading))

    def trend(self, over_s: float) -> Trend | None:
        """Compare the last reading with the nearest that is `over_s` older, or the oldest."""
        if len(self.readings) < 2:
            return None
        *earlier, last = self.readings
        old = [one for one in earlier if last.taken_s - one.taken_s >= over_s]
        return trend(old[-1] if old else earlier[0], last)


def trend(before: Reading, after: Reading) -> Trend | None:
    """Compare two readings; None when the time between them is none, negative or too long."""
    over_s = after.taken_s - before.taken_s
    if not 0 < over_s <= LONGEST_GAP_S:
        return None
    pairs = [(before.stalls, after.stalls), (before.limit_stalls, after.limit_stalls)]
    shares = [_shares(one, other, over_s) for one, other in pairs]
    return Trend(
        over_s=over_s,
        fall_bytes_per_s=(before.available_bytes - after.available_bytes) / over_s,
        swap_in_bytes_per_s=_rate(before.swap.in_bytes, after.swap.in_bytes, over_s),
        swap_out_bytes_per_s=_rate(before.swap.out_bytes, after.swap.out_bytes, over_s),
        some_share=max((some for some, _ in shares if some is not None), default=None),
        full_share=max((full for _, full in shares if full is not None), default=None),
    )


def interval_s(builds: int, headroom_bytes: int, fall_bytes_per_s: float | None) -> float:
    """Say how long to wait until the next reading.

    `headroom_bytes` is what is left above low water. While nothing is built, 5 s: what
    falls then is nobody's whom Forge could stop. While something is, 250 ms, and less when the
    headroom would be gone within 20 such readings, down to 50 ms.
    """
    if builds <= 0:
        return IDLE_S
    if headroom_bytes <= 0:
        return FASTEST_S
    if fall_bytes_per_s is None or fall_bytes_per_s <= 0:
        return BUSY_S
    empty_in_s = headroom_bytes / fall_bytes_per_s
    return min(BUSY_S, max(FASTEST_S, empty_in_s / LOOKS_LEFT))


def _rate(before: int | None, after: int | None, over_s: float) -> float | None:
    if before is None or after is None or after < before:
        return None
    return (after - before) / over_s


def _shares(
    before: Stalls | None, after: Stalls | None, over_s: float
) -> tuple[float | None, float | None]:
    if before is None or after is None or before.source != after.source:
        return None, None
    some = _rate(before.some_total_us, after.some_total_us, over_s * 1e6)
    full = _rate(before.full_total_us, after.full_total_us, over_s * 1e6)
    return (None if some is None else min(1.0, some)), (None if full is None else min(1.0, full))
