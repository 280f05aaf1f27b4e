"""The policy under test: the core of the daemon, with a clock that the virtual host moves.

Launchers and gates are played by messages, so whatever the core does at an event is in its figures.
What it knows of builds it has learned itself: from the builds of a run before, or not at all.
"""

from dataclasses import dataclass, field
from itertools import count

from forge.core import actions, events, messages
from forge.core.budget import Budget
from forge.core.learned import Learned
from forge.core.memory_map import propose
from forge.core.moment import Moment
from forge.core.settings import Settings
from forge.core.shares import EVEN_SHARE, GRACE_S
from forge.core.state import State
from forge.core.workspace import Workspace
from tests.sim.graphs import Graph, wide
from tests.sim.host import REACTION_S, Arrival, Host, Run

EPOCH_S = 1_700_000_000.0
KINDS_OF_UNITS = 500

FIRST_GATE = 1_000_000
"""Connections of gates begin here; those of launchers are the numbers of their builds."""


def state_of(cores: int, *, learned: Learned | None = None, limit: int | None = None,
             even_share: float = EVEN_SHARE, grace_s: float = GRACE_S) -> State:  # fmt: skip
    """Return a core without a disk and without gates to be compiled."""
    settings = Settings(
        disk=None, memory_map=propose(256 * 1024), cores=cores, gates=False,
        jobserver_dir="/state/jobs", builds_at_once=limit or 10_000,
    )  # fmt: skip
    state = State(settings, learned=learned)
    state.gates.budget = Budget(cores, even_share=even_share, grace_s=grace_s)
    return state


def unit_message(build: str, graph: Graph, index: int) -> messages.Unit:
    """Return what the gate of a unit asks. A build script has the package that it is of."""
    unit = graph.units[index]
    package = f"{unit.name}-{index}" if unit.name.startswith("build_script_") else unit.name
    needs = [f"{graph.units[i].name}-{i:x}" for i, _ in unit.needs]
    return messages.Unit(
        build=build, pid=1, crate=unit.name, kinds=["lib"], package=package,
        id=f"{unit.name}-{index:x}", externs=needs,
    )  # fmt: skip


@dataclass
class ByForge:
    """Asks the core. A build that is not admitted yet has a cargo that did not start: its units ask
    when it does.
    """

    state: State
    arrivals: list[Arrival]
    builds: dict[int, str] = field(default_factory=dict)
    early: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    started: dict[int, tuple[int, int, float]] = field(default_factory=dict)

    def join(self, number: int, arrival: Arrival, now_s: float) -> list[int]:
        self.early[number] = []
        jobs = [f"-j{arrival.jobs}"] if arrival.jobs else []
        begin = messages.Begin(
            pid=number + 1, cwd="/", argv=["build", *jobs],
            env={"FORGE_PRIORITY": arrival.priority},
        )  # fmt: skip
        root = arrival.root or f"/{arrival.graph.name}-{number}"
        granted = self._step(events.Received(number, begin), now_s)
        return granted + self._step(events.Resolved(number, Workspace(root)), now_s)

    def ask(self, number: int, ticket: int, unit: int, now_s: float) -> list[int]:
        if number in self.early:
            self.early[number].append((ticket, unit))
            return []
        message = unit_message(self.builds[number], self.arrivals[number].graph, unit)
        self.started[ticket] = number, unit, now_s
        return self._step(events.Received(FIRST_GATE + ticket, message), now_s)

    def release(self, ticket: int, now_s: float) -> list[int]:
        number, index, _ = self.started.pop(ticket)
        unit = self.arrivals[number].graph.units[index]
        ended = messages.UnitEnded(exit=0, user_s=unit.cost_s, peak_kib=unit.peak_mib * 1024)
        granted = self._step(events.Received(FIRST_GATE + ticket, ended), now_s)
        return granted + self._step(events.Closed(FIRST_GATE + ticket), now_s)

    def leave(self, number: int, now_s: float) -> list[int]:
        granted = self._step(events.Received(number, messages.Ended(exit=0)), now_s)
        return granted + self._step(events.Closed(number), now_s)

    def due_s(self) -> float | None:
        return self.state.gates.budget.due_s  # what is measured is not played here

    def tick(self, now_s: float) -> list[int]:
        """Give away kept cores. What else a tick does is talk to those that wait."""
        return self._take(self.state.gates.tick(Moment(now_s, EPOCH_S + now_s)), now_s)

    def _step(self, event: events.Event, now_s: float) -> list[int]:
        return self._take(self.state.step(event, Moment(now_s, EPOCH_S + now_s)), now_s)

    def _take(self, wanted: list[actions.Action], now_s: float) -> list[int]:
        """Answer what the core wants of launchers and of doors; return the units that start."""
        granted: list[int] = []
        for action in wanted:
            if isinstance(action, actions.Send):
                if action.message["type"] == "go":
                    granted += self._go(action, now_s)
            elif isinstance(action, actions.MakeJobserver):
                granted += self._step(events.JobserverMade(action.build, None), now_s)
        return granted

    def _go(self, action: actions.Send, now_s: float) -> list[int]:
        if action.conn >= FIRST_GATE:
            return [action.conn - FIRST_GATE]
        number = action.conn
        self.builds[number] = action.message["build"]
        granted = self._step(events.Received(number, messages.Started(pid=number + 1)), now_s)
        for ticket, unit in self.early.pop(number):
            granted += self.ask(number, ticket, unit, now_s)
        return granted


def by_forge(cores: int, arrivals: list[Arrival], *, is_known: bool = True, timed: bool = False,
             reaction_s: float = REACTION_S, limit: int | None = None,
             even_share: float = EVEN_SHARE, grace_s: float = GRACE_S) -> Run:  # fmt: skip
    """Run builds under Forge; `is_known`: they ran before, and Forge kept what it had seen."""
    learned = Learned()
    for last in (False, True) if is_known else (True,):
        state = state_of(
            cores, learned=learned, limit=limit, even_share=even_share, grace_s=grace_s
        )
        policy = ByForge(state, arrivals)
        run = Host(cores, policy, arrivals, timed=timed and last, reaction_s=reaction_s).go()
        assert not state.builds and not state.gates.behind, "something was not returned"
        assert not state.gates.budget.report(), "the budget knows of a build that is over"
        state.check()
    return run


def waiting_crowd(builds: int, units: int) -> tuple[State, ByForge]:
    """Return a core whose every build has so many units waiting or running, and their policy."""
    arrivals = [Arrival(wide(KINDS_OF_UNITS))] * builds
    state = state_of(32)
    policy = ByForge(state, arrivals)
    tickets = count()
    for number, arrival in enumerate(arrivals):
        policy.join(number, arrival, 0.0)
    for index in range(units):
        for number in range(builds):
            policy.ask(number, next(tickets), index % KINDS_OF_UNITS, 0.0)
    return state, policy
