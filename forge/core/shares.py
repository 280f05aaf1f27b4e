"""Who gets how much: priorities, the even split, and who is first in a line.

Builds of one priority are a group. Each group has two lanes on which its units start. The *even*
lane deals cores out evenly: first comes the build that has had least, counted in core seconds of
virtual time. A build that starts to wait begins at the group's clock, which is where the build
served last began: it owes nothing for the past and is owed nothing for it, so nobody can save up.
The *turn* lane serves builds one after another, in the order in which an even split would finish
them; the first that has a unit to start gets the core, so gaps are filled by the next in line.
"""

import heapq
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Priority(StrEnum):
    """How urgent a build is."""

    INTERACTIVE = "interactive"  # a person or an editor waits for it
    BATCH = "batch"  # agents, ssh, CI


WEIGHTS = {Priority.INTERACTIVE: 15.0, Priority.BATCH: 1.0}
"""The split between the priorities when both have units waiting, however many builds each has.

Measured in docs/design/budget.md#weights: with less a person waits for agents, and what is left
for batch is what keeps a batch build moving.
"""

EVEN_SHARE = 0.1
"""The part of a group's cores that is dealt out evenly; the rest goes in turn. 1.0: all evenly.

Measured in docs/design/budget.md#in-turn-or-evenly.
"""

HELD_CAP = -1
"""The cap of a build that is held: nothing of it starts."""

GRACE_S = 0.05
"""A core that the build whose turn it is gives back is kept for it so long: its cargo needs that
time to start what the unit was holding up. Measured in docs/design/budget.md#grace.
"""

UNKNOWN_WORK_S = 60.0
"""What a build is taken to cost, in core seconds, when it was never seen before."""

DEFAULT_EXPECTED_S = 1.0
MAX_EXPECTED_S = 600.0
MIN_EXPECTED_S = 0.001

Key = tuple[float, int]


def chargeable_s(expected_s: float | None) -> float:
    """Return a cost that can be charged, whatever was expected."""
    if expected_s is None:
        return DEFAULT_EXPECTED_S
    return min(max(expected_s, MIN_EXPECTED_S), MAX_EXPECTED_S)


def max_min(total: float, wants: Sequence[tuple[float, float]]) -> list[float]:
    """Split `total` max-min fairly among (weight, most that it can use); weights are positive."""
    shares = [0.0] * len(wants)
    left, weight_left = total, sum(weight for weight, _ in wants)
    for i in sorted(range(len(wants)), key=lambda i: wants[i][1] / wants[i][0]):
        weight, most = wants[i]
        shares[i] = max(0.0, min(most, left * weight / weight_left))
        left -= shares[i]
        weight_left -= weight
    return shares


def split(total: float, wants: Sequence[tuple[Priority, float]]) -> list[float]:
    """Split `total` among (priority, most that it can use): by weight, then evenly in a group."""
    of = {one: [i for i, (its, _) in enumerate(wants) if its is one] for one in Priority}
    groups = [(WEIGHTS[one], sum(wants[i][1] for i in of[one])) for one in Priority]
    shares = [0.0] * len(wants)
    for one, part in zip(Priority, max_min(total, groups), strict=True):
        for i, share in zip(
            of[one], max_min(part, [(1.0, wants[i][1]) for i in of[one]]), strict=True
        ):
            shares[i] = share
    return shares


@dataclass(slots=True)
class Line:
    """Names in the order of a key that may change; the first is found without a search.

    Invariant: every name in `keys` has an entry in the heap with its present key. Other entries
    are stale and are dropped when they come up, or all at once when most are.
    """

    keys: dict[str, Key] = field(default_factory=dict)
    _heap: list[tuple[Key, str]] = field(default_factory=list)
    _sorted: tuple[str, ...] | None = None

    def put(self, name: str, key: Key) -> None:
        """Place a name, or move it."""
        if self.keys.get(name) == key:
            return
        self.keys[name] = key
        self._sorted = None
        heapq.heappush(self._heap, (key, name))
        if len(self._heap) > 2 * len(self.keys) + 64:
            self._heap = [(key, name) for name, key in self.keys.items()]
            heapq.heapify(self._heap)

    def drop(self, name: str) -> None:
        """Take a name out, if it is in."""
        if self.keys.pop(name, None) is not None:
            self._sorted = None

    def first(self) -> str | None:
        """Return the name with the least key."""
        while self._heap:
            key, name = self._heap[0]
            if self.keys.get(name) == key:
                return name
            heapq.heappop(self._heap)
        return None

    def in_order(self) -> tuple[str, ...]:
        """Return all names, least key first; sorted once until something changes."""
        if self._sorted is None:
            self._sorted = tuple(sorted(self.keys, key=self.keys.__getitem__))
        return self._sorted

    def check(self) -> None:
        """Assert the invariant."""
        entries = set(self._heap)
        assert all((key, name) in entries for name, key in self.keys.items()), "a name is lost"
        assert self._sorted is None or set(self._sorted) == self.keys.keys(), "the order is stale"


@dataclass(slots=True)
class Ticket:
    """A unit that waits or, when `group` says where it was charged, runs."""

    id: int
    build: "Member"
    cores: int
    expected_s: float
    key: Key
    chain_s: float
    asked_s: float
    passed_cores: int = 0
    started_s: float = 0.0
    group: "Group | None" = None
    is_even: bool = False
    entry: int = 0


@dataclass(slots=True)
class Member:
    """A build in its group. `entry` counts how often it entered one: charges do not follow it.

    `had_s` is its virtual time on the even lane, `turn_s` its place on the turn lane, `left_s` the
    core seconds that it is still expected to cost. `line` has what waits in order.
    """

    id: str
    priority: Priority
    order: int
    is_guest: bool = True
    cap: int | None = None
    entry: int = 0
    had_s: float = 0.0
    turn_s: float = 0.0
    left_s: float = 0.0
    running: int = 0
    running_cores: int = 0
    is_in_line: bool = False
    waiting: dict[int, Ticket] = field(default_factory=dict)
    line: list[tuple[Key, int]] = field(default_factory=list)

    def add(self, ticket: Ticket) -> None:
        """Let a ticket wait."""
        self.waiting[ticket.id] = ticket
        insort(self.line, (ticket.key, ticket.id))

    def remove(self, ticket: Ticket) -> None:
        """Take note that a ticket waits no more."""
        del self.waiting[ticket.id]
        del self.line[self.ahead_of(ticket)]

    def head(self) -> Ticket | None:
        """Return the unit that would start next."""
        return self.waiting[self.line[0][1]] if self.line else None

    def ahead_of(self, ticket: Ticket) -> int:
        """Return how many of its units come before one that waits."""
        return bisect_left(self.line, (ticket.key, ticket.id))

    def may_run(self, ticket: Ticket) -> bool:
        """Say whether its own cap lets it run one more unit; alone, any unit may run.

        A held one may not.
        """
        if self.cap == HELD_CAP:
            return False
        if self.cap is None or not self.running_cores:
            return True
        return self.running_cores + ticket.cores <= self.cap

    def may_start(self, ticket: Ticket) -> bool:
        """Say whether nothing within the build keeps a waiting unit back."""
        return self.is_in_line and self.may_run(ticket)

    def check(self, running: Sequence[Ticket]) -> None:
        """Assert that it counts what runs, and is in line exactly when it has a unit to start."""
        assert self.running == len(running), f"{self.id} miscounts its units"
        assert self.running_cores == sum(one.cores for one in running), f"{self.id} miscounts"
        assert not self.waiting.keys() & {one.id for one in running}, "a ticket waits and runs"
        in_order = sorted((one.key, one.id) for one in self.waiting.values())
        assert self.line == in_order, f"{self.id} has its units out of order"
        head = self.head()
        assert self.is_in_line == (head is not None and self.may_run(head)), (
            f"{self.id} is misfiled"
        )

    def wanted_cores(self) -> int:
        """Return how many cores it could use now."""
        wanted = self.running_cores + sum(one.cores for one in self.waiting.values())
        return wanted if self.cap is None else min(wanted, max(self.cap, self.running_cores))


@dataclass(slots=True)
class Group:
    """The builds of one priority that have a unit to start now, and what was charged to them.

    `charged` is the group's virtual time among the groups, `even_s` and `turn_s` what its two lanes
    have used, in core seconds. `clock` is where in the even lane a build begins, `turns` where the
    even split of the builds that joined stands. `present` holds all that joined, in turn, `chain`
    those in line, longest chain first. Invariant: `even`, `turn`, `chain` hold the same names.
    """

    priority: Priority
    even_share: float
    charged: float = 0.0
    even_s: float = 0.0
    turn_s: float = 0.0
    clock: float = 0.0
    turns: float = 0.0
    even: Line = field(default_factory=Line)
    turn: Line = field(default_factory=Line)
    chain: Line = field(default_factory=Line)
    present: Line = field(default_factory=Line)

    @property
    def weight(self) -> float:
        """Its weight against the other group."""
        return WEIGHTS[self.priority]

    def is_even_next(self) -> bool:
        """Say whether the next unit starts on the even lane."""
        return self.even_s * (1.0 - self.even_share) < self.turn_s * self.even_share or (
            self.even_share >= 1.0
        )

    def charge(self, used_s: float, *, is_even: bool) -> None:
        """Charge core seconds to the group, or give some back."""
        self.charged += used_s / self.weight
        self.turns += used_s / max(1, len(self.present.keys))
        if is_even:
            self.even_s += used_s
        else:
            self.turn_s += used_s

    def place(self, build: Member, clock: float) -> None:
        """Put a build in both lines, move it, or take it out when it has nothing to start.

        `clock` is where the groups stand: one that was empty begins there.
        """
        head = build.head()
        if head is None or not build.may_run(head):
            self.drop(build)
            return
        if not build.is_in_line:
            if not self.turn.keys:
                self.charged = max(self.charged, clock)
            build.had_s = max(build.had_s, self.clock)
            build.is_in_line = True
            self.turn.put(build.id, (build.turn_s, build.order))
        self.even.put(build.id, (build.had_s, build.order))
        self.chain.put(build.id, (-head.chain_s, build.order))

    def drop(self, build: Member) -> None:
        """Take a build out of both lines, if it is in."""
        if build.is_in_line:
            build.is_in_line = False
            self.even.drop(build.id)
            self.turn.drop(build.id)
            self.chain.drop(build.id)

    def check(self) -> None:
        """Assert the invariants."""
        assert self.even.keys.keys() == self.turn.keys.keys(), "the lanes hold different builds"
        assert self.chain.keys.keys() == self.turn.keys.keys(), "a chain is missing"
        for line in (self.even, self.turn, self.chain, self.present):
            line.check()


@dataclass(slots=True)
class Kept:
    """Cores kept for a build for a moment: (until, cores) by build. No entry is empty."""

    cores: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    def keep(self, build: str, cores: int, until_s: float) -> None:
        """Keep cores for a build."""
        self.cores.setdefault(build, []).append((until_s, cores))

    def lapse(self, now_s: float) -> None:
        """Forget what was kept long enough."""
        for build, kept in list(self.cores.items()):
            self._set(build, [one for one in kept if one[0] > now_s])

    def use(self, build: str, cores: int) -> None:
        """Take what a build now uses from what is kept for it, oldest first."""
        left = []
        for until_s, kept in self.cores.get(build, ()):
            used = min(kept, cores)
            cores -= used
            if kept > used:
                left.append((until_s, kept - used))
        self._set(build, left)

    def drop(self, build: str) -> None:
        """Keep nothing more for a build."""
        self.cores.pop(build, None)

    def sum(self, *, but: str | None = None) -> int:
        """Return how many cores are kept, those for the build `but` left out."""
        if not self.cores:
            return 0
        return sum(n for build, kept in self.cores.items() if build != but for _, n in kept)

    def due_s(self) -> float | None:
        """Return when the next of them lapses."""
        return min((until_s for kept in self.cores.values() for until_s, _ in kept), default=None)

    def _set(self, build: str, kept: list[tuple[float, int]]) -> None:
        if kept:
            self.cores[build] = kept
        else:
            self.cores.pop(build, None)


def builds_ahead(build: Member, groups: Mapping[Priority, Group]) -> tuple[str, ...]:
    """Return the builds whose units come before those of a build that waits."""
    line = groups[build.priority].turn.in_order()
    before = line[: line.index(build.id)] if build.id in line else line
    if build.priority is Priority.BATCH:
        before = groups[Priority.INTERACTIVE].turn.in_order() + before
    return before
