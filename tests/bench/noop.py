"""What `forge build` adds to a build that has nothing to do: `python -m tests.bench.noop`.

They run in turn, each in a target dir of its own on the RAM disk: in one and the same, cargo would
ask rustc for its version anew each time, because the gate comes and goes as RUSTC_WRAPPER.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.bench.measure import (
    arguments,
    machine,
    print_table,
    private_forge,
    quartiles,
    report,
    timed,
)
from tests.scenarios.conftest import WORKSPACE

GOAL_MS = 60.0


def main() -> None:
    """Measure and print."""
    args = arguments(__doc__ or "", rounds=30)
    before = machine()
    raw: dict[str, list[float]] = {"cargo build": [], "forge build": [], "forge --version": []}
    forge_program = Path(sys.executable).parent / "forge"
    with private_forge() as forge, tempfile.TemporaryDirectory() as place:
        command = [str(forge_program)] if os.access(forge_program, os.X_OK) else list(forge.cli)
        project = Path(place) / "workspace"
        shutil.copytree(WORKSPACE, project, ignore=shutil.ignore_patterns("target", "Cargo.lock"))
        timed([*command, "build"], project, forge.env)
        beside = {**forge.env, "CARGO_TARGET_DIR": str(forge.mount_point / "plain")}
        timed(["cargo", "build"], project, beside)
        for _ in range(args.rounds):
            raw["cargo build"].append(timed(["cargo", "build"], project, beside))
            raw["forge build"].append(timed([*command, "build"], project, forge.env))
            raw["forge --version"].append(timed([*command, "--version"], project, forge.env))
    rows = []
    for name, values in raw.items():
        low, middle, high = (1000 * value for value in quartiles(values))
        rows.append([f"`{name}`", f"{middle:.1f}", f"{low:.1f} to {high:.1f}", f"{len(values)}"])
    print_table(["command", "median, ms", "middle half, ms", "runs"], rows)
    more_ms = 1000 * (quartiles(raw["forge build"])[1] - quartiles(raw["cargo build"])[1])
    print(f"\n`forge build` takes {more_ms:.1f} ms more in the median; goal: {GOAL_MS:.0f} ms")
    report(args, before, raw)


if __name__ == "__main__":
    main()
