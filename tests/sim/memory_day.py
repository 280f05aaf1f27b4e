"""A day on the reference host: who builds what, and how the other tenants' memory goes up and down.

A build is a row of stages; what is in a stage runs side by side, and a stage begins when the one
before it is done. All of it is drawn from one seed.
"""

import math
import random
from dataclasses import dataclass

from forge.core.shares import Priority

MIB = 1024 * 1024
GIB = 1024 * MIB
HOUR_S = 3600.0
PROJECTS = 40

MODEL_BYTES = 81 * GIB
SYSTEM_BYTES = 20 * GIB
MOST_CONTEXT_BYTES = 40 * GIB
MOST_DISK_BYTES = 64 * GIB

Trace = tuple[tuple[float, float], ...]
"""Bytes over time: corners in order of time, straight lines between them."""


@dataclass(frozen=True, slots=True)
class Link:
    """A linker's run: what it needs in truth, and what is known of its inputs before."""

    output: str
    run_s: float
    peak_bytes: int
    input_bytes: int


@dataclass(frozen=True, slots=True)
class Unit:
    """A rustc, with the linker that it calls at its end, if it does."""

    crate: str
    run_s: float
    peak_bytes: int
    link: Link | None = None


Stages = tuple[tuple[Unit, ...], ...]


@dataclass(frozen=True, slots=True)
class Project:
    """A workspace: its dependencies, its own units, and what all of it takes on the RAM disk."""

    root: str
    cold: Stages
    warm: Stages
    check: Stages
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Coming:
    """A build that comes at `at_s`."""

    at_s: float
    project: int
    verb: str
    priority: Priority
    noise: float
    """How far this run's peaks are from the usual ones: a factor near 1."""


@dataclass(frozen=True, slots=True)
class Day:
    """All that is going to happen."""

    long_s: float
    projects: tuple[Project, ...]
    builds: tuple[Coming, ...]
    context: Trace
    hog: Trace = ((0.0, 0.0),)


def a_day(seed: int, long_s: float = 24 * HOUR_S, start_s: float = 0.0) -> Day:
    """Draw a day, or the part of one that begins `start_s` after midnight."""
    rng = random.Random(seed)
    projects = tuple(_project(rng, number) for number in range(PROJECTS))
    return Day(long_s, projects, _builds(rng, start_s, long_s), _context(rng, start_s, long_s))


def _between(rng: random.Random, least: float, most: float) -> float:
    """Draw evenly on a logarithmic scale: small ones are common, large ones are not rare."""
    return math.exp(rng.uniform(math.log(least), math.log(most)))


def _project(rng: random.Random, number: int) -> Project:
    depends = [
        Unit(f"dep_{number}_{i}", _between(rng, 0.3, 6.0), int(_between(rng, 90, 450) * MIB))
        for i in range(rng.randint(25, 90))
    ]
    own = [
        Unit(f"own_{number}_{i}", _between(rng, 1.0, 12.0), int(_between(rng, 0.15, 1.2) * GIB))
        for i in range(rng.randint(1, 5))
    ]
    heavy_bytes = _between(rng, 0.3, 12.0) * GIB
    bins = [_bin(rng, f"bin_{number}_{i}", heavy_bytes) for i in range(rng.randint(1, 6))]
    third = len(depends) // 3
    cold = (tuple(depends[:third]), tuple(depends[third:]), tuple(own), tuple(bins))
    return Project(
        root=f"/src/project-{number}",
        cold=cold,
        warm=(tuple(own[-2:]), tuple(bins)),
        check=tuple((Unit(f"{one.crate}_check", one.run_s / 3, one.peak_bytes // 2),)
                    for one in own[-3:]),
        disk_bytes=int(_between(rng, 0.6, 6.0) * GIB),
    )  # fmt: skip


def _bin(rng: random.Random, name: str, heavy_bytes: float) -> Unit:
    """Make a binary. Its linker's inputs tell its peak to within a quarter or so."""
    peak = max(0.3 * GIB, heavy_bytes * rng.uniform(0.5, 1.0))
    inputs = peak / 1.8 * math.exp(rng.gauss(0.0, 0.2))
    link = Link(f"{name}-0123456789abcdef", 0.5 + peak / (0.6 * GIB), int(peak), int(inputs))
    return Unit(name, _between(rng, 1.5, 25.0), int(_between(rng, 0.3, 3.4) * GIB), link)


def _builds(rng: random.Random, start_s: float, long_s: float) -> tuple[Coming, ...]:
    """People build and check from morning to evening; agents come in swarms at any hour."""
    found: list[Coming] = []

    def add(at_s: float, verb: str, priority: Priority) -> None:
        project = min(int(rng.paretovariate(0.6)) - 1, 10**6) % PROJECTS
        if verb == "build" and rng.random() < 0.7:
            project = rng.randrange(PROJECTS)
        found.append(Coming(at_s, project, verb, priority, math.exp(rng.gauss(0.0, 0.05))))

    at_s = 0.0
    while at_s < long_s:
        is_day = 8 * HOUR_S <= (start_s + at_s) % (24 * HOUR_S) < 20 * HOUR_S
        if is_day:
            verb = "check" if rng.random() < 0.75 else "build"
            add(at_s, verb, Priority.INTERACTIVE)
        at_s += rng.expovariate(1 / (75.0 if is_day else 600.0))
    at_s = rng.uniform(0.0, 300.0)
    while at_s < long_s:
        for _ in range(rng.randint(3, 40)):
            add(at_s + rng.uniform(0.0, 20.0), "build", Priority.BATCH)
        at_s += rng.expovariate(1 / 700.0)
    return tuple(sorted((one for one in found if one.at_s < long_s), key=lambda one: one.at_s))


def _context(rng: random.Random, start_s: float, long_s: float) -> Trace:
    """Let the context grow to its row over the day, with sessions that come and go in bursts."""
    corners = [(0.0, 4.0 * GIB)]
    at_s, level = 0.0, 4.0 * GIB
    while at_s < long_s:
        at_s += rng.expovariate(1 / 240.0)
        share = (start_s + at_s) % (24 * HOUR_S) / (24 * HOUR_S)
        floor = (4.0 + 22.0 * share) * GIB
        aim = min(MOST_CONTEXT_BYTES, floor + rng.choice((0.0, 0.0, 4.0, 8.0, 16.0)) * GIB)
        rate = (rng.uniform(0.1, 0.8) if aim > level else 4.0) * GIB
        corners.append((at_s, level))
        at_s += abs(aim - level) / rate + 0.01
        level = aim
        corners.append((at_s, level))
    return tuple(corners)
