"""A virtual host: builds with their cargos, cores, and a clock that jumps from event to event.

Time runs as *work*: with k units running on C cores each of them gets min(1, C/k) of a core, so the
same engine runs builds under a budget (never more than C units, work is time) and plain cargos
that crowd one another. Crowding costs nothing else here, which favours plain cargo.
"""

import heapq
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from forge.core.shares import Priority
from tests.sim.graphs import Graph

FAR_S = float("inf")

REACTION_S = 0.01
"""Between the end of a unit and the question of the next lies cargo, a fork, and a gate's start."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A build that starts at `at_s`. `jobs` is its -j; None: as many as there are cores.

    `root` is its workspace, None: one of its own.
    """

    graph: Graph
    at_s: float = 0.0
    priority: Priority = Priority.BATCH
    jobs: int | None = None
    root: str | None = None


class Policy(Protocol):
    """Decides which asked unit starts; each call returns the tickets that may start now."""

    def join(self, number: int, arrival: Arrival, now_s: float) -> list[int]: ...
    def leave(self, number: int, now_s: float) -> list[int]: ...
    def ask(self, number: int, ticket: int, unit: int, now_s: float) -> list[int]: ...
    def release(self, ticket: int, now_s: float) -> list[int]: ...
    def due_s(self) -> float | None: ...
    def tick(self, now_s: float) -> list[int]: ...


@dataclass
class Run:
    """What happened. `spans` are (build, start, end, cores) of every unit that ran."""

    wall_s: float = 0.0
    began_s: list[float] = field(default_factory=list)
    ended_s: list[float] = field(default_factory=list)
    spans: list[tuple[int, float, float, int]] = field(default_factory=list)
    peak_mib: float = 0.0
    peak_units: int = 0
    peak_builds: int = 0
    busy_core_s: float = 0.0
    events: int = 0
    decided_s: float = 0.0
    real_s: float = 0.0

    @property
    def sojourns_s(self) -> list[float]:
        return [end - began for began, end in zip(self.began_s, self.ended_s, strict=True)]

    @property
    def mean_s(self) -> float:
        return sum(self.sojourns_s) / len(self.sojourns_s)

    @property
    def decision_us(self) -> float:
        return self.decided_s / max(1, self.events) * 1e6


@dataclass
class _Cargo:
    """A build's cargo: asks for ready units, longest chain first, at most `jobs` at a time."""

    arrival: Arrival
    jobs: int
    missing: list[int]
    ready: list[tuple[float, int]] = field(default_factory=list)
    asked: int = 0
    left: int = 0


class Host:
    """Runs arrivals under a policy on `cores` cores until all are done."""

    def __init__(self, cores: int, policy: Policy, arrivals: list[Arrival], *, timed: bool = False,
                 reaction_s: float = REACTION_S) -> None:  # fmt: skip
        self.cores, self.policy, self.timed = cores, policy, timed
        self.reaction_s = reaction_s
        self.run = Run()
        self.cargos: list[_Cargo] = []
        for arrival in arrivals:
            jobs = min(arrival.jobs or cores, cores) if arrival.jobs else cores
            missing = [len(unit.needs) for unit in arrival.graph.units]
            self.cargos.append(_Cargo(arrival, jobs, missing, left=len(missing)))
        self.run.began_s = [arrival.at_s for arrival in arrivals]
        self.run.ended_s = [0.0] * len(arrivals)
        self._coming = deque(sorted(range(len(arrivals)), key=lambda i: arrivals[i].at_s))
        self._now_s = self._work_s = 0.0
        self._heap: list[tuple[float, int, int]] = []  # work at which, ticket, what
        self._units: list[tuple[int, int]] = []  # ticket -> build, unit
        self._started: dict[int, float] = {}
        self._using = 0
        self._mib = 0.0
        self._per_build: dict[int, int] = {}

    def go(self) -> Run:
        """Run to the end."""
        began = time.process_time()
        while self._heap or self._coming:
            rate = min(1.0, self.cores / max(1, self._using))
            unit_s = self._now_s + (self._heap[0][0] - self._work_s) / rate if self._heap else FAR_S
            come_s = self.cargos[self._coming[0]].arrival.at_s if self._coming else FAR_S
            due_s = self.policy.due_s() or FAR_S
            self._pass(min(unit_s, come_s, due_s), rate)
            if due_s <= min(unit_s, come_s):
                self._start(self._ask_policy(self.policy.tick, self._now_s))
            elif come_s <= unit_s:
                self._arrive(self._coming.popleft())
            else:
                _, number, what = heapq.heappop(self._heap)
                (self._metadata, self._finish, self._ask)[what](number)
        assert not any(cargo.left for cargo in self.cargos), "units are left and nothing happens"
        self.run.wall_s = self._now_s
        self.run.real_s = time.process_time() - began
        return self.run

    def _pass(self, to_s: float, rate: float) -> None:
        passed_s = max(0.0, to_s - self._now_s)
        self._work_s += passed_s * rate
        self.run.busy_core_s += passed_s * min(self._using, self.cores)
        self._now_s = max(self._now_s, to_s)

    def _arrive(self, number: int) -> None:
        cargo = self.cargos[number]
        self._start(self._ask_policy(self.policy.join, number, cargo.arrival, self._now_s))
        for unit, missing in enumerate(cargo.missing):
            if not missing:
                heapq.heappush(cargo.ready, (-cargo.arrival.graph.ranks_s[unit], unit))
        self._ask(number)

    def _ask(self, number: int) -> None:
        cargo = self.cargos[number]
        while cargo.ready and cargo.asked < cargo.jobs:
            _, unit = heapq.heappop(cargo.ready)
            cargo.asked += 1
            ticket = len(self._units)
            self._units.append((number, unit))
            self._start(self._ask_policy(self.policy.ask, number, ticket, unit, self._now_s))

    def _start(self, tickets: list[int]) -> None:
        for ticket in tickets:
            number, index = self._units[ticket]
            unit = self.cargos[number].arrival.graph.units[index]
            assert ticket not in self._started, "a ticket was granted twice"
            self._started[ticket] = self._now_s
            self._using += unit.cores
            self._mib += unit.peak_mib
            self._per_build[number] = self._per_build.get(number, 0) + 1
            self.run.peak_mib = max(self.run.peak_mib, self._mib)
            self.run.peak_units = max(self.run.peak_units, self._using)
            self.run.peak_builds = max(self.run.peak_builds, len(self._per_build))
            if unit.early < 1.0 and self.cargos[number].arrival.graph.followers[index]:
                heapq.heappush(self._heap, (self._work_s + unit.cost_s * unit.early, ticket, 0))
            heapq.heappush(self._heap, (self._work_s + unit.cost_s, ticket, 1))

    def _metadata(self, ticket: int) -> None:
        self._deliver(ticket, early=True)

    def _deliver(self, ticket: int, *, early: bool) -> None:
        number, index = self._units[ticket]
        cargo = self.cargos[number]
        shape = cargo.arrival.graph
        had_early = shape.units[index].early < 1.0
        for follower, at_metadata in shape.followers[index]:
            if (at_metadata and had_early) == early:
                cargo.missing[follower] -= 1
                if not cargo.missing[follower]:
                    heapq.heappush(cargo.ready, (-shape.ranks_s[follower], follower))
        heapq.heappush(self._heap, (self._work_s + self.reaction_s, number, 2))

    def _finish(self, ticket: int) -> None:
        number, index = self._units[ticket]
        cargo = self.cargos[number]
        unit = cargo.arrival.graph.units[index]
        self.run.spans.append((number, self._started[ticket], self._now_s, unit.cores))
        self._using -= unit.cores
        self._mib -= unit.peak_mib
        self._per_build[number] -= 1
        if not self._per_build[number]:
            del self._per_build[number]
        cargo.asked -= 1
        cargo.left -= 1
        self._start(self._ask_policy(self.policy.release, ticket, self._now_s))
        self._deliver(ticket, early=False)
        if not cargo.left:
            self.run.ended_s[number] = self._now_s
            self._start(self._ask_policy(self.policy.leave, number, self._now_s))

    def _ask_policy(self, call: Callable[..., list[int]], *arguments: Any) -> list[int]:
        self.run.events += 1
        if not self.timed:
            return call(*arguments)
        began = time.thread_time()
        granted = call(*arguments)
        self.run.decided_s += time.thread_time() - began
        return granted


class Plain:
    """All at once by plain cargo: whatever asks, starts."""

    def join(self, number: int, arrival: Arrival, now_s: float) -> list[int]:
        return []

    def leave(self, number: int, now_s: float) -> list[int]:
        return []

    def ask(self, number: int, ticket: int, unit: int, now_s: float) -> list[int]:
        return [ticket]

    def release(self, ticket: int, now_s: float) -> list[int]:
        return []

    def due_s(self) -> float | None:
        return None

    def tick(self, now_s: float) -> list[int]:
        return []


class ListSchedule(Plain):
    """The ideal to compare with: all units of all builds in one list, longest chain first."""

    def __init__(self, cores: int, arrivals: list[Arrival]) -> None:
        self.free = cores
        self.graphs = [arrival.graph for arrival in arrivals]
        self.line: list[tuple[float, int]] = []
        self.cores: dict[int, int] = {}

    def ask(self, number: int, ticket: int, unit: int, now_s: float) -> list[int]:
        self.cores[ticket] = self.graphs[number].units[unit].cores
        heapq.heappush(self.line, (-self.graphs[number].ranks_s[unit], ticket))
        return self._go()

    def release(self, ticket: int, now_s: float) -> list[int]:
        self.free += self.cores[ticket]
        return self._go()

    def _go(self) -> list[int]:
        started = []
        while self.line and self.cores[self.line[0][1]] <= self.free:
            ticket = heapq.heappop(self.line)[1]
            self.free -= self.cores[ticket]
            started.append(ticket)
        return started


def plain(cores: int, arrivals: list[Arrival]) -> Run:
    return Host(cores, Plain(), arrivals).go()


def ideal(cores: int, arrivals: list[Arrival]) -> Run:
    return Host(cores, ListSchedule(cores, arrivals), arrivals).go()


def one_after_another(cores: int, arrivals: list[Arrival]) -> Run:
    """Plain cargos, each begun when the one before has ended."""
    total = Run(began_s=[arrival.at_s for arrival in arrivals])
    now_s = 0.0
    for number, arrival in enumerate(arrivals):
        alone = plain(cores, [Arrival(arrival.graph, jobs=arrival.jobs)])
        start_s = max(now_s, arrival.at_s)
        now_s = start_s + alone.wall_s
        total.ended_s.append(now_s)
        total.spans += [(number, a + start_s, b + start_s, c) for _, a, b, c in alone.spans]
        total.peak_mib = max(total.peak_mib, alone.peak_mib)
        total.peak_units = max(total.peak_units, alone.peak_units)
        total.peak_builds = 1
        total.busy_core_s += alone.busy_core_s
    total.wall_s = now_s
    return total


def jain(values: list[float]) -> float:
    """Jain's index: 1 when all are equal, 1/n when one has all."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def received(run: Run, build: int, begin_s: float, end_s: float) -> float:
    """Core seconds that a build had between two moments."""
    return sum(
        max(0.0, min(b, end_s) - max(a, begin_s)) * cores
        for number, a, b, cores in run.spans
        if number == build
    )
