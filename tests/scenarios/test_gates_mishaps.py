"""What goes wrong behind the gates of real builds: processes that are killed, and odd ones."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from forge.host.shim import current_shim
from tests.bench.shim import tree
from tests.scenarios.conftest import (
    PrivateForge,
    cargo,
    changed,
    forge_lines,
    is_gone,
    package,
    wait_until,
)
from tests.scenarios.fake_forged import program

pytestmark = pytest.mark.real_cargo

CORES = 2
SLOW = ("left", "right")
ALL = (*SLOW, "app")
WRAPPER = """#!/bin/sh
cd {place}
crate=
for word; do
    [ "$previous" = --crate-name ] && crate=$word
    previous=$word
done
cd "$OLDPWD"
case $crate in
    left | right) echo $$ > {place}/$crate.new; mv {place}/$crate.new {place}/$crate.pid
        while [ -e {place}/hold ]; do sleep 0.02; done;;
esac
case $crate in
    '' | ___) exec "$@";;
esac
echo "$crate starts" >> {place}/log
"$@"
code=$?
echo "$crate ends" >> {place}/log
exit $code
"""


CARGO_IN_BUILD = """
fn main() {
    let mut cargo = std::process::Command::new(CALLED);
    let status = cargo.args(["build", "--quiet"]).current_dir("WITHIN").status().unwrap();
    assert!(status.success());
}
"""


class HeldUnits:
    """A workspace of which the units `left` and `right` run until they are let go."""

    def __init__(self, forge: PrivateForge, place: Path) -> None:
        self.forge = forge
        self.place = place
        self.root = place / "held"
        for name in SLOW:
            self._write(name, "lib.rs", "pub fn one() -> i32 { 1 }\n")
        needs = "".join(f'{name} = {{ path = "../{name}" }}\n' for name in SLOW)
        main = 'fn main() { println!("{}", left::one() + right::one()); }\n'
        self._write("app", "main.rs", main, f"[dependencies]\n{needs}")
        (self.root / "Cargo.toml").write_text(
            f"[workspace]\nmembers = {list(ALL)}\nresolver = '2'\n"
        )
        wrapper = program(place / "wrapper", WRAPPER.format(place=place))
        forge.env["RUSTC_WRAPPER"] = str(wrapper)
        forge.configure(builds=f"[host]\ncores = {CORES}")
        (place / "hold").touch()

    def _write(self, name: str, source: str, text: str, more: str = "") -> None:
        (self.root / name / "src").mkdir(parents=True)
        (self.root / name / "src" / source).write_text(text)
        (self.root / name / "Cargo.toml").write_text(
            f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n{more}'
        )

    def start(self, *argv: str) -> "subprocess.Popen[str]":
        """Start a build and wait until both slow units run."""
        process = self.forge.start(*(argv or ("build",)), cwd=self.root)
        wait_until(lambda: all((self.place / f"{name}.pid").exists() for name in SLOW))
        wait_until(lambda: sorted(self.gates()["units_running"]) == sorted(SLOW))
        return process

    def gates(self) -> dict[str, Any]:
        """Return what the daemon says of the gates of the one build."""
        builds = self.forge.status()["builds"]
        return dict(builds[0]["gates"]) if builds else {"units_running": []}

    def pid(self, name: str) -> int:
        return int((self.place / f"{name}.pid").read_text())

    def log(self) -> list[str]:
        return (self.place / "log").read_text().splitlines()

    def let_go(self) -> None:
        (self.place / "hold").unlink(missing_ok=True)

    def all_is_given_back(self) -> bool:
        status = self.forge.status()
        jobservers = list((self.forge.state_dir / "jobs").iterdir())
        budget = status["budget"]
        return not (budget["running_cores"] or budget["waiting"] or status["builds"] or jobservers)


@pytest.fixture
def held_units(forge: PrivateForge, tmp_path: Path):
    made = HeldUnits(forge, tmp_path)
    yield made
    made.let_go()


def replace_daemon(forge: PrivateForge) -> None:
    """Kill the daemon and start another one."""
    pid = forge.daemon_pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_gone(pid))
    assert forge.run("daemon", "start", cwd=forge.home).returncode == 0


def finished(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Return how a build has ended and what it has said to stderr."""
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def test_a_daemon_that_is_killed_and_replaced_keeps_count_of_what_runs(held_units):
    forge = held_units.forge
    process = held_units.start()
    build = forge.status()["builds"][0]["id"]
    replace_daemon(forge)
    wait_until(lambda: sorted(held_units.gates()["units_running"]) == sorted(SLOW))
    assert [one["id"] for one in forge.status()["builds"]] == [build]
    assert forge.status()["budget"]["running_cores"] == CORES
    held_units.let_go()
    code, said = finished(process)
    assert code == 0, said
    assert "warning" not in said and not forge_lines(said)
    assert sorted(held_units.log()) == sorted(f"{n} {w}" for n in ALL for w in ("starts", "ends"))
    (end,) = wait_until(lambda: forge.decisions("build.ended"))
    assert (end["build"], end["exit"], end["units"], end["lost"]) == (build, 0, len(ALL), 0)
    wait_until(held_units.all_is_given_back)
    assert forge.decisions("daemon.bug") == []


def test_units_that_wait_when_the_daemon_is_killed_ask_the_next_one(held_units):
    forge = held_units.forge
    process = held_units.start()
    assert forge.ask({"type": "hold", "on": True})["type"] == "ok"
    held_units.let_go()
    wait_until(lambda: held_units.gates().get("units_waiting") == ["app"])
    replace_daemon(forge)
    code, said = finished(process)
    assert code == 0, said
    assert "warning" not in said and not forge_lines(said)
    assert held_units.log().count("app starts") == 1
    wait_until(lambda: forge.status()["budget"]["running_cores"] == 0)


def test_no_unit_is_lost_or_doubled_however_often_the_daemon_is_killed(forge, tmp_path):
    root = tree(tmp_path / "tree", crates=24)
    log = tmp_path / "log"
    wrapper = program(
        tmp_path / "wrapper",
        f'#!/bin/sh\ncase $3 in c0*) echo $3 >> {log}; sleep 0.3;; esac\nexec "$@"\n',
    )
    forge.env["RUSTC_WRAPPER"] = str(wrapper)
    process = forge.start("build", cwd=root)
    for units in (2, 8, 14, 20):
        wait_until(lambda: log.exists() and len(log.read_text().split()) >= units)  # noqa: B023
        replace_daemon(forge)
    code, said = finished(process)
    assert code == 0, said
    assert "warning" not in said and not forge_lines(said)
    assert sorted(log.read_text().split()) == [f"c{number:03d}" for number in range(24)]
    wait_until(lambda: forge.status()["budget"]["running_cores"] == 0)
    assert forge.decisions("daemon.bug") == []


def test_a_link_outlives_the_daemon_and_is_told_to_the_next_one(forge, tmp_path):
    root = package(tmp_path / "p")
    (tmp_path / "hold").touch()
    linker = program(
        tmp_path / "real" / "cc",
        f"#!/bin/sh\necho link >> {tmp_path}/log\n"
        f'while [ -e {tmp_path}/hold ]; do sleep 0.02; done\nexec cc "$@"\n',
    )
    (root / ".cargo").mkdir()
    (root / ".cargo/config.toml").write_text(f'[build]\nrustflags = ["-Clinker={linker}"]\n')
    process = forge.start("build", cwd=root)
    wait_until((tmp_path / "log").exists)
    replace_daemon(forge)

    def running() -> tuple[int, int]:
        gates = [build["gates"] for build in forge.status()["builds"]]
        return (sum(len(one["units_running"]) for one in gates),
                sum(len(one["links_running"]) for one in gates))  # fmt: skip

    wait_until(lambda: running() == (1, 1))
    (tmp_path / "hold").unlink()
    code, said = finished(process)
    assert code == 0, said
    assert "warning" not in said and not forge_lines(said)
    assert (tmp_path / "log").read_text().split() == ["link"]
    (end,) = wait_until(lambda: forge.decisions("build.ended"))
    assert (end["units"], end["links"], end["lost"]) == (1, 1, 0)


def test_a_cargo_that_is_killed_gives_its_cores_to_the_next_build(held_units, tmp_path):
    forge = held_units.forge
    process = held_units.start()
    other = package(tmp_path / "other")
    os.kill(forge.status()["builds"][0]["cargo_pid"], signal.SIGKILL)
    assert finished(process)[0] == -signal.SIGKILL
    # As with plain cargo, the compilers live on; their cores are theirs until they have ended.
    assert forge.status()["budget"]["running_cores"] == CORES
    following = forge.start("build", cwd=other)
    wait_until(lambda: forge.status()["budget"]["waiting"])
    held_units.let_go()
    code, said = finished(following)
    assert code == 0, said
    wait_until(held_units.all_is_given_back)


def test_a_rustc_that_is_killed_fails_its_build_as_with_plain_cargo(held_units, tmp_path):
    process = held_units.start()
    os.kill(held_units.pid("left"), signal.SIGKILL)
    held_units.let_go()
    code, said = finished(process)
    assert code == 101
    assert "signal: 9, SIGKILL" in said
    wait_until(held_units.all_is_given_back)
    assert held_units.forge.run("build", cwd=held_units.root).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="macOS cannot tie a child to its parent")
def test_a_gate_that_is_killed_takes_its_rustc_along_and_gives_its_core_back(held_units):
    process = held_units.start()
    rustc = held_units.pid("left")
    gate = psutil.Process(rustc).ppid()
    assert psutil.Process(gate).name() == "rustc-gate"
    os.kill(gate, signal.SIGKILL)
    wait_until(lambda: is_gone(rustc))
    held_units.let_go()
    code, said = finished(process)
    assert code == 101
    assert "signal: 9, SIGKILL" in said
    wait_until(held_units.all_is_given_back)


def test_a_cancelled_build_ends_at_its_gates(held_units):
    process = held_units.start()
    build = held_units.forge.status()["builds"][0]["id"]
    assert held_units.forge.ask({"type": "cancel_build", "build": build})["type"] == "ok"
    code, _ = finished(process)
    assert code != 0
    wait_until(lambda: all(is_gone(held_units.pid(name)) for name in SLOW))
    wait_until(held_units.all_is_given_back)


def test_cargo_with_one_job_runs_one_unit_after_the_other(held_units):
    held_units.let_go()
    done = held_units.forge.run("build", "-j1", cwd=held_units.root)
    assert done.returncode == 0, done.stderr
    log = held_units.log()
    assert len(log) == 2 * len(ALL)
    for starts, ends in zip(log[::2], log[1::2], strict=True):
        assert (starts.split()[1], ends.split()[1]) == ("starts", "ends")


def test_a_wrapper_that_closes_all_descriptors_builds_as_with_plain_cargo(forge, tmp_path):
    root = package(tmp_path / "p", build="fn main() {}\n")
    closing = "import os, sys; os.closerange(3, 256); os.execvp(sys.argv[1], sys.argv[1:])\n"
    wrapper = program(tmp_path / "closing", f"#!{sys.executable} -IS\n{closing}")
    env = {"RUSTC_WRAPPER": str(wrapper)}
    ours = forge.run("build", cwd=root, env=env)
    plain = cargo("build", cwd=root, env={**env, "CARGO_TARGET_DIR": str(tmp_path / "plain")})
    assert ours.returncode == plain.returncode == 0, ours.stderr
    assert ("jobserver" in ours.stderr) == ("jobserver" in plain.stderr), ours.stderr
    (end,) = wait_until(lambda: forge.decisions("build.ended"))
    assert (end["units"], end["lost"]) == (2, 0)


@pytest.mark.parametrize("inner", ["cargo of the build", "wrapper in PATH"])
def test_a_build_script_that_runs_cargo_does_not_wait_for_its_own_build(forge, tmp_path, inner):
    forge.configure(builds="[host]\ncores = 1")
    shim = current_shim(Path(forge.env["FORGE_CACHE_DIR"]), forge.env)
    bin_dir = Path(shim.rustc_gate).parent.parent / "bin"
    forge.env["PATH"] = f"{bin_dir}{os.pathsep}{forge.env['PATH']}"
    within = package(tmp_path / "within", build="fn main() {}\n")
    called = 'std::env::var("CARGO").unwrap()' if inner == "cargo of the build" else '"cargo"'
    build = CARGO_IN_BUILD.replace("CALLED", called).replace("WITHIN", str(within))
    done = forge.run("build", cwd=package(tmp_path / "p", build=build))
    assert done.returncode == 0, done.stderr
    places = [within / "target", forge.target_dir(within)]
    assert [(place / "debug" / "tiny").exists() for place in places].count(True) == 1
    wait_until(lambda: forge.status()["budget"]["running_cores"] == 0)


def test_units_of_a_build_that_the_daemon_does_not_know_are_let_through(forge, tmp_path):
    root = package(tmp_path / "p")
    assert forge.run("build", cwd=root).returncode == 0
    shim = current_shim(Path(forge.env["FORGE_CACHE_DIR"]), forge.env)
    gates = {
        "RUSTC_WRAPPER": shim.rustc_gate,
        "FORGE_BUILD": "b999",
        "FORGE_SOCKET": str(forge.socket),
        "FORGE_LINKER_DIR": shim.linker_dir,
    }
    done = subprocess.run(
        [str(shutil.which("cargo")), "build"],
        cwd=root,
        env=changed(forge.env, {**gates, "CARGO_TARGET_DIR": str(tmp_path / "target")}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert not forge_lines(done.stderr)
    wait_until(lambda: forge.status()["budget"]["running_cores"] == 0)
    assert forge.decisions("daemon.bug") == []
