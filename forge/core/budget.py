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

from forge.core.shares import Group, Member, Priority, Ticket, split
from forge.core.waits import Standing, Wait, Why

EVEN_SHARE = 0.1
"""The part of a group's cores that is dealt out evenly; the rest goes in turn. 1.0: all evenly.

Measured in docs/design/budget.md#in-turn-or-evenly.
"""

DEFAULT_EXPECTED_S = 1.0
MAX_EXPECTED_S = 600.0
MIN_EXPECTED_S = 0.001


class Budget:
    """The cores of the machine and all tickets that wait for them or run on them.

    Invariants: `running_cores` is the sum over running tickets, and at most the capacity of the
    moment of the last grant, except that one unit always runs when nothing else does, however
    large. A ticket is either waiting or running. A build is in its group's lines exactly when it
    has a unit to start that its own cap allows. Unless the budget is held, nothing waits while
    nothing runs; and while a core is free, what waits is at its own cap or is, or waits for, a unit
    that needs several cores.
    """

    def __init__(self, capacity: int, *, even_share: float = EVEN_SHARE) -> None:
        assert capacity >= 0, f"capacity {capacity} is negative"
        assert 0.0 < even_share <= 1.0, f"an even share of {even_share} would starve builds"
        self.capacity = capacity
        self.is_held = False
        self.running_cores = 0
        self._groups = {priority: Group(priority, even_share) for priority in Priority}
        self._builds: dict[str, Member] = {}
        self._tickets: dict[int, Ticket] = {}
        self._clearing: Ticket | None = None
        self._clock = 0.0
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
            known = self._add(build, priority, work_s, is_guest=False)
        elif known.is_guest:
            known.is_guest = False
            known.work_s = work_s
            self._enter(known, priority)
        known.cap = None if cap is None else max(1, cap)
        self._place(known)
        return self._grant(now_s)

    def leave(self, build: str, *, now_s: float) -> list[int]:
        """Take note that a build is over. Its tickets last until each is released."""
        known = self._builds.get(build)
        if known is None or known.is_guest:
            return []
        known.is_guest = True
        self._groups[known.priority].joined -= 1
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
            known = self._add(build, Priority.BATCH, None, is_guest=True)
        self._arrivals += 1
        rank = float("inf") if rank_s is None else rank_s
        one = Ticket(
            ticket, known, max(1, cores), _expected(expected_s), (-rank, self._arrivals), now_s
        )
        self._tickets[ticket] = one
        known.add(one)
        self._place(known)
        return self._grant(now_s)

    def release(self, ticket: int, *, now_s: float) -> list[int]:
        """Give back what a ticket holds, or take it out of the line. A second time does nothing."""
        one = self._tickets.pop(ticket, None)
        if one is None:
            return []
        build = one.build
        if one.group is not None:
            self.running_cores -= one.cores
            build.running -= 1
            build.running_cores -= one.cores
            self._charge(one, max(0.0, now_s - one.started_s) - one.expected_s)
        else:
            del build.waiting[ticket]
            if one is self._clearing:
                self._clearing = None
        self._place(build)
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
        self._groups[known.priority].drop(known)
        if not known.is_guest:
            self._groups[known.priority].joined -= 1
        self._enter(known, priority)
        self._place(known)
        return self._grant(now_s)

    def hold(self, on: bool, *, now_s: float) -> list[int]:
        """Let nothing start, not even a first unit, or go on."""
        self.is_held = on
        return self._grant(now_s)

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
            ahead=() if why is Why.OWN_CAP else self._ahead(one),
            ahead_of_own=sum(other.key < one.key for other in build.waiting.values()),
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
            assert build.running == len(own), f"{build.id} miscounts its units"
            assert build.running_cores == sum(one.cores for one in own), f"{build.id} miscounts"
            assert not build.waiting.keys() & {one.id for one in own}, "a ticket waits and runs"
            head = build.head()
            in_line = head is not None and build.may_run(head)
            group = self._groups[build.priority]
            assert build.is_in_line == in_line, f"{build.id} is in line and should not be, or not"
            assert (build.id in group.turn.keys) == in_line, f"{build.id} is misfiled"
            assert not build.is_guest or own or build.waiting, f"{build.id} is over, yet here"
        for group in self._groups.values():
            group.check()
            joined = [b for b in self._builds.values() if b.priority is group.priority]
            assert group.joined == sum(not b.is_guest for b in joined), "a build joined twice"
        waits = any(build.waiting for build in self._builds.values())
        assert runs or not waits or self.is_held, "all wait and nothing runs"

    def _grant(self, now_s: float) -> list[int]:
        granted: list[int] = []
        while not self.is_held and (self.running_cores < self.capacity or not self.running_cores):
            found = self._next()
            if found is None:
                break
            self._start(*found, now_s)
            granted.append(found[0].id)
        return granted

    def _next(self) -> tuple[Ticket, Group] | None:
        """Return the unit to start now; None when there is none, or cores are being cleared."""
        if self._clearing and not self._stands(self._clearing):
            self._clearing = None
        if self._clearing is None:
            first = self._first()
            if first is None or self._fits(first[0]):
                return first
            self._clearing = first[0]
        large = self._clearing
        if self._fits(large):
            return large, self._groups[large.build.priority]
        for ticket, group in self._others():
            if self._fits(ticket):
                large.passed_cores += ticket.cores
                return (ticket, group) if large.passed_cores <= self.capacity else None
        return None

    def _first(self) -> tuple[Ticket, Group] | None:
        """Return whose turn it is, whether it fits or not."""
        groups = [group for group in self._groups.values() if group.turn.keys]
        if not groups:
            return None
        group = min(groups, key=lambda one: one.charged)
        name = (group.even if group.is_even_next() else group.turn).first()
        assert name is not None, "a group in line has no build in line"
        head = self._builds[name].head()
        assert head is not None, f"{name} is in line and has nothing to start"
        return head, group

    def _others(self) -> list[tuple[Ticket, Group]]:
        """Return the next unit of each build, but not the one that cores are cleared for."""
        found = []
        for group in sorted(self._groups.values(), key=lambda one: one.charged):
            line = group.even if group.is_even_next() else group.turn
            for name in line.in_order():
                head = self._builds[name].head()
                if head is not None and head is not self._clearing:
                    found.append((head, group))
        return found

    def _fits(self, ticket: Ticket) -> bool:
        return not self.running_cores or self.running_cores + ticket.cores <= self.capacity

    def _stands(self, ticket: Ticket) -> bool:
        """Say whether a large unit still is what its build would start."""
        return ticket.build.is_in_line and ticket.build.may_run(ticket)

    def _start(self, ticket: Ticket, group: Group, now_s: float) -> None:
        build = ticket.build
        if ticket is self._clearing:
            self._clearing = None
        self._clock = max(self._clock, group.charged)
        ticket.is_even = group.is_even_next()
        if ticket.is_even:
            group.clock = max(group.clock, build.had_s)
        ticket.started_s, ticket.group, ticket.entry = now_s, group, build.entry
        del build.waiting[ticket.id]
        self.running_cores += ticket.cores
        build.running += 1
        build.running_cores += ticket.cores
        self._charge(ticket, ticket.expected_s)
        self._place(build)

    def _charge(self, ticket: Ticket, seconds: float) -> None:
        assert ticket.group is not None, "a ticket that does not run is charged"
        used_s = seconds * ticket.cores
        ticket.group.charge(used_s, is_even=ticket.is_even)
        if ticket.is_even and ticket.entry == ticket.build.entry:
            ticket.build.had_s += used_s

    def _add(
        self, build: str, priority: Priority, work_s: float | None, *, is_guest: bool
    ) -> Member:
        self._arrivals += 1
        one = Member(build, priority, self._arrivals, work_s, is_guest)
        self._builds[build] = one
        self._enter(one, priority)
        return one

    def _enter(self, build: Member, priority: Priority) -> None:
        group = self._groups[priority]
        self._groups[build.priority].drop(build)
        build.priority = priority
        build.entry += 1
        build.had_s = group.clock
        build.turn_s = group.turn_of(build.work_s)
        group.joined += not build.is_guest

    def _place(self, build: Member) -> None:
        self._groups[build.priority].place(build, self._clock)

    def _forget_guest(self, build: Member) -> None:
        if build.is_guest and not build.waiting and not build.running:
            self._groups[build.priority].drop(build)
            self._builds.pop(build.id, None)

    def _why(self, ticket: Ticket) -> Why:
        if self.is_held:
            return Why.HELD
        if not ticket.build.may_run(ticket):
            return Why.OWN_CAP
        if self._clearing is None:
            return Why.CORES
        return Why.ROOM if ticket is self._clearing else Why.CLEARING

    def _ahead(self, ticket: Ticket) -> tuple[str, ...]:
        build = ticket.build
        ahead: list[str] = []
        if build.priority is Priority.BATCH:
            ahead += self._groups[Priority.INTERACTIVE].turn.in_order()
        for name in self._groups[build.priority].turn.in_order():
            if name == build.id:
                break
            ahead.append(name)
        return tuple(ahead)


def _expected(expected_s: float | None) -> float:
    """Return a cost that can be charged, whatever was hinted."""
    if expected_s is None or not expected_s >= MIN_EXPECTED_S:
        return DEFAULT_EXPECTED_S if expected_s is None else MIN_EXPECTED_S
    return min(expected_s, MAX_EXPECTED_S)
