"""A person's `cargo check` in the middle of four cold builds: `python -m tests.bench.interactive`.

A small change is checked three ways, in turn: on the idle machine; beside four cold builds by
plain cargo; and beside the same four by Forge, where they are batch and the check is interactive.
The four have run for a while when the check comes, and are ended when it is done.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.bench.concurrent import CRATES
from tests.bench.measure import (
    arguments,
    machine,
    print_table,
    private_forge,
    quartiles,
    report,
    timed,
)  # fmt: skip
from tests.scenarios.conftest import PrivateForge, clean_env, package, registry_source

UNDER_WAY_S = 12.0
CHECKED = "tokei"
IDLE, CARGO, FORGE = "idle", "cargo beside cargo", "forge beside forge"


class Beside:
    """Four cold builds under way, by plain cargo or by Forge."""

    def __init__(self, way: str, projects: dict[str, Path], forge: PrivateForge) -> None:
        self._builds = []
        for project in projects.values():
            plain = forge.mount_point / f"plain-{project.name}"
            shutil.rmtree(forge.target_dir(project), ignore_errors=True)
            shutil.rmtree(plain, ignore_errors=True)
            command, env = ["cargo"], clean_env() | {"CARGO_TARGET_DIR": str(plain)}
            if way is FORGE:
                command, env = [*forge.cli], forge.env | {"FORGE_PRIORITY": "batch"}
            self._builds.append(
                subprocess.Popen(
                    [*command, "build", "-q"], cwd=project, env=env, stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                )
            )  # fmt: skip

    def running(self) -> int:
        """Return how many of them still build."""
        return sum(build.poll() is None for build in self._builds)

    def end(self) -> None:
        """End all of them with what they have started."""
        for build in self._builds:
            if build.poll() is None:
                os.killpg(build.pid, signal.SIGTERM)
        for build in self._builds:
            build.wait()


def checked(way: str, project: Path, forge: PrivateForge, number: int) -> float:
    """Change one line of the project and check it; return the time that took."""
    source = project / "src" / "main.rs"
    source.write_text(f"{source.read_text().rstrip()}\n// {number}\n")
    if way is FORGE:
        env = forge.env | {"FORGE_PRIORITY": "interactive"}
        return timed([*forge.cli, "check", "-q"], project, env)
    env = clean_env() | {"CARGO_TARGET_DIR": str(forge.mount_point / "checked")}
    return timed(["cargo", "check", "-q"], project, env)


def main() -> None:
    """Measure and print."""
    args = arguments(__doc__ or "", rounds=5)
    before = machine()
    raw: dict[str, list[float]] = {IDLE: [], f"{IDLE}, by forge": [], CARGO: [], FORGE: []}
    with private_forge() as forge, tempfile.TemporaryDirectory() as place:
        forge.configure(size="6GiB")
        projects = {
            name: registry_source(name, Path(place) / f"of-{name}", version)
            for name, version in CRATES.items()
        }
        project = registry_source(CHECKED, Path(place) / "checked", CRATES[CHECKED])
        for one in (*projects.values(), project):
            subprocess.run(["cargo", "fetch", "-q"], cwd=one, env=clean_env(), check=True)
        forge.run("build", cwd=package(Path(place) / "warm"))
        for way in (CARGO, FORGE):
            checked(way, project, forge, 0)
        for number in range(1, args.rounds + 1):
            raw[IDLE].append(checked(CARGO, project, forge, number * 10))
            raw[f"{IDLE}, by forge"].append(checked(FORGE, project, forge, number * 10 + 1))
            for way in (CARGO, FORGE) if number % 2 else (FORGE, CARGO):
                beside = Beside(way, projects, forge)
                try:
                    time.sleep(UNDER_WAY_S)
                    raw[way].append(checked(way, project, forge, number * 10 + 2))
                    assert beside.running() > 1, "the builds beside it were over too early"
                finally:
                    beside.end()
                print(way, f"{raw[way][-1]:.2f} s", flush=True)
    idle_s = {CARGO: quartiles(raw[IDLE])[1], FORGE: quartiles(raw[f"{IDLE}, by forge"])[1]}
    rows = []
    for way, took_s in raw.items():
        low, middle, high = quartiles(took_s)
        times = f"{middle / idle_s[way]:.2f}" if way in idle_s else ""
        rows.append([way, f"{middle:.2f}", f"{low:.2f} to {high:.2f}", times])
    print_table(["check", "median, s", "middle half, s", "times idle"], rows)
    report(args, before, raw)


if __name__ == "__main__":
    main()
