"""The ladder: what is done, step by step, when memory is tight, and undone when it is calm again.

The steps cost more and more, so each is tried before the next: nothing new, no more compilers, no
more linkers, a link run again later, a compiler stopped for a while, a build begun again later. A
person's build is never ended, and nothing ever that is no build of ours.

*Tight* and *calm* are two thresholds with a band between them, in which little changes. The way up
is fast, since by the time that everybody notices it is too late; each step that takes memory from
somebody waits until the last one can have had its effect. The way down is slow, one rung at a time,
and slower each time that it was left too early: a build that was ended for memory must not come
back into the same want of it.
"""

from dataclasses import dataclass
from enum import IntEnum


class Rung(IntEnum):
    """How high on the ladder we stand. What belongs to the rungs below holds as well."""

    CALM = 0
    HOLD_ADMISSION = 1  # no further build gets units
    SHUT_UNITS = 2  # no further rustc starts; one always runs
    SHUT_LINKS = 3  # no further link starts
    CANCEL_LINKS = 4  # the youngest link is undone, to run again later
    STOP_UNITS = 5  # the youngest batch rustc is stopped where it stands
    END_BUILDS = 6  # the youngest batch build is ended, to go on later

    @property
    def title(self) -> str:
        """Return its name as people read it."""
        return self.name.lower().replace("_", " ")


TOP = max(Rung)

SETTLE_S = {
    Rung.HOLD_ADMISSION: 0.0,
    Rung.SHUT_UNITS: 0.0,
    Rung.SHUT_LINKS: 0.05,
    Rung.CANCEL_LINKS: 0.1,
    Rung.STOP_UNITS: 0.5,
    Rung.END_BUILDS: 1.0,
}
"""A rung is climbed no sooner than so long after the one below it.

A linker that is told to end is gone within 200 ms; its memory is seen at the reading after that.
"""

AGAIN_S = {Rung.CANCEL_LINKS: 0.3, Rung.STOP_UNITS: 0.5, Rung.END_BUILDS: 3.0}
"""Standing on such a rung, the next one is taken so long after the last one."""

CALM_S = 1.0
MAX_CALM_S = 30.0
BAND_FACTOR = 5.0
"""Between tight and calm a step down takes so many times as long, up to `MAX_CALM_S`.

It is taken all the same: memory may stay there for hours, and links would never start again.
"""

RELAPSE_S = 20.0
"""To climb again so soon after a step down doubles the time that the next step down takes."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a look at memory leads to: the rung we stand on, and whether one more is to be taken.

    `takes`: the youngest link, rustc or build, as the rung says, is to be taken now.
    """

    rung: Rung
    was: Rung
    takes: bool

    @property
    def is_new(self) -> bool:
        """Say whether the rung is another than before."""
        return self.rung is not self.was


@dataclass(slots=True)
class Ladder:
    """Where we stand, since when, and how long it must be calm before the next step down."""

    rung: Rung = Rung.CALM
    calm_s: float = CALM_S
    _since_s: float = float("-inf")
    _taken_s: float = float("-inf")
    _calm_since_s: float | None = None
    _eased_since_s: float | None = None
    _left_s: float = float("-inf")

    def look(self, now_s: float, *, is_tight: bool, is_calm: bool, has_more: bool) -> Change:
        """Take one look in. `has_more`: there is something left for this rung to take."""
        assert not (is_tight and is_calm), "memory cannot be both"
        was = self.rung
        now_s = max(now_s, self._since_s)  # a clock that jumps back holds us where we are
        if is_tight:
            self._calm_since_s = self._eased_since_s = None
            return self._climb(was, now_s, has_more=has_more)
        self._eased_since_s = _since(self._eased_since_s, now_s)
        self._calm_since_s = _since(self._calm_since_s, now_s) if is_calm else None
        if self.rung is Rung.CALM:
            if is_calm and now_s - self._left_s > RELAPSE_S:
                self.calm_s = CALM_S
        elif self._may_descend(now_s):
            self._stand(Rung(self.rung - 1), now_s)
            self._eased_since_s = self._left_s = now_s
            self._calm_since_s = now_s if is_calm else None
        return Change(self.rung, was, takes=False)

    def _may_descend(self, now_s: float) -> bool:
        """Say whether it has been calm for long enough, or far longer at least not tight."""
        if self._calm_since_s is not None and now_s - self._calm_since_s >= self.calm_s:
            return True
        assert self._eased_since_s is not None, "a look that is not tight is a beginning at least"
        return now_s - self._eased_since_s >= min(MAX_CALM_S, BAND_FACTOR * self.calm_s)

    def _climb(self, was: Rung, now_s: float, *, has_more: bool) -> Change:
        if now_s - self._left_s <= RELAPSE_S and self._left_s >= self._since_s:
            self.calm_s = min(MAX_CALM_S, 2 * self.calm_s)
            self._left_s = float("-inf")
        again_s = AGAIN_S.get(self.rung)
        if again_s is not None and has_more:
            takes = now_s - self._taken_s >= again_s
            if takes:
                self._taken_s = now_s
            return Change(self.rung, was, takes=takes)
        if self.rung is not TOP and now_s - self._since_s >= SETTLE_S[Rung(self.rung + 1)]:
            self._stand(Rung(self.rung + 1), now_s)
            takes = self.rung in AGAIN_S
            if takes:
                self._taken_s = now_s
            return Change(self.rung, was, takes=takes)
        return Change(self.rung, was, takes=False)

    def _stand(self, rung: Rung, now_s: float) -> None:
        self.rung, self._since_s = rung, now_s


def _since(then_s: float | None, now_s: float) -> float:
    """Return when something began that holds now; a clock that jumps back begins it anew."""
    return now_s if then_s is None or now_s < then_s else then_s
