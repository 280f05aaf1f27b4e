"""Snapshots of a large target dir: `python -m tests.bench.snapshots [--gib 5]`.

ripgrep is built, dev and release, into a directory in memory, and the result repeated beside itself
until there is as much as asked for: artifacts as cargo makes them, compressible as they are. Then
it is saved and restored, and cargo is asked what it makes of that. The SSD is the one that holds
TMPDIR; its own speed is that of writing and reading the same bytes that a snapshot has, to and from
the medium. Page caches are dropped before each read where we may.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from forge.core.disk import Disk, DiskKind
from forge.host.restoring import restore
from forge.host.saving import Source, save
from forge.host.snapshots import SnapshotStore
from forge.host.tree_copies import copy_tree
from forge.host.trees import walk
from tests.bench.measure import machine, print_table, quartiles, report, timed
from tests.scenarios.conftest import clean_env, registry_source
from tests.scenarios.test_build_workspace import RIPGREP

MIB = 1024 * 1024
PLENTY = 1 << 50
MEMORY = Path("/dev/shm") if os.path.isdir("/dev/shm") else Path("/tmp")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gib", type=float, default=5.0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    before = machine()
    with (
        tempfile.TemporaryDirectory() as ssd,
        tempfile.TemporaryDirectory(dir=MEMORY, prefix="bench-") as memory,
    ):
        bench = Bench(Path(ssd), Path(memory), args.gib)
        bench.prepare()
        for _ in range(args.rounds):
            bench.run()
        bench.print()
        report(args, before, {"figures": bench.figures, "facts": bench.facts})


class Bench:
    """One project, its target dir in memory, and what was measured."""

    def __init__(self, ssd: Path, memory: Path, gib: float) -> None:
        self.ssd, self.memory, self.bytes = ssd, memory, int(gib * 1024) * MIB
        self.target = memory / "ripgrep-bench"
        self.env = clean_env() | {"CARGO_TARGET_DIR": str(self.target)}
        self.figures: dict[str, list[float]] = {}
        self.facts: dict[str, object] = {}
        self.rounds = 0

    def prepare(self) -> None:
        """Build, and repeat what was built."""
        self.project = registry_source("ripgrep", self.ssd / "src", f"={RIPGREP}")
        timed(["cargo", "fetch"], self.project, clean_env())
        self.note("cold build, dev, s", timed(["cargo", "build"], self.project, self.env))
        timed(["cargo", "build", "--release"], self.project, self.env)
        entries = walk(str(self.target)).entries
        each = sum(one.size_bytes for one in entries)
        for number in range(max(0, self.bytes // each - 1)):
            copy = self.target / "more" / str(number)
            copy.mkdir(parents=True)
            copy_tree(str(self.target), entries, str(copy))

    def run(self) -> None:
        """Save all, save a change, restore, and build."""
        store = SnapshotStore(str(self.ssd / f"s{self.rounds}" / "snapshots"), os.cpu_count() or 1)
        self.rounds += 1
        source = Source(str(self.target), None, "t", self.target.name)
        began, cpu = time.perf_counter(), time.process_time()
        whole = save(store, source, PLENTY)
        assert whole, "the first save has everything to save"
        self.rate("save, MiB/s", whole.size_bytes, began)
        self.note("save, CPU s", time.process_time() - cpu)
        self.facts |= {"size_bytes": whole.size_bytes, "files": whole.files,
                       "stored_bytes": whole.stored_bytes}  # fmt: skip
        self.own_speed(whole.stored_bytes, whole.size_bytes)
        with open(self.project / "crates" / "core" / "main.rs", "a") as file:
            file.write(f"// {self.rounds}\n")
        timed(["cargo", "build"], self.project, self.env)
        began = time.perf_counter()
        changed = save(store, source, PLENTY)
        assert changed, "a build has changed something"
        self.note("save of one change, s", time.perf_counter() - began)
        self.note("save of one change, MiB stored", changed.own_bytes / MIB)
        shutil.rmtree(self.target)
        drop_caches()
        disk = Disk(DiskKind.SHM, str(self.memory), 1, os.stat(self.memory).st_dev, "later")
        began, cpu = time.perf_counter(), time.process_time()
        restore(store, changed, disk, PLENTY)
        self.rate("restore, MiB/s", changed.size_bytes, began)
        self.note("restore, CPU s", time.process_time() - cpu)
        self.build_again()
        shutil.rmtree(store.directory)

    def build_again(self) -> None:
        """Build after a restore, and count what is compiled."""
        began = time.perf_counter()
        done = subprocess.run(
            ["cargo", "build", "--verbose"], cwd=self.project, env=self.env, capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        self.note("first build after a restore, dev, s", time.perf_counter() - began)
        self.note("units rebuilt", done.stderr.count("Compiling"))
        assert "Fresh" in done.stderr, "cargo tells what it did not compile"

    def own_speed(self, stored_bytes: int, size_bytes: int) -> None:
        """Write and read as many bytes as were stored; told in bytes of the target dir."""
        path = self.ssd / "plain"
        piece = os.urandom(4 * MIB)
        began = time.perf_counter()
        with open(path, "wb", buffering=0) as file:
            for _ in range(stored_bytes // len(piece)):
                file.write(piece)
            os.fsync(file.fileno())
        self.rate("the SSD by itself: writing, MiB/s of target", size_bytes, began)
        drop_caches()
        began = time.perf_counter()
        with open(path, "rb", buffering=0) as file:
            while file.read(len(piece)):
                pass
        self.rate("the SSD by itself: reading, MiB/s of target", size_bytes, began)
        path.unlink()

    def rate(self, name: str, size_bytes: int, began: float) -> None:
        """Note bytes of the target dir a second."""
        self.note(name, size_bytes / MIB / (time.perf_counter() - began))

    def note(self, name: str, value: float) -> None:
        """Note one figure."""
        self.figures.setdefault(name, []).append(value)
        print(f"{name}: {value:.2f}", flush=True)

    def print(self) -> None:
        """Print what was measured."""
        size, stored = (int(str(self.facts[name])) / MIB for name in ("size_bytes", "stored_bytes"))
        print(f"\n{size:.0f} MiB in {self.facts['files']} entries, {stored:.0f} MiB stored\n")
        rows = [
            [name, f"{quartiles(values)[1]:.2f}", f"{min(values):.2f} to {max(values):.2f}"]
            for name, values in self.figures.items()
        ]
        print_table(["what", "median", "range"], rows)


def drop_caches() -> None:
    """Let what is read come from the medium."""
    os.sync()
    with suppress(OSError):
        Path("/proc/sys/vm/drop_caches").write_text("3\n")


if __name__ == "__main__":
    main()
