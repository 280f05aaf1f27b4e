"""What one reading of memory costs: `python -m tests.bench.memory_reading`.

This machine as it is, and recorded trees with limits on four levels. A recording lies on an
ordinary file system, so it shows what Forge does with the text and not what the kernel does for it.
"""

import sys
import tempfile
import time
from pathlib import Path

from forge.host.memory import Memory, open_memory
from forge.host.memory_linux import LinuxMemory
from tests.bench.measure import arguments, machine, print_table, quartiles, report
from tests.host.memory_trees import HYBRID_MOUNTS, V2_MOUNTS, plant, proc, v1, v2

GOAL_US = 500.0
READINGS = 200
PLACES = ("", "/a", "/a/b", "/a/b/c")


def recorded(root: Path) -> dict[str, Memory]:
    """Plant the trees; the outermost cgroup is limited too, as in a container."""
    limited_v1: dict[str, str] = {}
    limited_v2: dict[str, str] = {}
    for place in PLACES:
        limited_v1 |= v1(place, 1 << 33, 100, (10, 10))
        limited_v2 |= v2(place, str(1 << 33), 100, (10, 10), high=str(1 << 32))
    hybrid = proc("4:memory:/a/b/c\n0::/a/b/c\n", HYBRID_MOUNTS)
    return {
        "recorded, v1, 4 limits": LinuxMemory(plant(root / "v1", hybrid | limited_v1)),
        "recorded, v2, 8 limits": LinuxMemory(
            plant(root / "v2", proc("0::/a/b/c\n", V2_MOUNTS) | limited_v2)
        ),
    }


def cost_us(memory: Memory) -> float:
    """Return the mean processor time of a reading, over many."""
    start = time.process_time()
    for _ in range(READINGS):
        memory.read(0.0)
    return (time.process_time() - start) / READINGS * 1e6


def main() -> None:
    """Measure and print."""
    args = arguments(__doc__ or "", rounds=20)
    before = machine()
    raw = {}
    with tempfile.TemporaryDirectory() as place:
        doors = {"this machine": open_memory()}
        if sys.platform == "linux":
            doors |= recorded(Path(place))
        for name, memory in doors.items():
            raw[name] = [cost_us(memory) for _ in range(args.rounds)]
    rows = []
    for name, costs in raw.items():
        low, middle, high = quartiles(costs)
        rows.append([name, f"{middle:.0f}", f"{low:.0f} to {high:.0f}"])
    print_table(["reading", "processor, us", "middle half, us"], rows)
    print(f"\n{args.rounds} rounds of {READINGS} readings; goal: {GOAL_US:.0f} us")
    report(args, before, raw)


if __name__ == "__main__":
    main()
