"""Print what memory does in a day on the virtual host: `python -m tests.sim.memory_report`.

It draws the day as well, with and without Forge, into docs/images.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from forge.core.pressure import Rung
from tests.sim.memory_day import GIB, HOUR_S, Day, a_day
from tests.sim.memory_host import Host
from tests.sim.memory_ledger import TOTAL_BYTES, Sample
from tests.sim.memory_policies import Plain, by_forge
from tests.sim.memory_traces import BEGIN_S, TRACES, besieged
from tests.sim.rungs import first_after, rungs, turns
from tests.sim.svg import Area, stacked

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SEEDS = (1, 2, 3)
COLORS = ("#888", "#b58900", "#6c9a3b", "#4a86c5", "#c0562f")


def table(title: str, head: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    head = list(head)
    print(f"\n## {title}\n\n| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |")


def row(name: str, seed: int, host: Host, real_s: float) -> list[object]:
    figures, day = host.figures, host.day
    took = [ended_s - day.builds[number].at_s for number, ended_s in host.ended_s.items()]
    return [
        name, seed, len(took), f"{figures.peak_bytes / GIB:.0f}",
        f"{figures.below_low_water_s:.0f}",
        f"{figures.beyond_machine_s:.0f}", f"{figures.evicted_bytes / GIB:.0f}",
        f"{sum(took) / len(took):.1f}", f"{max(took):.0f}", host.most_runners, f"{real_s:.0f}",
    ]  # fmt: skip


def days() -> None:
    rows = []
    for seed in SEEDS:
        day = a_day(seed)
        forge, real_s = timed(under_forge, day)
        plain, plain_s = timed(each_for_itself, day)
        rows += [row("forge", seed, forge, real_s), row("each for itself", seed, plain, plain_s)]
        if seed == SEEDS[0]:
            draw("memory-day-forge.svg", "A day under Forge", forge)
            draw("memory-day-plain.svg", "The same day, every cargo for itself", plain)
    head = ["how", "seed", "builds", "peak GiB", "s below the low water", "s beyond the machine",
            "GiB to be evicted", "mean s", "longest s", "processes", "real s"]  # fmt: skip
    table("A day", head, rows)


def under_forge(day: Day) -> Host:
    return by_forge(day, check_every=100)[0]


def each_for_itself(day: Day) -> Host:
    return Host(day, Plain).go()


def timed(run: Callable[[Day], Host], day: Day) -> tuple[Host, float]:
    began_s = time.perf_counter()
    return run(day), time.perf_counter() - began_s


def draw(name: str, title: str, host: Host) -> None:
    """Draw the highest moment of each 5 minutes."""
    highest: dict[float, Sample] = {}
    for one in host.figures.samples:
        known = highest.get(one.at_s // 300)
        if known is None or one.demand > known.demand:
            highest[one.at_s // 300] = one
    samples = list(highest.values())
    values = (
        ("model, system", [one.fixed for one in samples]),
        ("context", [one.context for one in samples]),
        ("RAM disk", [one.disk for one in samples]),
        ("rustc", [one.rustcs for one in samples]),
        ("linkers", [one.links for one in samples]),
    )
    areas = [
        Area(name, color, [value / GIB for value in some])
        for (name, some), color in zip(values, COLORS, strict=True)
    ]
    hours = [one.at_s / HOUR_S for one in samples]
    IMAGES.mkdir(exist_ok=True)
    (IMAGES / name).write_text(
        stacked(
            title, hours, areas, x_unit="h", y_unit="GiB", line=TOTAL_BYTES / GIB,
            line_name="256 GiB, the machine", x_most=max(24.0, *hours), y_most=384, x_step=4,
            y_step=64,
        )
    )  # fmt: skip


def besieged_row(name: str, day: Day) -> list[object]:
    host, policy = by_forge(day, check_every=100)
    steps, made = rungs(policy.decisions), policy.decisions
    shut_s = first_after(made, BEGIN_S, "memory.tight", Rung.SHUT_UNITS)
    cancelled_s = first_after(made, BEGIN_S, "link.cancelled")
    count = [sum(one.name == kind for one in made) for kind in ("link.cancelled", "unit.paused")]
    return [
        name, *("none" if s is None else f"{s:.1f}" for s in (shut_s, cancelled_s)),
        f"{host.now_s:.0f}", len(steps), turns(steps, 0.9), *count,
        f"{host.figures.peak_bytes / GIB:.0f}",
        f"{host.figures.below_low_water_s:.0f}", f"{host.figures.beyond_machine_s:.0f}",
        f"{host.longest_standstill_s:.0f}",
    ]  # fmt: skip


def sieges() -> None:
    rows = [besieged_row(one.__name__.replace("_", " "), besieged(one())) for one in TRACES]
    head = ["what is taken", "s to shut units", "s to the first cancel", "run s", "rung changes",
            "turns below 0.9 s", "links cancelled", "units paused", "peak GiB",
            "s below the low water", "s beyond the machine", "longest standstill s"]  # fmt: skip
    table("Builds without end, and somebody who takes memory", head, rows)


if __name__ == "__main__":
    print("# Memory on the virtual host")
    days()
    sieges()
