"""A server that generates beside four cold builds: `python -m tests.bench.inference`.

Three ways in turn: alone; beside four cold builds by plain cargo; beside the same four by Forge.
The server streams one request after another, as an agent that is at work has it, for as long as the
builds run. Each is in a session of its own, as with `screen` and ssh. `--variant` sets settings of
[inference] for further ways by Forge, as in `--variant cores=0`.
"""

import argparse
import random
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.measure import machine, print_table, private_forge, report
from tests.llama.models import Model, write_model
from tests.llama.server import LlamaServer, llama_server
from tests.scenarios.conftest import PrivateForge, clean_env, package, registry_source

CRATES = {"hexyl": "0.16", "sd": "1", "choose": "1.3", "hyperfine": "=1.20.0"}
"""Four small ones: many rounds in the time of few, since other load comes and goes."""

MODEL_MIB = 256
TOKENS = 64
ALONE_S = 30.0
PAUSE_S = 0.05
"""What a client needs between two requests."""

ALONE, CARGO, FORGE = "alone", "beside cargo", "beside forge"


@dataclass
class Client:
    """Asks for tokens until told to stop."""

    server: LlamaServer
    gaps_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    tokens: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        rng = random.Random(7)
        while not self._over.is_set():
            words = " ".join(f"word{rng.randrange(999)}" for _ in range(4))
            last = asked = time.perf_counter()
            for number, at in enumerate(self.server.stream(TOKENS, words, 600.0)):
                (self.gaps_s if number else self.first_s).append(at - last)
                last = at
                self.tokens += 1
                if self._over.is_set() and at - asked > 60.0:
                    return
            time.sleep(PAUSE_S)

    def stop(self) -> None:
        self._over.set()


def start_builds(way: str, projects: list[Path], forge: PrivateForge) -> list[Any]:
    """Begin all builds cold, by plain cargo or by Forge."""
    builds = []
    for project in projects:
        plain = forge.mount_point / f"plain-{project.name}"
        shutil.rmtree(forge.target_dir(project), ignore_errors=True)
        shutil.rmtree(plain, ignore_errors=True)
        command, env = ["cargo"], clean_env() | {"CARGO_TARGET_DIR": str(plain)}
        if way != CARGO:
            command, env = [*forge.cli], forge.env | {"FORGE_PRIORITY": "batch"}
        builds.append(subprocess.Popen(
            [*command, "build", "-q"], cwd=project, env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        ))  # fmt: skip
    return builds


def measured(
    way: str, server: LlamaServer, projects: list[Path], forge: PrivateForge
) -> dict[str, Any]:
    """Let the server generate beside builds, or alone, and say how it did."""
    client = Client(server)
    thread = threading.Thread(target=client.run)
    began = time.monotonic()
    thread.start()
    try:
        if way is ALONE:
            time.sleep(ALONE_S)
        else:
            for build in start_builds(way, projects, forge):
                if build.wait():
                    raise SystemExit(f"{way}: a build ended with {build.returncode}")
        wall_s = time.monotonic() - began
        tokens = client.tokens
    finally:
        client.stop()
        thread.join()
    return {
        "wall_s": round(wall_s, 2),
        "tokens_per_s": round(tokens / wall_s, 2),
        "gaps_ms": [round(gap * 1e3, 2) for gap in client.gaps_s],
        "first_ms": [round(first * 1e3, 2) for first in client.first_s],
    }


def figures(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Sum up all rounds of one way."""
    gaps = sorted(gap for run in runs for gap in run["gaps_ms"])
    firsts = sorted(first for run in runs for first in run["first_ms"])
    return {
        "p50": gaps[len(gaps) // 2],
        "p99": gaps[int(len(gaps) * 0.99)],
        "max": gaps[-1],
        "first": firsts[len(firsts) // 2],
        "first99": firsts[int(len(firsts) * 0.99)],
        "rate": statistics.median(run["tokens_per_s"] for run in runs),
        "wall": statistics.median(run["wall_s"] for run in runs),
    }


def table(raw: dict[str, list[dict[str, Any]]]) -> None:
    """Print all ways, and what they are against alone and against plain cargo."""
    alone = figures(raw[ALONE])
    cargo = figures(raw[CARGO]) if raw.get(CARGO) else None
    rows = []
    for way, runs in raw.items():
        one = figures(runs)
        beside = "" if way == ALONE or not cargo else f"{one['wall'] / cargo['wall']:.2f}"
        rows.append([
            way, f"{one['p50']:.1f}", f"{one['p50'] / alone['p50']:.2f}", f"{one['p99']:.1f}",
            f"{one['p99'] / alone['p99']:.2f}", f"{one['max']:.0f}", f"{one['first']:.0f}",
            f"{one['first99']:.0f}", f"{one['rate']:.1f}",
            "" if way == ALONE else f"{one['wall']:.1f}", beside,
        ])  # fmt: skip
    print_table(
        ["server", "p50, ms", "x alone", "p99, ms", "x alone", "max, ms", "first token, ms",
         "its p99, ms", "tokens/s", "builds' wall, s", "x cargo"], rows,
    )  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the raw figures to this file")
    parser.add_argument("--variant", action="append", default=[], metavar="NAME=VALUE[,…]")
    parser.add_argument("--crates", default=",".join(CRATES))
    parser.add_argument("--no-cargo", action="store_true", help="for a quick look: no plain cargo")
    args = parser.parse_args()
    before = machine()
    ways = [ALONE, *([] if args.no_cargo else [CARGO]), FORGE, *args.variant]
    raw: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    with private_forge() as forge, tempfile.TemporaryDirectory() as name:
        place = Path(name)
        projects = [
            registry_source(crate, place / f"of-{crate}", CRATES[crate])
            for crate in args.crates.split(",")
        ]
        for one in projects:
            subprocess.run(["cargo", "fetch", "-q"], cwd=one, env=clean_env(), check=True)
        model = write_model(place / "model.gguf", Model(layers=8).of_size(MODEL_MIB << 20))
        with llama_server(model) as server:
            for turn in range(args.rounds):
                for way in ways[turn % len(ways) :] + ways[: turn % len(ways)]:
                    policy = "" if "=" not in way else way.replace(",", "\n")
                    forge.configure(
                        size="6GiB", more=f'[inference]\nurl = "{server.url}"\n{policy}'
                    )
                    forge.run("daemon", "restart", cwd=place)
                    if turn == 0:
                        forge.run("build", cwd=package(place / f"warm-{way[:8].strip()}"))
                    raw[way].append(measured(way, server, projects, forge))
                    last = figures(raw[way][-1:])
                    print(way, {key: round(value, 1) for key, value in last.items()}, flush=True)
    table(raw)
    report(args, before, raw)


if __name__ == "__main__":
    main()
