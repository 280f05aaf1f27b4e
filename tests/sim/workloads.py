"""What the virtual host is given to do."""

import random

from forge.core.shares import Priority
from tests.sim.graphs import Graph, Unit, graph, layered, recorded, scaled
from tests.sim.host import Arrival

FOUR = ("ripgrep-dev", "fd-find-dev", "tokei-dev", "hyperfine-dev")
WORKTREES = 200
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
    """An hour of builds that come at random, one in five of them a person's.

    Each crate is built in many worktrees, which do not wait for one another's target dir.
    """
    rng = random.Random(1)
    graphs = [recorded(name) for name in FIVE]
    arrivals: list[Arrival] = []
    at_s = 0.0
    while at_s < 3600.0:
        priority = Priority.INTERACTIVE if rng.random() < 0.2 else Priority.BATCH
        one = rng.choice(graphs)
        worktree = f"/{one.name}/{len(arrivals) % WORKTREES}"
        arrivals.append(Arrival(one, at_s, priority, root=worktree))
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
