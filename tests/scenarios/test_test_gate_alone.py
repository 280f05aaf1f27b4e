"""The test gate as a program: what it asks, what it starts, and what that finds around it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scenarios.conftest import wait_until
from tests.scenarios.fake_forged import FakeForged, bare_env, built_shim, program

pytestmark = pytest.mark.real_cargo  # for the rustc that compiles the shim

TEST = """#!/bin/sh
echo "$0 $*"
env | grep -E 'RUNNER|FORGE_TEST' | sort
read -r line; echo "given $line"
exit 3
"""
GATE = "/anywhere/gate/test-gate"
RUNNER = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER"


class Machine:
    """A daemon that grants what is asked, and a test binary."""

    def __init__(self, home: Path) -> None:
        self.daemon = FakeForged(home / "state")
        self.daemon.script["test"] = lambda _: [{"type": "wait"}, {"type": "go"}]
        self.binary = program(home / "deps" / "it-0db70d83f876565d", TEST)
        self.env = bare_env(home) | {
            "FORGE_BUILD": "b7",
            "FORGE_SOCKET": str(self.daemon.socket_path),
        }

    def run(self, *argv: str, **env: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [built_shim().test_gate, *(argv or ("0", str(self.binary), "name"))],
            env=self.env | env, input="words\n", capture_output=True, text=True, timeout=60,
        )  # fmt: skip


@pytest.fixture
def machine(tmp_path):
    found = Machine(tmp_path)
    found.daemon.start()
    yield found
    found.daemon.stop()


def test_it_asks_starts_the_test_and_reports(machine):
    done = machine.run()
    assert done.stdout == f"{machine.binary} name\nFORGE_TEST=b7\ngiven words\n"
    assert (done.returncode, done.stderr) == (3, "")
    asked = machine.daemon.wait_for("test")
    assert (asked["build"], asked["name"], asked["threads"]) == ("b7", "it", None)
    assert (asked["v"], asked["running"]) == (1, False)
    ended = machine.daemon.wait_for("test_ended")
    assert ended["exit"] == 3
    assert ended["wall_s"] > 0
    assert ended["peak_kib"] > 100


@pytest.mark.parametrize(
    ("argv", "env"),
    [
        (["--list"], {}),
        ([], {"FORGE_TEST": "b1"}),
        ([], {"FORGE_BUILD": ""}),
        ([], {"FORGE_SOCKET": ""}),
    ],
)
def test_it_becomes_the_test_without_asking(machine, argv, env):
    done = machine.run("0", str(machine.binary), *argv, **env)
    assert done.stdout.endswith("given words\n")
    assert done.returncode == 3
    assert "FORGE_TEST=b7" not in done.stdout
    assert not machine.daemon.heard


def test_without_a_daemon_the_test_runs_all_the_same(machine):
    machine.daemon.stop()
    done = machine.run()
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.endswith("given words\n")


def test_the_users_runner_comes_first(machine, tmp_path):
    runner = program(tmp_path / "bin" / "runner", '#!/bin/sh\necho "runs $*"; shift; exec "$@"\n')
    path = f"{runner.parent}{os.pathsep}{machine.env['PATH']}"
    done = machine.run("2", "runner", "-x", str(machine.binary), "--exact", "a", PATH=path)
    assert done.stdout.startswith(f"runs -x {machine.binary} --exact a\n{machine.binary} --exact a")
    assert machine.daemon.wait_for("test")["binary"] == str(machine.binary)
    assert machine.daemon.wait_for("test")["threads"] == 1


@pytest.mark.parametrize(
    ("env", "found"),
    [
        ({RUNNER: f"{GATE} 0"}, {}),
        ({RUNNER: f"{GATE} 1 qemu"}, {}),
        ({RUNNER: f"{GATE} 1 ./q", f"FORGE_{RUNNER}": "./q  x"}, {RUNNER: "./q  x"}),
        ({RUNNER: "qemu", "CARGO_TARGET_ARM_RUNNER": f"{GATE} 0"}, {RUNNER: "qemu"}),
    ],
)
def test_a_variable_that_names_the_gate_is_not_inherited(machine, env, found):
    done = machine.run(**env)
    shown = dict(line.split("=", 1) for line in done.stdout.splitlines() if "RUNNER" in line)
    assert shown == found


COUNTS = """
import os, pathlib, signal, sys, time
place = pathlib.Path(sys.argv[1])
def note(*_):
    with place.open("a") as file:
        file.write("x")
signal.signal(signal.SIGUSR1, note)
place.touch()
end = time.monotonic() + 30
while not place.read_text() and time.monotonic() < end:
    time.sleep(0.01)
time.sleep(0.5)  # for one too many
"""


@pytest.mark.parametrize(
    ("leads", "send"),
    [
        (True, "to its group, as nextest does"),
        (True, "by another process"),
        (False, "by its parent"),
        (False, "by another process"),
    ],
)
def test_a_signal_reaches_a_test_once(machine, tmp_path, leads, send):
    place = tmp_path / "signals"
    gate = subprocess.Popen(
        [built_shim().test_gate, "0", sys.executable, "-c", COUNTS, str(place)],
        env=machine.env, process_group=0 if leads else None,
    )  # fmt: skip
    wait_until(place.exists)
    if send == "by another process":
        subprocess.run(["sh", "-c", f"kill -USR1 {gate.pid}"], check=True)
    elif leads:
        os.killpg(gate.pid, signal.SIGUSR1)
    else:
        os.kill(gate.pid, signal.SIGUSR1)
    assert gate.wait(timeout=60) == 0
    assert place.read_text() == "x"


def test_a_test_that_is_told_to_end_ends(machine):
    machine.daemon.script["test"] = lambda _: [{"type": "go"}, 0.3, {"type": "end"}]
    done = machine.run("0", "/bin/sleep", "60")
    assert done.returncode == -15
    assert machine.daemon.wait_for("test_ended")["signal"] == 15
