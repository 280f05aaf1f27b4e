"""How well links' memory is foreseen, on real crates: `python -m tests.bench.estimates`.

Each crate is built with its tests, cold, twice, with a line added to its sources in between: the
first time links book by the size of their inputs, the second time by what they needed before. The
decision log tells of each link what it had booked and what it needed. Links of binaries and of test
binaries are told apart from those of build scripts and procedural macros, which are small and many.
"""

import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.measure import arguments, machine, print_table, private_forge, report
from tests.scenarios.conftest import PrivateForge, clean_env, registry_source

CRATES = {
    "ripgrep": "14", "fd-find": "10", "tokei": "12", "hyperfine": "=1.20.0", "sd": "1",
    "hexyl": "=0.16.0", "zoxide": "=0.9.6", "grex": "=1.4.5", "just": "=1.40.0",
}  # fmt: skip
COMMANDS = (("build", "-q"), ("test", "--no-run", "-q"))
FIRST, SECOND = "first run, by inputs", "second run, as learned"

Link = dict[str, Any]


def linked(project: Path, forge: PrivateForge) -> list[Link]:
    """Build a crate and its tests with an empty target dir; return its links."""
    shutil.rmtree(forge.target_dir(project), ignore_errors=True)
    before = len(forge.decisions("link.ended"))
    for command in COMMANDS:
        done = subprocess.run(
            [*forge.cli, *command], cwd=project, env=forge.env, stdin=subprocess.DEVNULL,
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{project.name}: {command} ended badly:\n{done.stderr[-2000:]}")
    return [{**one, "crate": project.name} for one in forge.decisions("link.ended")[before:]]


def change(project: Path) -> None:
    """Add a line to each file that is a crate's root, as somebody's next edit would."""
    for source in project.glob("**/src/**/*.rs"):
        if source.name in ("main.rs", "lib.rs"):
            with source.open("a") as file:
                file.write("// another line\n")


def is_program(link: Link) -> bool:
    """Say whether what was linked is a binary or a test, and no part of the build itself."""
    return "/build/" not in link["link"] and not link["link"].endswith((".so", ".dylib"))


def row(title: str, links: list[Link]) -> list[str]:
    """Sum up how links were foreseen."""
    ratios = sorted(one["booked"] / one["peak"] for one in links if one["peak"])
    under = [ratio for ratio in ratios if ratio < 1.0]
    booked, peak = sum(one["booked"] for one in links), sum(one["peak"] for one in links)
    return [
        title, str(len(ratios)), str(sum(one["learned"] for one in links)),
        f"{len(under)} ({100 * len(under) / len(ratios):.1f} %)",
        f"{min(ratios):.2f}", f"{statistics.mean(ratios):.2f}", f"{booked / peak:.2f}",
        f"{max(ratios):.2f}",
    ]  # fmt: skip


def main() -> None:
    """Measure and print."""
    args = arguments(__doc__ or "", rounds=1)
    before = machine()
    raw: dict[str, list[Link]] = {FIRST: [], SECOND: []}
    with private_forge() as forge, tempfile.TemporaryDirectory() as place:
        forge.configure(size="6GiB", more='[daemon]\nlog_size = "64MiB"')
        for name, version in CRATES.items():
            project = registry_source(name, Path(place) / f"of-{name}", version)
            subprocess.run(["cargo", "fetch", "-q"], cwd=project, env=clean_env(), check=True)
            raw[FIRST] += linked(project, forge)
            change(project)
            raw[SECOND] += linked(project, forge)
            shutil.rmtree(forge.target_dir(project), ignore_errors=True)
            print(name, {run: len(links) for run, links in raw.items()}, flush=True)
    rows = []
    for run, links in raw.items():
        programs = [one for one in links if is_program(one)]
        rows.append(row(f"{run}: binaries and tests", programs))
        rows.append(row(f"{run}: all links", links))
    print_table(
        ["links", "count", "learned", "under", "least", "mean, each", "of all bytes", "most"], rows
    )
    report(args, before, raw)


if __name__ == "__main__":
    main()
