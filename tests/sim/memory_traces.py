"""What somebody else takes of the memory, as traces: made up to be nasty, and one recorded.

Builds come without end meanwhile, and the context is as large as it ever gets.
"""

import json
import random
from dataclasses import replace
from pathlib import Path

from forge.core.shares import Priority
from tests.sim.memory_day import GIB, MOST_CONTEXT_BYTES, Coming, Day, Trace, a_day

RECORDING = Path(__file__).parent / "recordings" / "memory" / "24gib.json"
BEGIN_S = 120.0
LONG_S = 600.0
MOST_GIB = 50.0
SWARM_EVERY_S = 45.0


def besieged(trace: Trace, *, seed: int = 1, long_s: float = LONG_S) -> Day:
    """Return a time in which all projects are built again and again, beside what `trace` takes."""
    rng = random.Random(seed)
    builds = []
    at_s = 0.0
    while at_s < long_s:
        for project in rng.sample(range(40), 12):
            priority = Priority.BATCH if rng.random() < 0.8 else Priority.INTERACTIVE
            builds.append(Coming(at_s + rng.uniform(0, 5), project, "build", priority, 1.0))
        at_s += SWARM_EVERY_S
    ordered = tuple(sorted(builds, key=lambda one: one.at_s))
    context = ((0.0, float(MOST_CONTEXT_BYTES)),)
    return replace(a_day(seed, long_s), builds=ordered, context=context, hog=trace)


def _in_gib(*corners: tuple[float, float]) -> Trace:
    return tuple((at_s, gib * GIB) for at_s, gib in corners)


def step() -> Trace:
    """Take nearly all that is left within a tenth of a second, for two minutes."""
    return _in_gib((BEGIN_S, 0), (BEGIN_S + 0.1, 45), (BEGIN_S + 120, 45), (BEGIN_S + 120.1, 0))


def ramp() -> Trace:
    """Take 1 GiB each second, as a process that fills memory by one thread does."""
    end_s = BEGIN_S + MOST_GIB
    return _in_gib((BEGIN_S, 0), (end_s, MOST_GIB), (end_s + 60, MOST_GIB), (end_s + 61, 0))


def sawtooth() -> Trace:
    """Grow for 20 s, fall at once, fifteen times."""
    return _in_gib(*(
        corner
        for i in range(15)
        for corner in ((BEGIN_S + 20.2 * i, 0), (BEGIN_S + 20.2 * i + 20, MOST_GIB))
    ), (BEGIN_S + 15 * 20.2, 0))  # fmt: skip


def leak() -> Trace:
    """Take 5 GiB more each minute, and be ended when it has 50."""
    return _in_gib((BEGIN_S, 0), (BEGIN_S + 600, MOST_GIB), (BEGIN_S + 601, 0))


def noise() -> Trace:
    """Leave about the low water, a little more and a little less each half second."""
    rng = random.Random(7)
    return _in_gib((BEGIN_S, 0), *(
        (BEGIN_S + 20 + i / 2, 38 + rng.gauss(0, 2)) for i in range(900)
    ), (BEGIN_S + 480, 0))  # fmt: skip


def comes_back() -> Trace:
    """Take 45 GiB for 20 s, and again 12 s later, twelve times."""
    return _in_gib(*(
        (BEGIN_S + 32 * i + after_s, gib)
        for i in range(12)
        for after_s, gib in ((0, 0), (2, 45), (20, 45), (20.1, 0))
    ))  # fmt: skip


def stays() -> Trace:
    """Take what leaves memory neither tight nor calm, and keep it."""
    return _in_gib((BEGIN_S, 0), (BEGIN_S + 20, 41), (LONG_S, 41), (LONG_S + 1, 0))


def recorded() -> Trace:
    """What was used on a real machine, its ups and downs stretched to what is left on ours."""
    found = json.loads(RECORDING.read_text())
    available = found["available_mib"]
    most = max(mib for _, mib in available)
    least = min(mib for _, mib in available)
    corners = [(at_s, (most - mib) / (most - least) * MOST_GIB) for at_s, mib in available]
    end_s = corners[-1][0]
    return _in_gib(*((BEGIN_S + at_s, gib) for at_s, gib in corners), (BEGIN_S + end_s + 1, 0))


TRACES = (step, ramp, sawtooth, leak, noise, comes_back, stays, recorded)
