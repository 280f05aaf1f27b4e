"""Four heavy builds in 4 GiB, with swap at hand: `python -m tests.bench.swap`, as root on Linux.

Each build has two binaries that carry 128 MiB of data, so that each of its rustcs needs some
770 MiB and each of its linkers some 310. All run in one memory cgroup with a limit and a swap file
to go on in: by plain cargo, with target dirs on a tmpfs as anybody would mount one, and by Forge,
whose daemon is in the cgroup as well. Neither finds anything of the other there. What is written to
swap and what the kernel kills are the machine's counters, which others may move as well; what of
the cgroup is in swap is sampled 100 times a second. The swap file is taken away whatever happens.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.bench.measure import arguments, machine, print_table, private_forge, report
from tests.scenarios.conftest import PrivateForge, clean_env
from tests.scenarios.tight_cgroup import tight_cgroup

BUILDS = 4
BINARIES = ("one", "two")
DATA_MIB = 128
LIMIT_GIB = 4
SWAP_GIB = 4
PLAIN, FORGE = "cargo", "forge"
SETTINGS = '[memory_map]\noperating_system = "512MiB"\nlinker_buffer = "2GiB"'
SOURCE = """static DATA: &[u8] = include_bytes!("../../data");
fn main() { println!("{}", DATA[std::env::args().count() * 4096]); }
"""
MANIFEST = """[package]
name = "{name}"
version = "0.1.0"
edition = "2021"
[profile.dev]
incremental = false
"""


@dataclass
class Sampler:
    """Samples how much of the cgroup, and of those below it, is in swap until told to stop."""

    cgroup: Path
    most_bytes: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self._ended.wait(0.01):
            self.most_bytes = max(self.most_bytes, swapped(self.cgroup))

    def stop(self) -> None:
        self._ended.set()


def swapped(cgroup: Path) -> int:
    """Return how much of a cgroup is in swap: memory.swap.current, or a line of memory.stat."""
    with contextlib.suppress(OSError):
        return int((cgroup / "memory.swap.current").read_text())
    with contextlib.suppress(OSError):
        return counter(cgroup / "memory.stat", "total_swap")
    return 0


def counter(file: Path, name: str) -> int:
    """Return a counter of a file with lines `name number`."""
    found = [line.split()[1] for line in file.read_text().splitlines() if line.split()[0] == name]
    return int(found[0]) if found else 0


@contextlib.contextmanager
def swap_file(place: Path) -> Iterator[None]:
    """Add a swap file, and take it away again; say so where that cannot be."""
    path = place / "swap"
    try:
        with path.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            os.posix_fallocate(file.fileno(), 0, SWAP_GIB << 30)
        subprocess.run(["mkswap", "-q", path], check=True)
        subprocess.run(["swapon", path], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"this machine does not let us add swap: {error}") from None
    try:
        yield
    finally:
        subprocess.run(["swapoff", path], check=True)


@contextlib.contextmanager
def plain_disk(place: Path) -> Iterator[Path]:
    """Mount a tmpfs as anybody would: its pages may be swapped."""
    disk = place / "plain"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", "plain", disk], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def make_crate(place: Path, name: str) -> Path:
    """Write a crate with two binaries that carry data of their own."""
    root = place / name
    (root / "src" / "bin").mkdir(parents=True)
    (root / "Cargo.toml").write_text(MANIFEST.format(name=name))
    (root / "data").write_bytes(os.urandom(DATA_MIB << 20))
    for binary in BINARIES:
        (root / "src" / "bin" / f"{binary}.rs").write_text(SOURCE)
    return root


def measured(
    way: str, crates: list[Path], forge: PrivateForge, disk: Path, cgroup: Path
) -> dict[str, float]:
    """Build all crates cold and at once, one way, and leave nothing in the cgroup."""
    if way is FORGE:
        must(forge, "disk", "mount")
    sampler = Sampler(cgroup)
    thread = threading.Thread(target=sampler.run, daemon=True)
    thread.start()
    vmstat, pages = Path("/proc/vmstat"), os.sysconf("SC_PAGE_SIZE")
    out, kills = counter(vmstat, "pswpout"), counter(vmstat, "oom_kill")
    began = time.monotonic()
    builds = []
    for crate in crates:
        command, env = [*forge.prefix, *forge.cli], dict(forge.env)
        if way is PLAIN:
            command = [*forge.prefix, "cargo"]
            env = clean_env() | {"CARGO_TARGET_DIR": str(disk / crate.name)}
        builds.append(
            subprocess.Popen(
                [*command, "build", "-q"], cwd=crate, env=env, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
    said = [build.communicate()[1] for build in builds]
    wall_s = time.monotonic() - began
    failures = [text for build, text in zip(builds, said, strict=True) if build.returncode]
    for text in failures:
        print(f"{way}: a build failed: {text[-300:]!r}", flush=True)
    sampler.stop()
    thread.join()
    figures = {
        "wall_s": wall_s,
        "swap_written_mib": (counter(vmstat, "pswpout") - out) * pages / 2**20,
        "most_in_swap_mib": sampler.most_bytes / 2**20,
        "oom_kills": counter(vmstat, "oom_kill") - kills,
        "failed_builds": len(failures),
    }
    if way is FORGE:
        print("largest link, MiB:", largest_link(forge) >> 20)
        must(forge, "disk", "unmount")
        must(forge, "daemon", "stop")
    for crate in crates:
        shutil.rmtree(disk / crate.name, ignore_errors=True)
    return figures


def largest_link(forge: PrivateForge) -> int:
    """Return the most that a linker needed, as the decision log tells."""
    return max((int(one["peak"]) for one in forge.decisions("link.ended")), default=0)


def must(forge: PrivateForge, *argv: str) -> str:
    """Run one of Forge's commands, which is to succeed."""
    done = forge.run(*argv, cwd=Path("/"))
    if done.returncode:
        raise SystemExit(f"`forge {' '.join(argv)}` failed: {done.stderr}")
    return done.stdout


def measure_all(rounds: int, place: Path) -> dict[str, list[dict[str, float]]]:
    """Measure each way in turn."""
    raw: dict[str, list[dict[str, float]]] = {PLAIN: [], FORGE: []}
    crates = [make_crate(place, f"heavy{number}") for number in range(BUILDS)]
    with (
        swap_file(place),
        tight_cgroup(LIMIT_GIB << 30, may_swap=True) as cgroup,
        private_forge() as forge,
        plain_disk(place) as disk,
    ):
        enter = f'echo $$ > "{cgroup}/cgroup.procs"; exec "$@"'
        forge.prefix = ("sh", "-c", enter, "sh")
        forge.configure(size="1536MiB", more=SETTINGS)
        must(forge, "build", "--manifest-path", str(crates[0] / "Cargo.toml"))  # makes the shim
        must(forge, "disk", "unmount")
        print(must(forge, "doctor"), flush=True)
        must(forge, "daemon", "stop")
        for turn in range(rounds):
            for way in (PLAIN, FORGE) if turn % 2 else (FORGE, PLAIN):
                raw[way].append(measured(way, crates, forge, disk, cgroup))
                told = {key: round(value, 1) for key, value in raw[way][-1].items()}
                print(way, told, flush=True)
    return raw


def main() -> None:
    """Measure and print."""
    args = arguments(__doc__ or "", rounds=3)
    before = machine()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        try:
            raw = measure_all(args.rounds, Path(place))
        except pytest.skip.Exception as reason:
            raise SystemExit(f"this machine does not let us: {reason}") from None
    rows = [
        [way, *(", ".join(f"{run[key]:.0f}" for run in runs) for key in runs[0])]
        for way, runs in raw.items()
    ]
    print_table(
        ["how", "wall, s", "swap written, MiB", "most in swap, MiB",
         "OOM kills", "failed builds"],
        rows,
    )  # fmt: skip
    report(args, before, raw)


if __name__ == "__main__":
    main()
