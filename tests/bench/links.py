"""Eight heavy links at once under a small linker buffer: `python -m tests.bench.links`.

Each of eight crates links an object of 250 MiB, so that its linker peaks above 500 MiB. Three ways
in turn: plain cargo, Forge with a buffer that never holds anything back, and Forge with a buffer of
1.5 GiB. Forge is told that it has eight cores, so that cores hold back nothing either. Memory is
the sum of what linkers have resident, sampled 20 times a second.
"""

import shutil
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.bench.measure import (
    arguments,
    machine,
    print_table,
    private_forge,
    quartiles,
    report,
)  # fmt: skip
from tests.scenarios.conftest import PrivateForge, clean_env

CRATES = 8
OBJECT_MIB = 250
BUFFER_MIB = 1536
LINKERS = ("ld", "lld", "ld.lld", "rust-lld", "mold", "collect2")
PLAIN, FREE, BOUND = "cargo", "forge, no bound", f"forge, {BUFFER_MIB / 1024:g} GiB"


@dataclass
class Linkers:
    """Samples the linkers' memory until told to stop."""

    peak_mib: float = 0.0
    most: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self._ended.wait(0.05):
            found = [
                process.info["memory_info"].rss
                for process in psutil.process_iter(["name", "memory_info"])
                if process.info["name"] in LINKERS and process.info["memory_info"]
            ]
            large = [rss for rss in found if rss > 8 * 2**20]  # a driver is none
            self.peak_mib = max(self.peak_mib, sum(large) / 2**20)
            self.most = max(self.most, len(large))

    def stop(self) -> None:
        self._ended.set()


def make_object(place: Path) -> Path:
    """Assemble an object file that is nothing but size."""
    block = bytes(range(256)) * 4096
    with (place / "data").open("wb") as data:
        for _ in range(OBJECT_MIB):
            data.write(block)
    source = '.section .rodata\n.globl forge_bulk\nforge_bulk:\n.incbin "data"\n'
    (place / "bulk.s").write_text(source + '.section .note.GNU-stack,"",@progbits\n')
    subprocess.run(["gcc", "-c", "bulk.s", "-o", "bulk.o"], cwd=place, check=True)
    (place / "data").unlink()
    return place / "bulk.o"


def make_crate(place: Path, name: str, bulk: Path) -> Path:
    """Write a crate that links the object and keeps it."""
    root = place / name
    (root / "src").mkdir(parents=True)
    (root / "Cargo.toml").write_text(
        f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n'
    )
    (root / "build.rs").write_text(
        f'fn main() {{ println!("cargo:rustc-link-arg-bins={bulk}"); }}\n'
    )
    (root / "src/main.rs").write_text(
        'extern "C" { static forge_bulk: u8; }\n'
        'fn main() { println!("{}", unsafe { forge_bulk }); }\n'
    )
    return root


def measured(way: str, crates: list[Path], forge: PrivateForge) -> dict[str, float]:
    """Build all crates cold and at once, one way."""
    for crate in crates:
        shutil.rmtree(forge.target_dir(crate), ignore_errors=True)
        shutil.rmtree(forge.mount_point / f"plain-{crate.name}", ignore_errors=True)
    linkers = Linkers()
    sampler = threading.Thread(target=linkers.run, daemon=True)
    sampler.start()
    began = time.monotonic()
    builds = []
    for crate in crates:
        plain = clean_env() | {"CARGO_TARGET_DIR": str(forge.mount_point / f"plain-{crate.name}")}
        command, env = (["cargo"], plain) if way is PLAIN else ([*forge.cli], dict(forge.env))
        builds.append(
            subprocess.Popen(
                [*command, "build", "-q"], cwd=crate, env=env, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
    for build in builds:
        _, errors = build.communicate()
        if build.returncode:
            raise SystemExit(f"{way}: a build ended with {build.returncode}:\n{errors!r}")
    wall_s = time.monotonic() - began
    linkers.stop()
    sampler.join()
    return {"wall_s": wall_s, "peak_mib": linkers.peak_mib, "most_linkers": linkers.most}


def machine_of(way: str) -> str:
    """Return the settings by which the linker buffer has the size that is wanted."""
    rows = {
        "model": 0, "draft_model": 0,
        "linker_buffer": 8192 if way is FREE else BUFFER_MIB,
    }  # fmt: skip
    lines = [f'{key} = "{size}MiB"' for key, size in rows.items()]
    return "\n".join(["[host]", "cores = 8", "[memory_map]", *lines])


def main() -> None:
    """Measure and print."""
    args = arguments(__doc__ or "", rounds=5)
    before = machine()
    ways = (PLAIN, FREE, BOUND)
    raw: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    with private_forge() as forge, tempfile.TemporaryDirectory() as name:
        place = Path(name)
        bulk = make_object(place)
        crates = [make_crate(place, f"heavy{number}", bulk) for number in range(CRATES)]
        for turn in range(args.rounds):
            for way in ways[turn % 3 :] + ways[: turn % 3]:
                forge.configure(size="6GiB", builds="at_once = 8", more=machine_of(way))
                forge.run("daemon", "restart", cwd=place)
                raw[way].append(measured(way, crates, forge))
                print(
                    way, {key: round(value, 1) for key, value in raw[way][-1].items()}, flush=True
                )
    rows = []
    for way, runs in raw.items():
        walls = [run["wall_s"] for run in runs]
        rows.append(
            [
                way, f"{quartiles(walls)[1]:.1f}", f"{min(walls):.1f} to {max(walls):.1f}",
                f"{max(run['peak_mib'] for run in runs):.0f}",
                f"{max(run['most_linkers'] for run in runs):.0f}",
            ]
        )  # fmt: skip
    print_table(["how", "wall, s", "range", "largest sum of linkers, MiB", "at once"], rows)
    report(args, before, raw)


if __name__ == "__main__":
    main()
