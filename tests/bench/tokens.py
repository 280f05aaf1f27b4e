"""What looking at job tokens costs the daemon, and how soon a build has what another leaves.

    python -m tests.bench.tokens [--rounds 20]

The builds are played: a FIFO each and a sleeping process for a cargo. Hand-over: two builds
share eight cores, and one of them asks for more; when the other is over, how long until all that it
has asked for runs? Cost: CPU time of the daemon with so many
builds that do nothing, over ten seconds.
"""

import os
import select
import statistics
import tempfile
import time
from pathlib import Path

from tests.bench.gate_requests import cpu_s
from tests.bench.measure import arguments, machine, print_table, report
from tests.daemon.clients import open_unit, replies
from tests.daemon.harness import RealDaemon
from tests.daemon.test_tokens import Build

CORES = 8
COST_S = 10.0


def daemon_with(cores: int, at: Path) -> RealDaemon:
    """Start a daemon for many builds on so many cores, its RAM disk a directory."""
    disk = f'[disk]\nkind = "directory"\nsize = "128MiB"\nmount_point = "{at}"\n'
    daemon = RealDaemon(f"{disk}[host]\ncores = {cores}\n[builds]\nat_once = 99\ngates = false\n")
    daemon.start()
    return daemon


class Cargo:
    """A build that asks for a unit with each byte that it finds, as a cargo does."""

    def __init__(self, daemon: RealDaemon, at: Path, name: str) -> None:
        self._daemon = daemon
        self.build = Build(daemon, at, name)
        self.units = [open_unit(daemon, self.build.id, running=False)]  # it needs no byte

    def has_byte(self, within_s: float) -> bool:
        return bool(select.select([self.build.fifo], [], [], within_s)[0])

    def ask(self, at_most: int) -> None:
        """Take bytes and ask for units until there are no more for a while."""
        while len(self.units) < at_most and self.has_byte(0.5):
            os.read(self.build.fifo, 1)
            self.units.append(open_unit(self._daemon, self.build.id, running=False))

    def end(self) -> None:
        for unit in self.units:
            unit.close()
        self.build.connection.send({"type": "ended", "exit": 0})


def hand_over_ms(daemon: RealDaemon, at: Path) -> float:
    """Return how long a build that wants more waits for what another one leaves."""
    first, second = Cargo(daemon, at, "first"), Cargo(daemon, at, "second")
    try:
        second.ask(CORES // 2)
        first.ask(99)
        second.end()
        before = time.perf_counter()
        for unit in first.units:
            replies(unit, 5.0, until=("go",))
        return (time.perf_counter() - before) * 1000
    finally:
        first.end()
        first.build.close()
        second.build.close()


def cost_percent(builds: int) -> float:
    """Return what part of a core the daemon uses while so many builds have jobservers."""
    with tempfile.TemporaryDirectory(prefix="forge-") as place:
        daemon = daemon_with(32, Path(place) / "disk")
        opened = []
        try:
            opened = [Build(daemon, Path(place), f"p{number}") for number in range(builds)]
            pid = daemon.processes[-1].pid
            time.sleep(1.0)
            before = cpu_s(pid)
            time.sleep(COST_S)
            return (cpu_s(pid) - before) / COST_S * 100
        finally:
            for one in opened:
                one.close()
            daemon.close()


def main() -> None:
    """Measure and report."""
    given = arguments(__doc__ or "", rounds=20)
    before = machine()
    with tempfile.TemporaryDirectory(prefix="forge-") as place:
        daemon = daemon_with(CORES, Path(place) / "disk")
        try:
            took_ms = []
            for number in range(given.rounds):
                at = Path(place) / str(number)
                at.mkdir()
                took_ms.append(hand_over_ms(daemon, at))
        finally:
            daemon.close()
    costs = {builds: cost_percent(builds) for builds in (1, 2, 10, 50)}
    rows = [["hand-over, ms", f"{statistics.median(took_ms):.1f}", f"{max(took_ms):.1f} at most"]]
    rows += [
        [f"daemon with {n} builds, % of a core", f"{cost:.2f}", ""] for n, cost in costs.items()
    ]
    print_table(["what", "median", ""], rows)
    report(given, before, {"hand_over_ms": took_ms, "costs": costs})


if __name__ == "__main__":
    main()
