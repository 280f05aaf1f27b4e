"""Four cold builds of real crates: `python -m tests.bench.concurrent`.

(a) one after another by plain cargo, (b) all at once by plain cargo, (c) all at once by Forge, in
turn. All target dirs lie on the same RAM disk, so that the disk is not what differs. Memory is the
sum of what compilers and linkers hold, sampled 20 times a second.
"""

import shutil
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.bench.measure import arguments, machine, print_table, private_forge, quartiles, report
from tests.scenarios.conftest import PrivateForge, clean_env, package, registry_source

CRATES = {"ripgrep": "14", "fd-find": "10", "tokei": "12", "hyperfine": "=1.20.0"}
WAYS = ("cargo, one after another", "cargo, all at once", "forge, all at once")
COMPILERS = ("rustc", "clippy-driver", "ld", "lld", "ld.lld", "rust-lld", "mold", "collect2", "cc")
SAMPLE_S = 0.05


@dataclass
class Memory:
    """Samples the compilers' memory until told to stop."""

    peak_mib: float = 0.0
    most: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            held, count = 0, 0
            for process in psutil.process_iter(["name", "memory_info"]):
                info = process.info
                if info["name"] in COMPILERS and info["memory_info"]:
                    held += info["memory_info"].rss
                    count += info["name"] == "rustc"
            self.peak_mib = max(self.peak_mib, held / 2**20)
            self.most = max(self.most, count)

    def stop(self) -> None:
        self._ended.set()


def measured(way: str, projects: dict[str, Path], forge: PrivateForge) -> dict[str, float]:
    """Build all four cold, one way; return wall, mean completion, and peaks."""
    for project in projects.values():
        shutil.rmtree(forge.target_dir(project), ignore_errors=True)
        shutil.rmtree(forge.mount_point / f"plain-{project.name}", ignore_errors=True)
    memory = Memory()
    sampler = threading.Thread(target=memory.run, daemon=True)
    sampler.start()
    began = time.monotonic()
    done_s = []
    running = []
    for project in projects.values():
        command = [*forge.cli] if way.startswith("forge") else ["cargo"]
        env = dict(forge.env)
        if not way.startswith("forge"):
            env = clean_env() | {
                "CARGO_TARGET_DIR": str(forge.mount_point / f"plain-{project.name}")
            }
        process = subprocess.Popen(
            [*command, "build", "-q"], cwd=project, env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        running.append(process)
        if way.endswith("another"):
            process.wait()
            done_s.append(time.monotonic() - began)
    waiting = [one for one in running if one.returncode is None]
    while waiting:
        time.sleep(0.01)
        for one in [one for one in waiting if one.poll() is not None]:
            done_s.append(time.monotonic() - began)
            waiting.remove(one)
    memory.stop()
    sampler.join()
    for process in running:
        _, errors = process.communicate()
        if process.returncode:
            raise SystemExit(
                f"{way}: {process.args!r} ended with {process.returncode}:\n{errors!r}"
            )
    return {
        "wall_s": max(done_s),
        "mean_s": sum(done_s) / len(done_s),
        "peak_mib": memory.peak_mib,
        "most_rustc": memory.most,
    }


def main() -> None:
    """Measure and print."""
    args = arguments(__doc__ or "", rounds=3)
    before = machine()
    raw: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with private_forge() as forge, tempfile.TemporaryDirectory() as place:
        forge.configure(size="6GiB")
        projects = {}
        for name, version in CRATES.items():
            projects[name] = registry_source(name, Path(place) / f"of-{name}", version)
            fetched = ["cargo", "fetch", "-q"]
            subprocess.run(fetched, cwd=projects[name], env=clean_env(), check=True)
        forge.run("build", cwd=package(Path(place) / "warm"))
        for turn in range(args.rounds):
            for way in WAYS[turn % len(WAYS) :] + WAYS[: turn % len(WAYS)]:
                raw[way].append(measured(way, projects, forge))
                print(
                    way, {key: round(value, 1) for key, value in raw[way][-1].items()}, flush=True
                )
    rows = []
    for way, runs in raw.items():
        cells = [f"{quartiles([run[key] for run in runs])[1]:.1f}" for key in runs[0]]
        walls = [run["wall_s"] for run in runs]
        rows.append([way, *cells, f"{min(walls):.1f} to {max(walls):.1f}"])
    print_table(
        ["how", "wall, s", "mean completion, s", "peak, MiB", "rustc at once", "range of wall"],
        rows,
    )
    report(args, before, raw)


if __name__ == "__main__":
    main()
