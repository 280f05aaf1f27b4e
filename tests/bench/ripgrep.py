"""ripgrep, cold and after a change, three ways in turn: `python -m tests.bench.ripgrep`.

Forge on the RAM disk, Forge with `disk.kind = "none"`, and plain cargo; the latter two build on the
disk that holds TMPDIR. Each cold build starts from no target dir, each incremental one from a
comment added to crates/core/main.rs. Sources are in the page cache.
"""

import os
import shutil
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
from tests.scenarios.conftest import PrivateForge, clean_env, package, registry_source
from tests.scenarios.test_build_workspace import RIPGREP

WAYS = ("forge, RAM disk", "forge, SSD", "cargo, SSD")


def build(way: str, project: Path, on_ram: PrivateForge, on_ssd: PrivateForge) -> float:
    """Build one way; return its wall time in seconds."""
    if way == "cargo, SSD":
        return timed(["cargo", "build"], project, clean_env())
    forge = on_ram if way == "forge, RAM disk" else on_ssd
    return timed([*forge.cli, "build"], project, forge.env)


def main() -> None:
    """Measure and print."""
    args = arguments(__doc__ or "", rounds=3)
    before = machine()
    raw: dict[str, dict[str, list[float]]] = {way: {"cold": [], "incremental": []} for way in WAYS}
    with private_forge() as on_ram, private_forge() as on_ssd, tempfile.TemporaryDirectory() as at:
        on_ssd.configure(kind="none")
        source = registry_source("ripgrep", Path(at), f"={RIPGREP}")
        projects = {way: Path(shutil.copytree(source, Path(at) / f"p{n}")) for n, way in
                    enumerate(WAYS)}  # fmt: skip
        timed(["cargo", "fetch"], source, clean_env())
        for way in WAYS:  # starts the daemons and builds their shim before the clock runs
            build(way, package(Path(at) / f"warm up {way}"), on_ram, on_ssd)
        for turn in range(args.rounds):
            for way in rotated(WAYS, turn):
                shutil.rmtree(on_ram.target_dir(projects[way]), ignore_errors=True)
                shutil.rmtree(projects[way] / "target", ignore_errors=True)
                os.sync()
                raw[way]["cold"].append(build(way, projects[way], on_ram, on_ssd))
            for way in rotated(WAYS, turn):
                with open(projects[way] / "crates" / "core" / "main.rs", "a") as file:
                    file.write(f"// {turn}\n")
                raw[way]["incremental"].append(build(way, projects[way], on_ram, on_ssd))
    rows = []
    for way in WAYS:
        cells = []
        for kind in ("cold", "incremental"):
            values = raw[way][kind]
            cells += [f"{quartiles(values)[1]:.2f}", f"{min(values):.2f} to {max(values):.2f}"]
        rows.append([way, *cells])
    print_table(["build", "cold, s", "range", "incremental, s", "range"], rows)
    report(args, before, raw)


def rotated(ways: tuple[str, ...], turn: int) -> tuple[str, ...]:
    """Let each way go first in turn."""
    at = turn % len(ways)
    return ways[at:] + ways[:at]


if __name__ == "__main__":
    main()
