"""Walking a target dir of a million files: `python -m tests.bench.walk`.

It is laid out on /dev/shm, as cargo would. Measured: the walk as a process that steps back, as the
daemon does it; the same in a thread; and how long an event loop that wakes each millisecond is held
up by either.
"""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from forge.host import tree_walk
from forge.host.disk_usage import walk_tree
from tests.bench.measure import arguments, machine, print_table, report

FILES = 1_000_000
GOAL_S = 10.0


def lay_out(root: Path, count: int) -> None:
    """Write files as cargo's directories have them: objects, incremental data, fingerprints."""
    shapes = (("deps", count * 4 // 10, count), ("incremental", count * 4 // 10, 200),
              (".fingerprint", count * 2 // 10, 8))  # fmt: skip
    for kind, files, each in shapes:
        for number in range(files):
            if number % each == 0:
                place = root / "debug" / kind / f"unit-{number // each:016x}"
                place.mkdir(parents=True)
            os.close(os.open(place / f"f{number:07}.o", os.O_CREAT | os.O_WRONLY))


def walk_here(root: str) -> None:
    """Walk in this process."""
    tree_walk.Walk(os.fsencode(root)).run()


async def held_up(walk: Callable[[str], object], root: str) -> tuple[float, float]:
    """Return how long a walk took, and the worst delay of a loop that wakes each millisecond."""
    loop, worst_s = asyncio.get_running_loop(), 0.0
    began = time.perf_counter()
    walking = loop.run_in_executor(None, walk, root)
    delays = []
    while not walking.done():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        delays.append(time.perf_counter() - before - 0.001)
    worst_s = sorted(delays)[int(len(delays) * 0.99)]
    return time.perf_counter() - began, worst_s


def main() -> None:
    """Measure and print."""
    args = arguments(__doc__ or "", rounds=3)
    before, raw, rows = machine(), {}, []
    root = tempfile.mkdtemp(prefix="of-walk", dir="/dev/shm")
    try:
        lay_out(Path(root), FILES)
        for name, walk in (("a process that steps back", walk_tree), ("a thread", walk_here)):
            raw[name] = [asyncio.run(held_up(walk, root)) for _ in range(args.rounds)]
            took = sorted(one[0] for one in raw[name])[args.rounds // 2]
            late = sorted(one[1] for one in raw[name])[args.rounds // 2]
            rows.append([name, f"{took:.2f} s", f"{late * 1000:.1f} ms"])
    finally:
        shutil.rmtree(root)
    print_table([f"walk of {FILES:,} files in", "took", "loop late by (99th percentile)"], rows)
    print(f"\ngoal: {GOAL_S:.0f} s")
    report(args, before, raw)


if __name__ == "__main__":
    main()
