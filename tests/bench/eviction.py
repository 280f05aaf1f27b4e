"""How long it takes to decide what leaves a RAM disk with 1,000 target dirs.

    python -m tests.bench.eviction

All that the decision looks at is there as well: 50,000 learned costs, 1,000 snapshots, 90 builds.
"""

import random
import statistics
import time

from forge.core.learned import Entry, Learned
from forge.core.moment import Moment
from forge.core.snapshots import Snapshot
from forge.core.target_dirs import TargetDir
from forge.core.workspace import target_dir_name
from tests.core.driver import GIB, Driver, settings

DIRS, BUILDS, LEARNED = 1_000, 90, 50_000
GOAL_MS = 10.0


def a_driver(seed: int = 1) -> Driver:
    """Return a state with all that."""
    rng = random.Random(seed)
    driver = Driver(settings(cores=32))
    roots = [f"/src/p{n}" for n in range(DIRS)]
    driver.state.gates.learned = Learned(
        Entry(roots[n % DIRS], f"unit c{n} lib", ((1.0, rng.uniform(0.1, 9.0), 1000),), at=float(n))
        for n in range(LEARNED)
    )
    for conn in range(1, BUILDS + 1):
        driver.run(conn, root=roots[conn])
    disk = driver.state.disk.disk
    assert disk
    snapshots: list[Snapshot] = []
    for root in roots:
        path = f"{disk.mount_point}/{target_dir_name(root)}"
        used_at = rng.uniform(0, 1e6)
        size_bytes = int(rng.lognormvariate(0.0, 1.0) * GIB)
        one = TargetDir(path, root, 0.0, used_at, rng.randint(1, 200), size_bytes, 1000)
        driver.state.target_dirs[path] = one
        name = path.rpartition("/")[2]
        snapshots.append(
            Snapshot(
                f"s{len(snapshots)}",
                name,
                root,
                used_at,
                size_bytes,
                1000,
                "b",
                0,
                0,
                disk=disk.token,
            )
        )
    driver.state.tasks.snapshots = tuple(snapshots)
    return driver


def plan_ms(driver: Driver, wanted_bytes: int) -> float:
    """Return how long one decision takes."""
    began = time.perf_counter()
    plan = driver.state.room.plan(wanted_bytes, Moment(driver.now_s, 2e6))
    took_ms = (time.perf_counter() - began) * 1000
    assert plan.is_enough, "there is enough that may go"
    return took_ms


def main() -> None:
    """Print the median and the longest of a hundred."""
    driver = a_driver()
    for wanted_gib in (1, 100, 500):
        took = [plan_ms(driver, wanted_gib * GIB) for _ in range(100)]
        print(f"{wanted_gib:>4} GiB wanted: median {statistics.median(took):5.1f} ms,"
              f" longest {max(took):5.1f} ms; the goal is {GOAL_MS:g} ms")  # fmt: skip


if __name__ == "__main__":
    main()
