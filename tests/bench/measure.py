"""What the benchmarks share: a private Forge, the machine's description, tables and raw figures."""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.scenarios.conftest import PrivateForge, clean_env, open_forge


def arguments(description: str, rounds: int) -> argparse.Namespace:
    """Read the command line that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"default {rounds}")
    parser.add_argument("--json", type=Path, help="write the raw figures to this file")
    return parser.parse_args()


@contextmanager
def private_forge() -> Iterator[PrivateForge]:
    """Give a Forge of our own, taken apart afterwards."""
    cache = Path(tempfile.mkdtemp(prefix="of-cache", dir="/tmp"))
    forge = open_forge(cache, "ob")
    try:
        yield forge
    finally:
        forge.take_apart()
        shutil.rmtree(cache, ignore_errors=True)


def timed(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> float:
    """Run a command that must succeed; return its wall time in seconds."""
    before = time.perf_counter()
    done = subprocess.run(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    took_s = time.perf_counter() - before
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return took_s


def machine() -> dict[str, Any]:
    """Describe where the figures come from, load included."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    versions = {
        tool: subprocess.run(
            [tool, "--version"], capture_output=True, text=True, env=clean_env()
        ).stdout.strip()
        for tool in ("cargo", "rustc")
    }
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "python": sys.version.split()[0],
        **versions,
        "load": [round(value, 2) for value in os.getloadavg()],
        "at": time.strftime("%Y-%m-%d %H:%M"),
    }


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    if len(values) < 2:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a markdown table."""
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(row) + " |")


def report(args: argparse.Namespace, before: Mapping[str, Any], raw: Mapping[str, Any]) -> None:
    """Print the machine, and write everything to the file that was named."""
    after = machine()
    print(f"\n{before['system']}, {before['cores']} cores, {before['memory_gib']} GiB,", end=" ")
    print(f"{before['cargo']}, {before['rustc']}, Python {before['python']};", end=" ")
    print(f"load {before['load'][0]} before, {after['load'][0]} after")
    if args.json:
        args.json.write_text(json.dumps({"machine": before, "raw": raw}, indent=1) + "\n")
