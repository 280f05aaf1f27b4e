"""Print what the policy does on the virtual host: `python -m tests.sim.report`."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from forge.core.shares import Priority
from tests.sim.forge import FIRST_GATE, KINDS_OF_UNITS, by_forge, waiting_crowd
from tests.sim.graphs import all_recorded, wide
from tests.sim.host import (
    Arrival,
    Run,
    ideal,
    jain,
    one_after_another,
    plain,
    received,
)
from tests.sim.workloads import crowd, four_cold, hour, made_up, small_change


def table(title: str, head: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    head = list(head)
    print(f"\n## {title}\n\n| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |")


def recordings() -> None:
    rows = [(g.name, len(g.units), f"{g.work_s:.1f}", f"{g.chain_s:.1f}") for g in all_recorded()]
    table("Recorded builds", ["build", "units", "core seconds", "longest chain s"], rows)


def cold() -> None:
    arrivals = four_cold()
    smallest_first = sorted(arrivals, key=lambda one: one.graph.work_s)

    def row(cores: int, name: str, run: Run) -> list[object]:
        return [cores, name, f"{run.wall_s:.1f}", f"{run.mean_s:.1f}", run.peak_units,
                f"{run.peak_mib:.0f}"]  # fmt: skip

    rows = []
    for cores in (2, 8, 32):
        rows += [
            row(cores, "plain, one after another", one_after_another(cores, arrivals)),
            row(cores, "plain, the smallest first", one_after_another(cores, smallest_first)),
            row(cores, "plain, all at once", plain(cores, arrivals)),
            row(cores, "ideal list schedule", ideal(cores, arrivals)),
            row(cores, "forge", by_forge(cores, arrivals)),
            row(cores, "forge, nothing known", by_forge(cores, arrivals, is_known=False)),
            row(cores, "forge, all even", by_forge(cores, arrivals, even_share=1.0)),
            row(cores, "forge, one build admitted", by_forge(cores, arrivals, limit=1)),
            row(cores, "forge, two builds admitted", by_forge(cores, arrivals, limit=2)),
        ]
    head = ["cores", "how", "wall s", "mean completion s", "peak units", "peak MiB"]
    table("Four cold builds at once", head, rows)


def knobs() -> None:
    arrivals = four_cold()
    rows = []
    for even_share in (0.01, 0.05, 0.1, 0.2, 0.5):
        for grace_s in (0.0, 0.02, 0.05, 0.1):
            run = by_forge(2, arrivals, even_share=even_share, grace_s=grace_s)
            rows.append([even_share, grace_s, f"{run.wall_s:.1f}", f"{run.mean_s:.1f}"])
    head = ["even share", "grace s", "wall s", "mean completion s"]
    table("Even share and grace, four cold builds on 2 cores", head, rows)


def crowds() -> None:
    rows = []
    for name, make in (("recorded", crowd), ("made up", made_up)):
        for builds in (1, 8, 40, 200):
            arrivals = make(builds)
            best = ideal(32, arrivals)
            for how, options in (
                ("forge", {}),
                ("nothing known", {"is_known": False}),
                ("all even", {"even_share": 1.0}),
            ):
                run = by_forge(32, arrivals, timed=True, **options)
                rows.append(
                    [name, builds, how, f"{run.wall_s:.1f}", f"{best.wall_s / run.wall_s:.3f}",
                     f"{run.mean_s:.1f}", f"{best.mean_s:.1f}", f"{run.decision_us:.1f}",
                     f"{run.real_s:.2f}"]
                )  # fmt: skip
    head = ["graphs", "builds", "how", "wall s", "of the ideal", "mean s", "ideal's mean s",
            "µs a decision", "real s"]  # fmt: skip
    table("Many builds at once on 32 cores", head, rows)


def decision_costs(builds: int, units: int, rounds: int) -> dict[str, list[float]]:
    """Return what decisions cost with so many builds that have so many units each, sorted.

    A release is two events, the end and the closed connection. The daemon's timer asks `due_s`
    after each event, which is counted as well.
    """
    state, policy = waiting_crowd(builds, units)
    running = deque(state.gates.budget.running())
    next_ticket = max(state.gates.behind) - FIRST_GATE + 1
    spent: dict[str, list[float]] = {"ask": [], "release": [], "tick": []}

    def decide(what: str, call: Callable[..., list[int]], *values: Any) -> None:
        began = time.thread_time()
        granted = call(*values)
        policy.due_s()
        spent[what].append(time.thread_time() - began)
        running.extend(FIRST_GATE + ticket for ticket in granted)

    for i in range(rounds):
        at_s, ticket = 1.0 + i / 32, running.popleft() - FIRST_GATE
        number, index, _ = policy.started[ticket]
        decide("release", policy.release, ticket, at_s)
        decide("ask", policy.ask, number, next_ticket + i, (index + 1) % KINDS_OF_UNITS, at_s)
        if i % 8 == 0:
            decide("tick", policy.tick, at_s)
    return {what: sorted(seconds) for what, seconds in spent.items()}


def cost() -> None:
    spent = decision_costs(200, 40, 20_000)
    rows = [
        [what, *(f"{seconds[int(len(seconds) * q)] * 1e6:.0f}" for q in (0.5, 0.99)),
         f"{sum(seconds) / len(seconds) * 1e6:.0f}"]
        for what, seconds in spent.items()
    ]  # fmt: skip
    head = ["event", "median µs", "99 % µs", "mean µs"]
    table("Cost of a decision: 200 builds with 40 units each, in all of the core", head, rows)


def even_jain(builds: int) -> tuple[float, float]:
    """Jain's index over core seconds had in 20 s and 60 s by builds that can use any core."""
    units = 64 + 32 * 70 * 2 // builds
    arrivals = [Arrival(wide(units, 0.5 + i % 7 / 5)) for i in range(builds)]
    run = by_forge(32, arrivals, even_share=1.0)
    return tuple(  # type: ignore[return-value]
        jain([received(run, i, 10.0, 10.0 + long_s) for i in range(builds)])
        for long_s in (20.0, 60.0)
    )


def stretch(cores: int, arrivals: list[Arrival]) -> list[float]:
    """How long each build takes, relative to an even split of the cores."""
    mine = by_forge(cores, arrivals).sojourns_s
    even = by_forge(cores, arrivals, even_share=1.0).sojourns_s
    return [a / b for a, b in zip(mine, even, strict=True)]


def fairness() -> None:
    rows = [[builds, *(f"{x:.3f}" for x in even_jain(builds))] for builds in (2, 8, 40)]
    table("All even: Jain's index of core seconds", ["builds", "in 20 s", "in 60 s"], rows)
    rows = []
    for name, cores, arrivals in (
        ("four cold", 2, four_cold()),
        ("recorded, 8", 32, crowd(8)),
        ("recorded, 40", 32, crowd(40)),
        ("recorded, 200", 32, crowd(200)),
    ):
        ratios = stretch(cores, arrivals)
        worse = sum(ratio > 1.05 for ratio in ratios)
        mean = sum(ratios) / len(ratios)
        rows.append([name, cores, f"{mean:.2f}", f"{max(ratios):.2f}", worse, len(ratios)])
    head = ["builds", "cores", "mean", "worst", "worse by over 5 %", "of"]
    table("In turn: time to completion relative to an even split", head, rows)


def interactive() -> None:
    check = small_change()
    rows = []
    for cores in (2, 8, 32):
        idle_s = by_forge(cores, [Arrival(check)]).wall_s
        mine, theirs = [], []
        for at_s in range(2, 26, 2):
            arrivals = [*four_cold(), Arrival(check, float(at_s), Priority.INTERACTIVE)]
            mine.append(by_forge(cores, arrivals).sojourns_s[-1] / idle_s)
            theirs.append(plain(cores, arrivals).sojourns_s[-1] / idle_s)
        rows.append([cores, f"{sum(mine) / len(mine):.2f}", f"{max(mine):.2f}",
                     f"{sum(theirs) / len(theirs):.2f}", f"{max(theirs):.2f}"])  # fmt: skip
    head = ["cores", "forge, mean", "worst", "plain, mean", "worst"]
    table("An interactive check among four cold builds, relative to idle", head, rows)


def an_hour() -> None:
    rows = []
    for every_s in (30.0, 10.0, 3.0):
        run = by_forge(32, hour(every_s), is_known=False)
        used = run.busy_core_s / run.wall_s / 32
        rows.append([every_s, len(run.began_s), f"{used:.0%}", run.events, f"{run.real_s:.2f}"])
    head = ["a build every s", "builds", "cores used", "events", "real s"]
    table("An hour on 32 cores", head, rows)


if __name__ == "__main__":
    print("# Forge on the virtual host")
    for part in (recordings, cold, knobs, crowds, cost, fairness, interactive, an_hour):
        part()
