"""Builds as graphs of units: recorded from real cargo builds, or made up."""

import json
import random
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).parent / "recordings"


@dataclass(frozen=True, slots=True)
class Unit:
    """One rustc. `needs` are (unit, whether its metadata is enough), earlier units only.

    `early` is the fraction of its time after which its metadata is there.
    """

    name: str
    cost_s: float
    needs: tuple[tuple[int, bool], ...] = ()
    early: float = 1.0
    peak_mib: int = 100
    cores: int = 1


@dataclass(frozen=True, slots=True)
class Graph:
    """A build: its units, what each delivers to, and the longest chain from each to the end."""

    name: str
    units: tuple[Unit, ...]
    ranks_s: tuple[float, ...]
    followers: tuple[tuple[tuple[int, bool], ...], ...]

    @property
    def work_s(self) -> float:
        return sum(unit.cost_s * unit.cores for unit in self.units)

    @property
    def chain_s(self) -> float:
        return max(self.ranks_s)


def graph(name: str, units: list[Unit]) -> Graph:
    """Derive from units what the simulation needs."""
    followers: list[list[tuple[int, bool]]] = [[] for _ in units]
    for i, unit in enumerate(units):
        for needed, early in unit.needs:
            assert needed < i, f"{unit.name} needs a unit that comes later"
            followers[needed].append((i, early))
    ranks = [0.0] * len(units)
    for i in reversed(range(len(units))):
        unit = units[i]
        after = [
            (unit.early if early else 1.0) * unit.cost_s + ranks[f] for f, early in followers[i]
        ]
        ranks[i] = max([unit.cost_s, *after])
    return Graph(name, tuple(units), tuple(ranks), tuple(tuple(one) for one in followers))


@cache
def recorded(name: str) -> Graph:
    """Read a recording. Units ended in an order in which none precedes what it needs."""
    rows = json.loads((RECORDINGS / f"{name}.json").read_text())["units"]
    ended = _sorted_by_needs(rows)
    place = {old: new for new, old in enumerate(ended)}
    units = []
    for old in ended:
        crate, cpu_s, early, peak_mib, _links, edges = rows[old]
        needs = tuple((place[-e - 1 if e < 0 else e], e < 0) for e in edges)
        units.append(Unit(crate, max(cpu_s, 0.01), needs, early, peak_mib))
    return graph(name, units)


def _sorted_by_needs(rows: list[Any]) -> list[int]:
    done: list[int] = []
    placed: set[int] = set()
    while len(done) < len(rows):
        for i, row in enumerate(rows):
            if i not in placed and all((-e - 1 if e < 0 else e) in placed for e in row[5]):
                placed.add(i)
                done.append(i)
    return done


def all_recorded() -> list[Graph]:
    return [recorded(path.stem) for path in sorted(RECORDINGS.glob("*.json"))]


def scaled(one: Graph, factor: float) -> Graph:
    """The same build on a slower machine."""
    return graph(one.name, [replace(u, cost_s=u.cost_s * factor) for u in one.units])


def layered(seed: int, units: int, *, width: int = 20, mean_s: float = 1.0) -> Graph:
    """A made-up build: layers of crates, costs log-normal, as cargo's are."""
    rng = random.Random(seed)
    made: list[Unit] = []
    for i in range(units):
        reach = range(max(0, i - 2 * width), max(0, i - width // 2))
        needs = rng.sample(reach, min(len(reach), rng.randint(0, 4)))
        cost_s = min(40.0, rng.lognormvariate(0.0, 1.0) * mean_s / 1.65)
        early = rng.uniform(0.3, 1.0)
        edges = tuple((n, rng.random() < 0.8) for n in sorted(needs))
        made.append(Unit(f"u{i}", cost_s, edges, early, rng.randint(80, 400)))
    return graph(f"layered-{seed}", made)


def wide(units: int, cost_s: float = 1.0) -> Graph:
    """A build without any chain: it can always use a core more."""
    return graph("wide", [Unit(f"u{i}", cost_s) for i in range(units)])


def chain(units: int, cost_s: float = 1.0) -> Graph:
    """A build that can never use more than one core."""
    return graph(
        "chain", [Unit(f"u{i}", cost_s, ((i - 1, False),) if i else ()) for i in range(units)]
    )
