"""What the virtual host is given to do."""

import random

from forge.core.admission import Admission
from forge.core.budget import Budget
from forge.core.shares import Priority
from tests.sim.graphs import Graph, Unit, graph, layered, recorded, scaled
from tests.sim.host import Arrival, ByBudget, Host, Run

FOUR = ("ripgrep-dev", "fd-find-dev", "tokei-dev", "hyperfine-dev")
FIVE = (*FOUR, "ripgrep-release")


def four_cold() -> list[Arrival]:
    """Four different crates, cold, at once."""
    return [Arrival(recorded(name)) for name in FOUR]


def crowd(builds: int) -> list[Arrival]:
    """Many builds at once: the recorded ones, each at a speed of its own."""
    graphs = [recorded(name) for name in FIVE]
    return [Arrival(scaled(graphs[i % 5], 0.5 + i * 7 % 11 / 10)) for i in range(builds)]


def made_up(builds: int) -> list[Arrival]:
    """Many builds of made-up shape."""
    return [Arrival(layered(i, 60 + i * 37 % 120)) for i in range(builds)]


def hour(every_s: float) -> list[Arrival]:
    """An hour of builds that come at random, one in five of them a person's."""
    rng = random.Random(1)
    graphs = [recorded(name) for name in FIVE]
    arrivals, at_s = [], 0.0
    while at_s < 3600.0:
        priority = Priority.INTERACTIVE if rng.random() < 0.2 else Priority.BATCH
        arrivals.append(Arrival(rng.choice(graphs), at_s, priority))
        at_s += rng.expovariate(1 / every_s)
    return arrivals


def small_change() -> Graph:
    """A `cargo check` after a small change: three crates, one after another."""
    return graph(
        "check",
        [
            Unit("core", 1.0, (), 0.6),
            Unit("middle", 1.5, ((0, True),), 0.6),
            Unit("top", 2.0, ((1, True),)),
        ],
    )


class ByAdmission(ByBudget):
    """Admission before the budget: builds beyond the limit ask for nothing until admitted."""

    def __init__(self, budget: Budget, arrivals: list[Arrival], limit: int) -> None:
        super().__init__(budget, arrivals)
        self.admission = Admission(limit)
        self.early: dict[int, list[tuple[int, int]]] = {}

    def join(self, number: int, arrival: Arrival, now_s: float) -> list[int]:
        self.early[number] = []
        granted = super().join(number, arrival, now_s)
        admitted = self.admission.join(
            f"b{number}", order=number, priority=arrival.priority, verb="build", now_s=now_s
        )
        return granted + self._admit(admitted, now_s)

    def leave(self, number: int, now_s: float) -> list[int]:
        granted = super().leave(number, now_s)
        return granted + self._admit(self.admission.leave(f"b{number}"), now_s)

    def ask(self, number: int, ticket: int, unit: int, now_s: float) -> list[int]:
        if number in self.early:
            self.early[number].append((ticket, unit))
            return []
        return super().ask(number, ticket, unit, now_s)

    def _admit(self, builds: list[str], now_s: float) -> list[int]:
        granted: list[int] = []
        for build in builds:
            number = int(build[1:])
            for ticket, unit in self.early.pop(number):
                granted += super().ask(number, ticket, unit, now_s)
        return granted


def by_admission(cores: int, arrivals: list[Arrival], limit: int) -> Run:
    return Host(cores, ByAdmission(Budget(cores), arrivals, limit), arrivals).go()
