"""A 1 GiB model in a cgroup of 2.5 GiB beside heavy builds: `python -m tests.bench.residency`.

The server, the daemon and the builds are all in one cgroup; the kernel takes its page cache when
its limit is reached. The model is mapped, and not locked; with `--locked` it is. Two ways in turn:
plain cargo, and Forge. Each of four builds has two binaries that carry 64 MiB of data, so that a
rustc, and its linker after it, need about 400 MiB. What is shown is the least of the model that was
in memory, sampled ten times a second, what the server read from disk, refaults of the cgroup, and
whether anybody was killed. As root, with cgroup version 1.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.bench.measure import machine, print_table, private_forge, report
from tests.llama.models import Model, write_model
from tests.llama.server import LlamaServer, llama_server
from tests.scenarios.conftest import PrivateForge, clean_env
from tests.scenarios.tight_cgroup import tight_cgroup

MODEL_MIB = 1024
LIMIT_MIB = 2560
CRATES = 4
BINARIES = ("one", "two")
DATA_MIB = 64
SOURCE = """static DATA: &[u8] = include_bytes!("../../data");
fn main() { println!("{}", DATA[std::env::args().count() * 4096]); }
"""
LOCK = ("--load-mode", "mmap+mlock")
SERVER = ("-t", "1", "-np", "1", "-c", "2048", "--cache-ram", "0")
CARGO, FORGE = "cargo", "forge"


def make_crate(place: Path, name: str) -> Path:
    """Write a crate with two binaries that carry data."""
    root = place / name
    (root / "src" / "bin").mkdir(parents=True)
    (root / "Cargo.toml").write_text(
        f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n'
        "[profile.dev]\nincremental = false\n"
    )
    (root / "data").write_bytes(os.urandom(DATA_MIB << 20))
    for binary in BINARIES:
        (root / "src" / "bin" / f"{binary}.rs").write_text(SOURCE)
    return root


@dataclass
class Watch:
    """Samples what the server has of its model."""

    server: LlamaServer
    model: Path
    lowest: float = 1.0
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        size = self.model.stat().st_size
        while not self._over.wait(0.1):
            resident = self._resident()
            if resident is not None:
                self.lowest = min(self.lowest, resident / size)

    def stop(self) -> None:
        self._over.set()

    def _resident(self) -> int | None:
        assert self.server.process
        resident, is_model = 0, False
        try:
            smaps = Path(f"/proc/{self.server.process.pid}/smaps").read_text()
        except OSError:
            return None
        for line in smaps.splitlines():
            words = line.split()
            if not words[0].endswith(":"):
                is_model = words[-1] == str(self.model)
            elif is_model and words[0] == "Rss:":
                resident += int(words[1]) * 1024
        return resident or None


def ask_on(server: LlamaServer, over: threading.Event, done: list[float]) -> None:
    """Let the server generate a few tokens each second, as long as it lives."""
    while not over.is_set():
        began = time.monotonic()
        try:
            server.complete(2, timeout_s=300.0)
        except OSError:
            return
        done.append(time.monotonic() - began)
        over.wait(1.0)


def refaults(cgroup: Path) -> int:
    """Count pages of the cgroup that were evicted and wanted again."""
    stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    return int(stat.get("workingset_refault_file") or stat.get("workingset_refault") or 0)


def measured(
    way: str, crates: list[Path], forge: PrivateForge, model: Path, locked: bool
) -> dict[str, Any]:
    """Build all crates cold and at once beside the server, one way."""
    with tight_cgroup(LIMIT_MIB << 20) as cgroup:
        inside = f'echo 0 > {cgroup}/cgroup.procs && exec "$@"'
        args = (*SERVER, *(LOCK if locked else ()))
        with llama_server(model, *args, cgroup=cgroup) as server:
            assert server.process
            forge.configure(size="256MiB", kind="directory", builds="at_once = 8", more=(
                f"[memory_map]\nmodel = \"1GiB\"\n"
                f'[inference]\nurl = "{server.url}"\n'
            ))  # fmt: skip
            forge.prefix = ("sh", "-c", inside, "sh")
            if way is FORGE:
                assert forge.run("daemon", "restart", cwd=crates[0]).returncode == 0
                time.sleep(2)
            watch = Watch(server, model)
            over, done = threading.Event(), list[float]()
            threads = [
                threading.Thread(target=watch.run),
                threading.Thread(target=ask_on, args=(server, over, done)),
            ]
            for thread in threads:
                thread.start()
            before = psutil.Process(server.process.pid).io_counters().read_bytes
            faults = refaults(cgroup)
            began = time.monotonic()
            ends = [build.wait() for build in _start(way, crates, forge, inside)]
            wall_s = time.monotonic() - began
            is_alive = server.process.poll() is None
            read = 0
            if is_alive:
                read = psutil.Process(server.process.pid).io_counters().read_bytes - before
            found = {
                "wall_s": round(wall_s, 1), "lowest": round(watch.lowest, 4), "read_bytes": read,
                "refaults": refaults(cgroup) - faults, "server_lives": is_alive,
                "builds_failed": sum(code != 0 for code in ends),
                "answers": len(done), "slowest_answer_s": round(max(done, default=0.0), 2),
            }  # fmt: skip
            over.set()
            watch.stop()
            for thread in threads:
                thread.join()
            if way is FORGE:
                found["decisions"] = [
                    one["decision"] for one in forge.decisions()
                    if one["decision"] in ("memory.tight", "link.cancelled", "inference.changed")
                ]  # fmt: skip
                forge.run("daemon", "stop", cwd=crates[0])
            forge.prefix = ()
    return found


def _start(way: str, crates: list[Path], forge: PrivateForge, inside: str) -> list[Any]:
    builds = []
    for crate in crates:
        shutil.rmtree(forge.home / f"plain-{crate.name}", ignore_errors=True)
        plain = clean_env() | {"CARGO_TARGET_DIR": str(forge.home / f"plain-{crate.name}")}
        command, env = ["cargo"], plain
        if way is FORGE:
            shutil.rmtree(forge.target_dir(crate), ignore_errors=True)
            command, env = [*forge.cli], dict(forge.env)
        builds.append(subprocess.Popen(
            ["sh", "-c", inside, "sh", *command, "build", "-q"], cwd=crate, env=env,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        ))  # fmt: skip
    return builds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the raw figures to this file")
    parser.add_argument("--locked", action="store_true", help="lock the model")
    parser.add_argument("--place", type=Path, help="a directory on a disk, for model and objects")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was made is taken away
    before = machine()
    raw: dict[str, list[dict[str, Any]]] = {CARGO: [], FORGE: []}
    with private_forge() as forge, tempfile.TemporaryDirectory(dir=args.place) as name:
        place = Path(name)
        model = write_model(place / "model.gguf", Model(layers=8).of_size(MODEL_MIB << 20))
        crates = [make_crate(place, f"heavy{number}") for number in range(CRATES)]
        for turn in range(args.rounds):
            for way in (CARGO, FORGE) if turn % 2 else (FORGE, CARGO):
                raw[way].append(measured(way, crates, forge, model, args.locked))
                print(way, raw[way][-1], flush=True)
    rows = [
        [
            way, f"{min(run['lowest'] for run in runs):.0%}",
            f"{max(run['read_bytes'] for run in runs) / 2**30:.2f}",
            str(max(run["refaults"] for run in runs)),
            f"{sum(not run['server_lives'] for run in runs)} of {len(runs)}",
            str(sum(run["builds_failed"] for run in runs)),
            f"{sorted(run['wall_s'] for run in runs)[len(runs) // 2]:.1f}",
        ]
        for way, runs in raw.items()
    ]  # fmt: skip
    print_table(
        ["builds by", "least of the model in memory", "re-read, GiB", "refaults", "server killed",
         "builds failed", "wall, s"], rows,
    )  # fmt: skip
    report(args, before, raw)


if __name__ == "__main__":
    main()
