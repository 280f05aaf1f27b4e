"""The same request several times at once: `python -m tests.bench.identical`.

One cold `cargo check` of a real crate, and five of the same in one checkout at the same moment, by
plain cargo and by Forge, in turn. What counts is how much later than a single one the last is done.
"""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.bench.measure import arguments, machine, print_table, private_forge, quartiles, report
from tests.scenarios.conftest import PrivateForge, clean_env, package, registry_source

CRATE, VERSION, AT_ONCE = "hyperfine", "=1.20.0", 5


def measured(by_forge: bool, count: int, project: Path, forge: PrivateForge) -> float:
    """Check the project cold `count` times at once; return when the last was done."""
    plain = forge.mount_point / "plain"
    shutil.rmtree(forge.target_dir(project), ignore_errors=True)
    shutil.rmtree(plain, ignore_errors=True)
    command, env = ["cargo"], clean_env() | {"CARGO_TARGET_DIR": str(plain)}
    if by_forge:
        command, env = [*forge.cli], dict(forge.env)
    began = time.monotonic()
    checks = [
        subprocess.Popen(
            [*command, "check", "-q"], cwd=project, env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        for _ in range(count)
    ]  # fmt: skip
    for check in checks:
        _, errors = check.communicate()
        if check.returncode:
            raise SystemExit(f"a check ended with {check.returncode}: {errors!r}")
    return time.monotonic() - began


def main() -> None:
    """Measure and print."""
    args = arguments(__doc__ or "", rounds=5)
    before = machine()
    ways = [(by_forge, count) for by_forge in (False, True) for count in (1, AT_ONCE)]
    raw: dict[str, list[float]] = {}
    with private_forge() as forge, tempfile.TemporaryDirectory() as place:
        forge.configure()
        project = registry_source(CRATE, Path(place) / CRATE, VERSION)
        subprocess.run(["cargo", "fetch", "-q"], cwd=project, env=clean_env(), check=True)
        forge.run("build", cwd=package(Path(place) / "warm"))
        for turn in range(args.rounds):
            for by_forge, count in ways[turn % 4 :] + ways[: turn % 4]:
                way = f"{'forge' if by_forge else 'cargo'}, {count} at once"
                raw.setdefault(way, []).append(measured(by_forge, count, project, forge))
    rows = []
    for way, took_s in sorted(raw.items()):
        low, middle, high = quartiles(took_s)
        rows.append([way, f"{middle:.2f}", f"{low:.2f} to {high:.2f}"])
    print_table(["the same check", "median, s", "middle half"], rows)
    report(args, before, raw)


if __name__ == "__main__":
    main()
