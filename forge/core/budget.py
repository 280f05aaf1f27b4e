"""One budget of cores for all builds: which waiting unit starts next.

A unit (a rustc, a linker, a test binary) asks with a ticket, waits, runs, and is released; its
ticket is the number of the connection that holds it. Everything that waits or runs is known by its
ticket alone, so nothing depends on the order in which builds and units vanish: a build that leaves
stays as a guest until its last ticket is released, and a ticket of an unknown build makes a guest.

Three questions decide who is next. *Which group?* The one that was charged least against its
weight (`shares.WEIGHTS`). *Which build in it?* On the even lane the one that had least, on the turn
lane the one whose turn it is (`shares`). *Which of its units?* The one with the longest chain
behind it; before that is known, the one that came first.

A unit is charged what it is expected to use when it starts, and the difference when it is released,
so that decisions need no clock between events.

A unit that needs several cores is passed by units of other builds that fit, but by no more than
`capacity` cores in all; then nothing starts until it fits. docs/design/budget.md has the bounds.
"""

from forge.core.shares import (
    EVEN_SHARE,
    GRACE_S,
    HELD_CAP,
    UNKNOWN_WORK_S,
    Group,
    Kept,
    Member,
    Priority,
    Ticket,
    builds_ahead,
    chargeable_s,
    split,
)
from forge.core.waits import Standing, Wait, Why


class Budget:
    """The cores of the machine and all tickets that wait for them or run on them.

    Invariants: `running_cores` is the sum over running tickets, and at most the capacity of the
    moment of the last grant, except that one unit always runs when nothing else does, however
    large. A ticket is either waiting or running. A build is in its group's lines exactly when it
    has a unit to start that its own cap allows. Unless the budget is held, nothing waits while
    nothing runs; and while a core is free, what waits is at its own cap or is, or waits for, a unit
    that needs several cores.
    """

    def __init__(
        self, capacity: int, *, even_share: float = EVEN_SHARE, grace_s: float = GRACE_S
    ) -> None:
        assert capacity >= 0, f"capacity {capacity} is negative"
        assert 0.0 < even_share <= 1.0, f"an even share of {even_share} would starve builds"
        self.capacity = capacity
        self.is_held = False
        self.running_cores = 0
        self._groups = {priority: Group(priority, even_share) for priority in Priority}
        self._builds: dict[str, Member] = {}
        self._tickets: dict[int, Ticket] = {}
        self._grace_s = grace_s if even_share < 1.0 else 0.0
        self._kept = Kept()
        self._clearing: Ticket | None = None
        self._clock = 0.0
        self._left_s = 0.0
        self._arrivals = 0

    def join(
        self,
        build: str,
        *,
        now_s: float,
        priority: Priority = Priority.BATCH,
        cap: int | None = None,
        work_s: float | None = None,
    ) -> list[int]:
        """Announce a build. `work_s` is what it is expected to cost, in core seconds."""
        known = self._builds.get(build)
        if known is None:
            known = self._add(build, priority)
        if known.is_guest:
            known.is_guest = False
            known.left_s = 0.0
            self._work(known, UNKNOWN_WORK_S if work_s is None else work_s)
            self._enter(known, priority)
        known.cap = cap if cap in (None, HELD_CAP) else max(1, cap)
        self._place(known)
        return self._grant(now_s)

    def leave(self, build: str, *, now_s: float) -> list[int]:
        """Take note that a build is over. Its tickets last until each is released."""
        known = self._builds.get(build)
        if known is None or known.is_guest:
            return []
        self._work(known, -max(0.0, known.left_s))
        known.is_guest = True
        self._groups[known.priority].present.drop(build)
        self._kept.drop(build)
        self._forget_guest(known)
        return self._grant(now_s)

    def ask(
        self,
        build: str,
        ticket: int,
        *,
        now_s: float,
        expected_s: float | None = None,
        rank_s: float | None = None,
        cores: int = 1,
    ) -> list[int]:
        """Ask for `cores`. A ticket that waits or runs already changes nothing.

        `rank_s` is the longest chain that still depends on the unit; one that is not known goes
        first, because a guess that is too high costs less than one that is too low.
        """
        if ticket in self._tickets:
            return []
        known = self._builds.get(build)
        if known is None:
            known = self._add(build, Priority.BATCH)
        self._arrivals += 1
        rank = float("-inf") if rank_s is None else -rank_s
        one = Ticket(
            id=ticket, build=known, cores=max(1, cores), expected_s=chargeable_s(expected_s),
            key=(rank, self._arrivals), chain_s=rank_s or 0.0, asked_s=now_s,
        )  # fmt: skip
        self._tickets[ticket] = one
        known.add(one)
        self._place(known)
        return self._grant(now_s)

    def adopt(self, build: str, ticket: int, *, now_s: float, cores: int = 1) -> None:
        """Count what runs already, beyond the capacity if need be. A known ticket stays."""
        if ticket in self._tickets:
            return
        is_held, self.is_held = self.is_held, True
        self.ask(build, ticket, now_s=now_s, cores=cores)
        self._start(self._tickets[ticket], now_s)
        self.is_held = is_held

    def release(self, ticket: int, *, now_s: float, is_charged: bool = True) -> list[int]:
        """Give back what a ticket holds, or take it out of the line. A second time does nothing.

        One that is not charged has cost its group nothing.
        """
        one = self._tickets.pop(ticket, None)
        if one is None:
            return []
        build = one.build
        if one.group is not None:
            self.running_cores -= one.cores
            build.running -= 1
            build.running_cores -= one.cores
            cost_s = max(0.0, now_s - one.started_s) if is_charged else 0.0
            self._charge(one, cost_s - one.expected_s)
        else:
            build.remove(one)
            if one is self._clearing:
                self._clearing = None
        self._place(build)
        if one.group is not None:
            self._keep(one, now_s)
        self._forget_guest(build)
        return self._grant(now_s)

    def set_capacity(self, capacity: int, *, now_s: float) -> list[int]:
        """Change how many cores builds may use. What runs beyond it runs to its end."""
        self.capacity = max(0, capacity)
        return self._grant(now_s)

    def set_priority(self, build: str, priority: Priority, *, now_s: float) -> list[int]:
        """Move a build to another group; it begins there like one that has just joined."""
        known = self._builds.get(build)
        if known is None or known.priority is priority:
            return []
        self._kept.drop(build)
        self._groups[known.priority].present.drop(build)
        self._enter(known, priority)
        self._place(known)
        return self._grant(now_s)

    def hold(self, on: bool, *, now_s: float) -> list[int]:
        """Let nothing start, not even a first unit, or go on."""
        self.is_held = on
        return self._grant(now_s)

    def tick(self, *, now_s: float) -> list[int]:
        """Give away what was kept long enough. Due at `due_s`; any other call does it too."""
        return self._grant(now_s)

    @property
    def due_s(self) -> float | None:
        """When the next kept core is to be given away; None when none is kept."""
        return self._kept.due_s()

    def waiting(self, ticket: int, *, now_s: float) -> Wait | None:
        """Tell why a ticket waits; None when it does not."""
        one = self._tickets.get(ticket)
        if one is None or one.group is not None:
            return None
        build = one.build
        why = self._why(one)
        return Wait(
            ticket=ticket,
            build=build.id,
            why=why,
            since_s=max(0.0, now_s - one.asked_s),
            cores=one.cores,
            running_cores=self.running_cores,
            capacity=self.capacity,
            ahead=() if why is Why.OWN_CAP else builds_ahead(one.build, self._groups),
            ahead_of_own=build.ahead_of(one),
        )

    def report(self) -> list[Standing]:
        """Tell what each build has, in order of arrival."""
        builds = list(self._builds.values())
        shares = split(self.capacity, [(one.priority, one.wanted_cores()) for one in builds])
        return [
            Standing(
                one.id, one.priority, share, one.running, one.running_cores,
                len(one.waiting), one.is_guest,
            )
            for one, share in zip(builds, shares, strict=True)
        ]  # fmt: skip

    def running(self) -> list[int]:
        """Return the tickets that run."""
        return [one.id for one in self._tickets.values() if one.group is not None]

    def check(self) -> None:
        """Assert the invariants."""
        runs = [one for one in self._tickets.values() if one.group is not None]
        assert self.running_cores == sum(one.cores for one in runs), "cores are lost or doubled"
        for build in self._builds.values():
            own = [one for one in runs if one.build is build]
            build.check(own)
            in_line = build.id in self._groups[build.priority].turn.keys
            assert build.is_in_line == in_line, f"{build.id} is misfiled"
            assert not build.is_guest or own or build.waiting, f"{build.id} is over, yet here"
        for group in self._groups.values():
            group.check()
            mine = [b for b in self._builds.values() if b.priority is group.priority]
            joined = {build.id for build in mine if not build.is_guest}
            assert group.present.keys.keys() == joined, "a build is present and did not join"
        assert self._kept.cores.keys() <= self._builds.keys(), "cores are kept for nobody"
        waits = any(build.waiting and build.cap != HELD_CAP for build in self._builds.values())
        assert runs or not waits or self.is_held or self._kept.cores, "all wait and nothing runs"

    def _keep(self, ticket: Ticket, now_s: float) -> None:
        """Keep what a unit gave back, for a moment, if the first in turn has nothing else to start.

        Its cargo is about to ask for what the unit was holding up. When the even lane or the other
        group is next, nothing is kept: the first in turn must not pass its own cores on for ever.
        """
        build = ticket.build
        group = self._groups[build.priority]
        is_next = not group.is_even_next() and group is self._group(group)
        is_first = group.present.first() == build.id
        if self._grace_s and is_first and is_next and not build.is_in_line:
            self._kept.keep(build.id, ticket.cores, now_s + self._grace_s)

    def _grant(self, now_s: float) -> list[int]:
        self._kept.lapse(now_s)
        granted: list[int] = []
        while not self.is_held and (self.running_cores < self.capacity or not self.running_cores):
            ticket = self._next()
            if ticket is None:
                break
            self._start(ticket, now_s)
            granted.append(ticket.id)
        return granted

    def _next(self) -> Ticket | None:
        """Return the unit to start now; None when there is none, or cores are being cleared."""
        for name in self._kept.cores:
            head = self._builds[name].head()
            if head is not None and self._builds[name].is_in_line and self._fits(head):
                return head
        if self._kept.cores and self.running_cores + self._kept.sum() >= self.capacity:
            return None
        if self._clearing and not self._clearing.build.may_start(self._clearing):
            self._clearing = None
        if self._clearing is None:
            first = self._first()
            if first is None or self._fits(first):
                return first
            self._clearing = first
        large = self._clearing
        if self._fits(large):
            return large
        for ticket in self._others():
            if self._fits(ticket):
                if large.passed_cores + ticket.cores > self.capacity:
                    return None
                large.passed_cores += ticket.cores
                return ticket
        return None

    def _first(self) -> Ticket | None:
        """Return whose turn it is, whether it fits or not."""
        group = self._group()
        if group is None:
            return None
        name = group.even.first() if group.is_even_next() else self._turn(group)
        assert name is not None, "a group in line has no build in line"
        head = self._builds[name].head()
        assert head is not None, f"{name} is in line and has nothing to start"
        return head

    def _group(self, one: Group | None = None) -> Group | None:
        """Return the group that was charged least, of those in line and `one`."""
        groups = [g for g in self._groups.values() if g.turn.keys or g is one]
        return min(groups, key=lambda group: group.charged, default=None)

    def _turn(self, group: Group) -> str | None:
        """Return whose turn it is: the longest chain, if it would outlast all else that is left."""
        longest = group.chain.first()
        assert longest is not None, "a group in line has no build in line"
        chain_s = -group.chain.keys[longest][0]
        return longest if chain_s * self.capacity > self._left_s else group.turn.first()

    def _others(self) -> list[Ticket]:
        """Return the next unit of each build, but not the one that cores are cleared for."""
        groups = sorted(self._groups.values(), key=lambda one: one.charged)
        lines = [group.even if group.is_even_next() else group.turn for group in groups]
        heads = [self._builds[name].head() for line in lines for name in line.in_order()]
        return [head for head in heads if head is not None and head is not self._clearing]

    def _fits(self, ticket: Ticket) -> bool:
        taken = self.running_cores + self._kept.sum(but=ticket.build.id)
        return not self.running_cores or taken + ticket.cores <= self.capacity

    def _start(self, ticket: Ticket, now_s: float) -> None:
        build = ticket.build
        group = self._groups[build.priority]
        self._kept.use(build.id, ticket.cores)
        if ticket is self._clearing:
            self._clearing = None
        self._clock = max(self._clock, group.charged)
        ticket.is_even = group.is_even_next()
        if ticket.is_even:
            group.clock = max(group.clock, build.had_s)
        ticket.started_s, ticket.group, ticket.entry = now_s, group, build.entry
        build.remove(ticket)
        self.running_cores += ticket.cores
        build.running += 1
        build.running_cores += ticket.cores
        self._charge(ticket, ticket.expected_s)
        self._place(build)

    def _charge(self, ticket: Ticket, seconds: float) -> None:
        assert ticket.group is not None, "a ticket that does not run is charged"
        used_s = seconds * ticket.cores
        self._work(ticket.build, -used_s)
        ticket.group.charge(used_s, is_even=ticket.is_even)
        if ticket.is_even and ticket.entry == ticket.build.entry:
            ticket.build.had_s += used_s

    def _work(self, build: Member, seconds: float) -> None:
        """Change what a build is still expected to cost, and the sum over all that joined."""
        was_s = 0.0 if build.is_guest else max(0.0, build.left_s)
        build.left_s += seconds
        self._left_s += (0.0 if build.is_guest else max(0.0, build.left_s)) - was_s

    def _add(self, build: str, priority: Priority) -> Member:
        self._arrivals += 1
        one = self._builds[build] = Member(build, priority, self._arrivals)
        self._enter(one, priority)
        return one

    def _enter(self, build: Member, priority: Priority) -> None:
        group = self._groups[priority]
        self._groups[build.priority].drop(build)
        build.priority = priority
        build.entry += 1
        build.had_s = group.clock
        build.turn_s = group.turns + max(0.0, build.left_s)
        if not build.is_guest:
            group.present.put(build.id, (build.turn_s, build.order))

    def _place(self, build: Member) -> None:
        self._groups[build.priority].place(build, self._clock)

    def _forget_guest(self, build: Member) -> None:
        if build.is_guest and not build.waiting and not build.running:
            self._groups[build.priority].drop(build)
            del self._builds[build.id]
            if not self._builds:
                self._left_s = 0.0  # what rounding has left

    def _why(self, ticket: Ticket) -> Why:
        if self.is_held:
            return Why.HELD
        if not ticket.build.may_start(ticket):
            return Why.OWN_CAP
        if self._clearing is None or not self._clearing.build.may_start(self._clearing):
            return Why.CORES
        return Why.ROOM if ticket is self._clearing else Why.CLEARING
