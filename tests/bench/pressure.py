"""How soon builds give way to a memory hog: `python -m tests.bench.pressure`.

A process of our own takes 1 GiB a second, beginning some 300 MiB above the low water. How long from
its first byte until no rustc starts any more, and until the youngest link is told to end? Builds,
units and links are played: a connection each. The hog stops by itself after 1.5 GiB.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from forge.host.memory import open_memory
from tests.bench.measure import arguments, machine, print_table, quartiles, report
from tests.daemon.clients import open_build, open_link, project, replies
from tests.daemon.harness import RealDaemon

HEADROOM_MIB = 300
SETTLED_S = 1.5
HOG = """
import sys, time
step = 8 << 20
block = bytes(step)
print("ready", flush=True)
sys.stdin.readline()
began = time.monotonic()
print(began, flush=True)
held = []
for number in range(192):
    held.append(bytearray(block))
    time.sleep(max(0.0, began + number * step / (1 << 30) - time.monotonic()))
time.sleep(0.5)
"""


def one_round(place: Path) -> dict[str, float]:
    """Start a daemon, a build with two links, and the hog; return both reactions in ms."""
    available_mib = open_memory().read(time.monotonic()).available_bytes >> 20
    daemon = RealDaemon(
        f'[disk]\nkind = "directory"\nsize = "128MiB"\nmount_point = "{place / "builds"}"\n'
        f'[host]\nlow_water = "{available_mib - HEADROOM_MIB}MiB"\n[builds]\ngates = false\n'
    )
    try:
        daemon.start()
        build = open_build(daemon, project(place, "app"))
        go = replies(build)[-1]
        build.send({"type": "started", "pid": os.getpid()})
        links = [open_link(daemon, go["build"]) for _ in range(2)]
        for link in links:
            assert replies(link)[-1]["type"] == "go", "memory is short before the hog has begun"
        time.sleep(SETTLED_S)
        hog, began = begin_hog()
        replies(links[-1], 10.0, until=("cancel",))
        cancelled = time.monotonic()
        shut = shut_at(daemon.home / "state" / "forged.log", cancelled)
        hog.communicate()
        return {"shut_ms": (shut - began) * 1000, "cancel_ms": (cancelled - began) * 1000}
    finally:
        daemon.close()


def begin_hog() -> tuple["subprocess.Popen[str]", float]:
    """Let the hog begin; return it and when it did, by the clock that all processes share."""
    hog = subprocess.Popen(
        [sys.executable, "-c", HOG], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert hog.stdin and hog.stdout and hog.stdout.readline() == "ready\n"
    hog.stdin.write("\n")
    hog.stdin.flush()
    return hog, float(hog.stdout.readline())


def shut_at(log: Path, now: float) -> float:
    """Return when no unit was let in any more, by the monotonic clock."""
    offset = time.time() - time.monotonic()
    for line in log.read_text().splitlines():
        entry = json.loads(line)
        if entry["decision"] == "memory.tight" and entry["rung"] == "shut units":
            return datetime.fromisoformat(entry["at"]).timestamp() - offset
    raise AssertionError(f"units were never shut; it is {now}")


def main() -> None:
    """Measure and print."""
    args = arguments(__doc__ or "", rounds=10)
    before = machine()
    raw: list[dict[str, float]] = []
    for number in range(args.rounds):
        with tempfile.TemporaryDirectory(prefix="forge-") as place:
            raw.append(one_round(Path(place)))
            print(number, {key: round(value) for key, value in raw[-1].items()}, flush=True)
        time.sleep(SETTLED_S)
    rows = []
    for key, what in (("shut_ms", "no rustc starts"), ("cancel_ms", "the youngest link is ended")):
        low, middle, high = quartiles([one[key] for one in raw])
        worst = max(one[key] for one in raw)
        rows.append([what, f"{middle:.0f}", f"{low:.0f} to {high:.0f}", f"{worst:.0f}"])
    print_table(["from the hog's first byte until", "median, ms", "middle half", "worst"], rows)
    report(args, before, {"rounds": raw})


if __name__ == "__main__":
    main()
