"""A day of 40 projects on a RAM disk of 64 GiB, under three ways to make room.

    python -m tests.sim.eviction_day

Prints the seconds of cold builds that each way causes: the policy of `core.eviction`, least
recently used first, and one that knows the future. The last evicts what loses the fewest seconds
for each byte and second until its next use; it is no optimum, which is hard to compute, but nothing
that does not know the future comes near it by luck.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from forge.core.eviction import Candidate, is_new_session, plan_eviction

GIB = 1024**3
DISK_BYTES = 64 * GIB
DAY = 86400.0
PROJECTS = 40
WARM_DAYS = 2
"""Days before the one that is counted, so that something is known of each project."""


@dataclass(frozen=True)
class Project:
    """One checkout. Its target dir has `size_bytes` when it is warm, and takes `cold_s` to make."""

    name: str
    size_bytes: int
    cold_s: float


@dataclass(frozen=True)
class Trace:
    """Who builds when, in order."""

    projects: tuple[Project, ...]
    uses: tuple[tuple[float, int], ...]


def a_trace(seed: int) -> Trace:
    """Make projects of all sizes, and people and agents who come back to them in bursts."""
    rng = random.Random(seed)
    projects = tuple(
        Project(
            f"/r/p{n}",
            int(min(30.0, rng.lognormvariate(0.9, 0.9)) * GIB),
            max(5.0, rng.lognormvariate(4.2, 0.9)),
        )
        for n in range(PROJECTS)
    )
    uses: list[tuple[float, int]] = []
    for n in range(PROJECTS):
        weight = 1.0 / (1 + rng.paretovariate(0.9))
        at = rng.uniform(0, 6 * 3600)
        while at < (WARM_DAYS + 1) * DAY:
            for _ in range(1 + int(rng.expovariate(1 / 6))):
                uses.append((at, n))
                at += rng.expovariate(1 / 400)
            at += rng.expovariate(weight / (2.5 * 3600))
    return Trace(projects, tuple(sorted(uses)))


@dataclass
class OnDisk:
    """What a way to make room sees of a target dir that is there, or was."""

    created_at: float
    last_used_at: float
    uses: int = 1


Choose = Callable[["Disk", int, float, int], list[int]]


@dataclass
class Disk:
    """The RAM disk under one way to make room."""

    trace: Trace
    choose: Choose
    there: dict[int, OnDisk] = field(default_factory=dict)
    known: dict[int, OnDisk] = field(default_factory=dict)
    lost_s: float = 0.0
    first: set[int] = field(default_factory=set)

    def run(self) -> float:
        """Go through the trace; return the seconds that were lost on the last day."""
        for number, (at, n) in enumerate(self.trace.uses):
            if n not in self.there:
                self._make_room(number, at, n)
                if n in self.first and at >= WARM_DAYS * DAY:
                    self.lost_s += self.trace.projects[n].cold_s
                self.first.add(n)
            seen = self.known.setdefault(n, OnDisk(at, at, 0))
            seen.uses += is_new_session(seen.uses, at - seen.last_used_at)
            seen.last_used_at = at
            self.there[n] = seen
        return self.lost_s

    def _make_room(self, number: int, at: float, n: int) -> None:
        wanted = self.trace.projects[n].size_bytes - self.free_bytes
        if wanted > 0:
            for one in self.choose(self, wanted, at, number):
                del self.there[one]
        assert self.trace.projects[n].size_bytes <= self.free_bytes

    @property
    def free_bytes(self) -> int:
        """Return what is free."""
        return DISK_BYTES - sum(self.trace.projects[n].size_bytes for n in self.there)


def by_worth(disk: Disk, wanted: int, now_s: float, _number: int) -> list[int]:
    """Let the policy choose."""
    numbers = {disk.trace.projects[n].name: n for n in disk.there}
    candidates = [
        Candidate(
            disk.trace.projects[n].name, disk.trace.projects[n].size_bytes, one.created_at,
            one.last_used_at, one.uses, disk.trace.projects[n].cold_s,
        )
        for n, one in disk.there.items()
    ]  # fmt: skip
    return [numbers[one.path] for one in plan_eviction(candidates, wanted, now_s).choices]


def by_age(disk: Disk, wanted: int, _now_s: float, _number: int) -> list[int]:
    """Take the least recently used first."""
    return _until(disk, wanted, sorted(disk.there, key=lambda n: disk.there[n].last_used_at))


def by_future(disk: Disk, wanted: int, now_s: float, number: int) -> list[int]:
    """Take what will be missed least: it costs little, takes much, or is wanted late or never."""
    next_use: dict[int, float] = {}
    for at, n in disk.trace.uses[number:]:
        next_use.setdefault(n, at)

    def missed(n: int) -> float:
        project = disk.trace.projects[n]
        if n not in next_use:
            return 0.0
        return project.cold_s / project.size_bytes / max(1.0, next_use[n] - now_s)

    return _until(disk, wanted, sorted(disk.there, key=missed))


def _until(disk: Disk, wanted: int, order: Sequence[int]) -> list[int]:
    """Take in that order what is needed; what a larger one has made superfluous stays."""
    chosen: list[int] = []
    for n in order:
        if wanted <= 0:
            break
        chosen.append(n)
        wanted -= disk.trace.projects[n].size_bytes
    for n in chosen[::-1]:
        if wanted + disk.trace.projects[n].size_bytes <= 0:
            chosen.remove(n)
            wanted += disk.trace.projects[n].size_bytes
    return chosen


WAYS: dict[str, Choose] = {"worth": by_worth, "least recently used": by_age, "future": by_future}


def lost_s(seed: int) -> dict[str, float]:
    """Return the seconds that each way loses on one day."""
    trace = a_trace(seed)
    return {name: Disk(trace, choose).run() for name, choose in WAYS.items()}


def main() -> None:
    """Print ten days."""
    print(f"{'day':>4} {'worth':>9} {'lru':>9} {'future':>9} {'worth/future':>13}")
    total = dict.fromkeys(WAYS, 0.0)
    for seed in range(20):
        day = lost_s(seed)
        for name, seconds in day.items():
            total[name] += seconds
        worth, lru, future = day.values()
        print(f"{seed:>4} {worth:>9.0f} {lru:>9.0f} {future:>9.0f} {worth / max(1, future):>13.2f}")
    worth, lru, future = total.values()
    print(f"{'all':>4} {worth:>9.0f} {lru:>9.0f} {future:>9.0f} {worth / future:>13.2f}")


if __name__ == "__main__":
    main()
