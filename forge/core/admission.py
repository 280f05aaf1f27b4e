"""Which builds may have units at all; the others wait in line.

The budget shares cores among the builds that are admitted. Each of them costs memory of its own,
in cargo and on the RAM disk, so a small machine admits few. An editor's short check is admitted
beside them, or it would wait behind builds that take minutes.

The line is in order of priority, then of arrival; but the first batch build in it is passed by no
more than `MAX_PASSED` interactive ones. Invariant: while a build waits, the machine is held or as
many are admitted as may be; so when none is admitted, the next is.
"""

from collections.abc import Callable
from dataclasses import dataclass

from forge.core.shares import Priority

MAX_PASSED = 8
"""So many interactive builds may go before a batch build that came first."""

SHORT_VERBS = frozenset(("c", "check", "clippy", "metadata"))
"""What editors run at each save."""


def is_short(priority: Priority, verb: str | None) -> bool:
    """Say whether a build is an editor's short check."""
    return priority is Priority.INTERACTIVE and verb in SHORT_VERBS


def proposed_limit(cores: int) -> int:
    """Return how many builds to admit on `cores`: enough to fill the gaps that one leaves."""
    return max(2, cores)


@dataclass(frozen=True, slots=True)
class Queued:
    """Why a build waits to be admitted: who is ahead of it, and since when."""

    build: str
    since_s: float
    is_held: bool
    is_short: bool
    admitted: tuple[str, ...]
    limit: int
    ahead: tuple[str, ...]

    def text(self, name: Callable[[str], str]) -> str:
        """Say it in a line for people; `name` gives the name of a build."""
        if self.is_held:
            return "the machine is held; `forge resume` lets builds go on"
        if self.is_short:
            at_work = f"it is short, and {len(self.admitted)} at work"
            return f"waiting for memory: {at_work}{self._ahead(name)}"
        runs = ", ".join(map(name, self.admitted[:3])) + (", …" if len(self.admitted) > 3 else "")
        return (
            f"waiting for a build to end: {len(self.admitted)} at work ({runs}), at most"
            f" {self.limit}{self._ahead(name)}"
        )

    def _ahead(self, name: Callable[[str], str]) -> str:
        if not self.ahead:
            return ""
        return f"; {len(self.ahead)} ahead: {', '.join(map(name, self.ahead[:3]))}"


@dataclass(slots=True)
class _Waiting:
    build: str
    priority: Priority
    is_short: bool
    order: int
    since_s: float
    passed: int = 0


class Admission:
    """Admitted builds, and the line of those that wait."""

    def __init__(self, limit: int) -> None:
        self.limit = max(1, limit)
        self.is_held = False
        self.is_short = False
        self._admitted: dict[str, bool] = {}  # whether it is short
        self._line: dict[str, _Waiting] = {}

    def join(
        self, build: str, *, order: int, priority: Priority, verb: str | None, now_s: float
    ) -> list[str]:
        """Let a build stand in line by its `order` of arrival; return the builds admitted now."""
        if build in self._admitted or build in self._line:
            return []
        short = is_short(priority, verb)
        self._line[build] = _Waiting(build, priority, short, order, now_s)
        return self._admit()

    def adopt(self, build: str) -> None:
        """Count a build that runs already, beyond the limit if need be."""
        self._line.pop(build, None)
        self._admitted.setdefault(build, False)

    def leave(self, build: str) -> list[str]:
        """Take note that a build is over, or waits no more."""
        self._line.pop(build, None)
        self._admitted.pop(build, None)
        return self._admit()

    def set_limit(self, limit: int) -> list[str]:
        """Change how many may be admitted; those that are stay."""
        self.limit = max(1, limit)
        return self._admit()

    def set_priority(self, build: str, priority: Priority, verb: str | None) -> list[str]:
        """Change a build's place in the line."""
        if build in self._line:
            self._line[build].priority = priority
            self._line[build].is_short = is_short(priority, verb)
        return self._admit()

    def hold(self, on: bool) -> list[str]:
        """Admit nothing, or go on."""
        self.is_held = on
        return self._admit()

    def short(self, on: bool) -> list[str]:
        """Admit one build at a time while memory is short, or go on."""
        self.is_short = on
        return self._admit()

    def waiting(self, build: str, *, now_s: float) -> Queued | None:
        """Tell why a build waits; None when it does not."""
        one = self._line.get(build)
        if one is None:
            return None
        line = self._in_order()
        return Queued(
            build=build,
            since_s=max(0.0, now_s - one.since_s),
            is_held=self.is_held,
            is_short=self.is_short,
            admitted=tuple(self._admitted),
            limit=self.limit,
            ahead=tuple(other.build for other in line[: line.index(one)]),
        )

    def line(self) -> list[str]:
        """Return the builds that wait, in order."""
        return [one.build for one in self._in_order()]

    def check(self) -> None:
        """Assert the invariants."""
        assert not self._admitted.keys() & self._line.keys(), "a build waits and is admitted"
        if self._line and not self.is_held:
            limit = 1 if self.is_short else self.limit
            assert len(self._admitted) >= limit, "a build waits while there is room"
        for one in self._line.values():
            assert one.passed <= MAX_PASSED, f"{one.build} was passed too often"

    def _admit(self) -> list[str]:
        admitted: list[str] = []
        while not self.is_held:
            one = next((one for one in self._in_order() if self._has_room(one)), None)
            if one is None:
                break
            self._pass_others(one)
            del self._line[one.build]
            self._admitted[one.build] = one.is_short
            admitted.append(one.build)
        return admitted

    def _has_room(self, one: _Waiting) -> bool:
        if self.is_short:
            return not self._admitted
        shorts = sum(self._admitted.values())
        longs = len(self._admitted) - shorts
        if longs + max(0, shorts - self.limit) < self.limit:
            return True
        return one.is_short and shorts < self.limit

    def _pass_others(self, one: _Waiting) -> None:
        """Count for those that came before that they were passed; short checks take no turn."""
        if one.is_short:
            return
        for other in self._line.values():
            if other.order < one.order and other.priority is Priority.BATCH:
                other.passed += other.passed < MAX_PASSED

    def _in_order(self) -> list[_Waiting]:
        def place(one: _Waiting) -> tuple[bool, int]:
            is_late = one.priority is Priority.BATCH and one.passed < MAX_PASSED
            return is_late, one.order

        return sorted(self._line.values(), key=place)
