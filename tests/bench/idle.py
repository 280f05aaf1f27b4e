"""What a daemon with nothing to do costs: `python -m tests.bench.idle`. Linux only.

CPU time and memory are read from /proc before and after; the disk is mounted, one project is on it.
"""

import os
import tempfile
import time
from pathlib import Path

from tests.bench.measure import arguments, machine, print_table, private_forge, report, timed
from tests.scenarios.conftest import package

SETTLE_S = 3.0
WATCH_S = 60.0
GOAL_PERCENT = 0.2
GOAL_MIB = 40.0


def cpu_s(pid: int) -> float:
    """Return user and system time so far: utime and stime of proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> dict[str, float]:
    """Return resident, private and peak memory."""
    found = {}
    wanted = {"Rss": "smaps_rollup", "Pss": "smaps_rollup", "VmHWM": "status"}
    for name, file in wanted.items():
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(f"{name}:"):
                found[name] = int(line.split()[1]) / 1024
    return found


def switches(pid: int) -> int:
    """Return how often all its threads gave up or lost the processor."""
    count = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if "ctxt_switches" in line:
                count += int(line.split()[1])
    return count


def main() -> None:
    """Measure and print."""
    args = arguments(__doc__ or "", rounds=1)
    before = machine()
    raw = []
    with private_forge() as forge, tempfile.TemporaryDirectory() as place:
        timed([*forge.cli, "build"], package(Path(place) / "p"), forge.env)
        pid = forge.daemon_pid()
        time.sleep(SETTLE_S)
        for _ in range(args.rounds):
            start, cpu, woken = time.monotonic(), cpu_s(pid), switches(pid)
            time.sleep(WATCH_S)
            took_s = time.monotonic() - start
            raw.append(
                {
                    "cpu_percent": 100 * (cpu_s(pid) - cpu) / took_s,
                    "switches_per_s": (switches(pid) - woken) / took_s,
                    "threads": len(list(Path(f"/proc/{pid}/task").iterdir())),
                    **memory_mib(pid),
                }
            )
    rows = [
        [
            f"{one['cpu_percent']:.3f} %",
            f"{one['Rss']:.1f} MiB",
            f"{one['Pss']:.1f} MiB",
            f"{one['VmHWM']:.1f} MiB",
            f"{one['threads']}",
            f"{one['switches_per_s']:.1f}",
        ]
        for one in raw
    ]
    head = ["CPU of one core", "resident", "proportional", "peak", "threads", "switches a second"]
    print_table(head, rows)
    print(f"\nover {WATCH_S:.0f} s; goals: {GOAL_PERCENT} % and {GOAL_MIB:.0f} MiB resident")
    report(args, before, {"idle": raw})


if __name__ == "__main__":
    main()
