"""What the native shim adds: `python -m tests.bench.shim`.

The wrapper against the real cargo for `--version` and a no-op build, each in turn; the gates
against plain cargo for the cold build of 200 small crates in a target dir on the same disk. The
daemon is the real one; `--crates` and `--builds` make it shorter.
"""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from forge.host.shim import current_shim
from tests.bench.measure import machine, print_table, private_forge, quartiles, report, timed
from tests.scenarios.conftest import WORKSPACE

GOALS = "goals: wrapper at most 5 ms more, a cold tree at most 2 % slower"


def tree(root: Path, crates: int) -> Path:
    """Write a workspace of small libraries, each of which uses the one a third of the way back."""
    members = [f"c{number:03d}" for number in range(crates)]
    for number, name in enumerate(members):
        before = members[number // 3] if number >= 3 else None
        (root / name / "src").mkdir(parents=True)
        use = f'\n[dependencies]\n{before} = {{ path = "../{before}" }}\n' if before else ""
        (root / name / "Cargo.toml").write_text(
            f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n{use}'
        )
        calls = f"    out.push({before}::work(input).len());\n" if before else ""
        (root / name / "src" / "lib.rs").write_text(
            "use std::collections::BTreeMap;\n"
            "pub fn work(input: &[usize]) -> Vec<usize> {\n"
            "    let mut seen: BTreeMap<usize, String> = BTreeMap::new();\n"
            '    for one in input { seen.insert(*one, format!("{one:?}")); }\n'
            "    let mut out: Vec<usize> = seen.values().map(|text| text.len()).collect();\n"
            f"{calls}    out.sort_unstable();\n    out\n}}\n"
        )
    (root / "Cargo.toml").write_text(f"[workspace]\nmembers = {members}\nresolver = '2'\n")
    return root


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="of the short commands")
    parser.add_argument("--builds", type=int, default=5, help="of the tree, each way")
    parser.add_argument("--crates", type=int, default=200)
    parser.add_argument("--json", type=Path, help="write the raw figures to this file")
    args = parser.parse_args()
    before = machine()
    with private_forge() as forge, tempfile.TemporaryDirectory() as place:
        shim = current_shim(Path(forge.env["FORGE_CACHE_DIR"]), forge.env)
        wrapper = str(Path(shim.rustc_gate).parent.parent / "bin" / "cargo")
        raw = short_commands(forge, wrapper, Path(place), args.rounds)
        raw |= cold_trees(forge, wrapper, Path(place), args.crates, args.builds)
    rows = []
    for name, values in raw.items():
        low, middle, high = (1000 * value for value in quartiles(values))
        rows.append([name, f"{middle:.1f}", f"{low:.1f} to {high:.1f}", f"{len(values)}"])
    print_table(["command", "median, ms", "middle half, ms", "runs"], rows)
    for what in ("--version", "no-op build"):
        more = quartiles(raw[f"wrapper {what}"])[1] - quartiles(raw[f"cargo {what}"])[1]
        print(f"\n{what}: {1000 * more:+.1f} ms")
    ratio = quartiles(raw["gated cold tree"])[1] / quartiles(raw["plain cold tree"])[1]
    print(f"\ncold tree of {args.crates} crates: {100 * (ratio - 1):+.1f} %; {GOALS}")
    report(args, before, raw)


def short_commands(forge, wrapper: str, place: Path, rounds: int) -> dict[str, list[float]]:
    """Time `--version` and a no-op build, by cargo and by the wrapper in turn."""
    project = place / "workspace"
    shutil.copytree(WORKSPACE, project, ignore=shutil.ignore_patterns("target", "Cargo.lock"))
    names = ("cargo --version", "wrapper --version", "cargo no-op build", "wrapper no-op build")
    raw: dict[str, list[float]] = {name: [] for name in names}
    forge.run("build", cwd=project)
    beside = {**forge.env, "CARGO_TARGET_DIR": str(forge.mount_point / "plain")}
    timed(["cargo", "build"], project, beside)
    timed([wrapper, "build"], project, forge.env)
    for _ in range(rounds):
        raw["cargo --version"].append(timed(["cargo", "--version"], project, forge.env))
        raw["wrapper --version"].append(timed([wrapper, "--version"], project, forge.env))
        raw["cargo no-op build"].append(timed(["cargo", "build"], project, beside))
        raw["wrapper no-op build"].append(timed([wrapper, "build"], project, forge.env))
    return raw


def cold_trees(
    forge, wrapper: str, place: Path, crates: int, builds: int
) -> dict[str, list[float]]:
    """Time the cold build of a tree by plain cargo and behind the gates, on the same disk."""
    root = tree(place / "tree", crates)
    raw: dict[str, list[float]] = {"plain cold tree": [], "gated cold tree": []}
    beside = {**forge.env, "CARGO_TARGET_DIR": str(forge.mount_point / "plain-tree")}
    timed(["cargo", "generate-lockfile", "--offline"], root, forge.env)
    ways = {
        "plain cold tree": (["cargo", "build", "-q"], beside, forge.mount_point / "plain-tree"),
        "gated cold tree": ([wrapper, "build", "-q"], forge.env, forge.target_dir(root)),
    }
    for turn in range(builds):
        for name in list(ways) if turn % 2 else list(reversed(ways)):
            command, env, target_dir = ways[name]
            shutil.rmtree(target_dir, ignore_errors=True)
            os.sync()
            raw[name].append(timed(command, root, env))
    return raw


if __name__ == "__main__":
    main()
