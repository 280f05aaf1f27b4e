"""`cargo` in PATH without a daemon, or with one that misbehaves: cargo runs all the same."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.scenarios.fake_forged import built_shim, go
from tests.scenarios.one_machine import Machine

pytestmark = pytest.mark.skipif(shutil.which("rustc") is None, reason="no rustc to build the shim")


@pytest.fixture
def machine(tmp_path):
    found = Machine(tmp_path)
    yield found
    found.daemon.stop()


# --- failing open ----------------------------------------------------------------------------

ALONE = b"; cargo runs without Forge\n"
UNFOLLOWABLE = b"the daemon's answer is no `go` that can be followed"


def assert_alone(machine, result, missing):
    assert result.returncode == 0
    assert result.stderr.startswith(b"forge: " + missing)
    assert result.stderr.endswith(ALONE)
    assert result.stderr.count(b"\n") == 1
    assert machine.seen[-1]["argv"] == ["build"]


def test_without_a_daemon_cargo_runs_alone(machine):
    assert_alone(machine, machine.run("build"), b"no daemon answers on ")


def test_a_socket_that_nobody_listens_on_is_no_daemon(machine):
    machine.daemon.start().stop()
    assert_alone(machine, machine.run("build"), b"no daemon answers on ")


@pytest.mark.parametrize(
    ("answers", "missing"),
    [
        ([5.0], b"the daemon does not answer"),
        ([b"nonsense\n"], b"the daemon's answer makes no sense"),
        ([b'{"type":"go"}\n'], UNFOLLOWABLE),  # without its fields
        ([b'{"type":"go","build":1,"argv":[]}\n'], UNFOLLOWABLE),
        ([b'{"type":"go","build":"1","argv":["a\\u0000b"]}\n'], UNFOLLOWABLE),
        ([b'{"type":"go","build":"1","argv":[],"env":{"A":1}}\n'], UNFOLLOWABLE),
        ([b'{"type":"go","build":"1","argv":[],"target_dir":1}\n'], UNFOLLOWABLE),
        ([b'{"type":"go","build":"1","argv":[],"jobserver":"/f"}\n'], UNFOLLOWABLE),
        ([b'{"type":"go","bui', 5.0], b"the daemon does not answer"),  # half a line
        (
            [{"type": "error", "slug": "protocol-mismatch", "message": "version \x1b 1"}],
            b"the daemon refuses: version ? 1",
        ),
    ],
)
def test_a_daemon_that_misbehaves_is_done_without(machine, answers, missing):
    machine.daemon.start()
    machine.daemon.script["begin"] = lambda begin: answers
    began_at = time.monotonic()
    assert_alone(machine, machine.run("build"), missing)
    assert time.monotonic() - began_at < 4


def test_a_daemon_that_hangs_while_we_wait_is_done_without(machine):
    machine.daemon.start()
    wait = {"type": "wait", "reason": "waiting", "since_s": 0}
    machine.daemon.script["begin"] = lambda begin: [wait, 5.0]
    result = machine.run("build")
    alone = b"forge: the daemon does not answer; cargo runs without Forge"
    assert result.stderr.splitlines() == [b"forge: waiting (1 s)", alone]
    assert machine.seen[0]["argv"] == ["build"]


def test_a_daemon_that_hangs_up_is_done_without(machine):
    machine.daemon.start()

    def hang_up(begin):
        machine.daemon.stop()
        return []

    machine.daemon.script["begin"] = hang_up
    assert_alone(machine, machine.run("build"), b"the daemon hung up")


def test_a_stopped_daemon_with_a_full_queue_is_done_without(machine):
    import socket

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(machine.daemon.socket_path))
    listener.listen(0)
    waiting = []
    for _ in range(4):  # fill the queue: a blocking connect would now hang
        one = socket.socket(socket.AF_UNIX)
        one.setblocking(False)
        one.connect_ex(str(machine.daemon.socket_path))
        waiting.append(one)
    try:
        assert_alone(machine, machine.run("build"), b"the daemon does not answer")
    finally:
        for one in (*waiting, listener):
            one.close()


@pytest.mark.parametrize(
    ("path", "why"),
    [("/nonexistent/tokens", b"No such file or directory"), ("/dev/null", b"not a FIFO")],
)
def test_a_jobserver_that_is_not_there_costs_the_tokens_and_nothing_else(machine, path, why):
    machine.daemon.start()
    machine.daemon.script["begin"] = lambda begin: [
        go(begin, argv=["changed"], env={"GATES": "yes"}, jobserver={"path": path})
    ]
    result = machine.run("build")
    assert result.returncode == 0
    assert result.stderr.startswith(b"forge: no jobserver: " + why)
    assert result.stderr.endswith(b"; cargo makes its own\n")
    assert result.stderr.count(b"\n") == 1
    (cargo,) = machine.seen
    assert (cargo["argv"], cargo["env"]["GATES"]) == (["changed"], "yes")
    assert "CARGO_MAKEFLAGS" not in cargo["env"]
    assert machine.daemon.wait_for("ended")["exit"] == 0


def test_a_read_only_home_is_no_obstacle(machine):
    missing = {"HOME": "/proc", "FORGE_STATE_DIR": "/proc/none"}
    assert_alone(machine, machine.run("build", env=missing), b"no daemon answers on /proc/none")


@pytest.mark.parametrize(
    ("disable", "asked"), [("1", False), ("true", False), ("0", True), ("", True)]
)
def test_forge_disable_asks_nobody(machine, disable, asked):
    machine.daemon.start()
    result = machine.run("build", env={"FORGE_DISABLE": disable})
    assert (result.returncode, result.stderr) == (0, b"")
    assert bool(machine.daemon.messages("begin")) is asked


def test_a_stderr_that_nobody_reads_does_not_end_the_build(machine):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert machine.run("build", capture_output=False, stderr=writer).returncode == 0
    finally:
        os.close(writer)
    assert machine.seen


@pytest.mark.parametrize(
    ("name", "argv", "code"),
    [
        ("rustc-gate", [], 64),
        ("rustc-gate", ["/nonexistent/rustc"], 101),
        ("test-gate", [], 64),
        ("test-gate", ["0", "/nonexistent/test"], 101),
        ("ld.nowhere", [], 127),
        ("forge-shim", [], 0),
    ],
)
def test_streams_that_nobody_reads_crash_no_other_part(machine, name, argv, code):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [name, *argv], executable=built_shim().path, env=machine.env, stdout=writer,
            stderr=writer, timeout=20,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert done.returncode == code


@pytest.mark.parametrize(("project", "kept"), [("inside", True), ("outside", False)])
def test_alone_inside_a_build_the_target_dir_stays_with_its_own_workspace(machine, project, kept):
    for name in ("inside", "outside"):
        (machine.home / name / "src").mkdir(parents=True)
        (machine.home / name / "Cargo.toml").touch()
    env = {
        "FORGE_BUILD": "1",
        "FORGE_TARGET_DIR": "/t",
        "CARGO_TARGET_DIR": "/t",
        "FORGE_ROOT": str(machine.home / "inside"),
    }
    machine.run("build", env=env, cwd=machine.home / project / "src")
    assert ("CARGO_TARGET_DIR" in machine.seen[0]["env"]) is kept
    machine.run("build", env={**env, "CARGO_TARGET_DIR": "/mine"}, cwd=machine.home / project)
    assert machine.seen[1]["env"]["CARGO_TARGET_DIR"] == "/mine"  # the user's own


# --- starting the daemon ---------------------------------------------------------------------


def command_file(machine, *words):
    file = machine.state / "forged.command"
    file.write_text("".join(f"{word}\n" for word in words))
    file.chmod(0o600)


def test_ten_builds_at_once_start_one_daemon(machine):
    fake = Path(__file__).with_name("fake_forged.py")
    command_file(machine, sys.executable, fake, machine.state)
    try:
        reader, writer = os.pipe()  # a descriptor that a daemon must not keep open
        builds = [
            subprocess.Popen(
                [built_shim().cargo, "build"],
                env=machine.env,
                stderr=subprocess.PIPE,
                pass_fds=[writer],
            )
            for _ in range(10)
        ]
        os.close(writer)
        assert [build.communicate(timeout=30)[1] for build in builds] == [b""] * 10
        assert os.read(reader, 1) == b""  # nobody has it any more
        os.close(reader)
        starts = (machine.state / "starts").read_text().split()
        assert len(starts) == 1
        facts = json.loads((machine.state / "facts.json").read_text())
        assert facts["cwd"] == "/"
        assert facts["is_detached"]
        assert len(machine.seen) == 10
    finally:
        (machine.state / "stop").touch()


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["/nonexistent/forged"], b"the daemon cannot be started with /nonexistent/forged: "),
        (["/bin/false"], b"the daemon cannot be started with /bin/false: it ended at once"),
        ([], b"no daemon answers on "),
    ],
)
def test_a_daemon_that_does_not_start_is_done_without(machine, words, missing):
    command_file(machine, *words)
    assert_alone(machine, machine.run("build"), missing)


def test_a_command_file_that_others_can_write_is_not_run(machine):
    command_file(machine, "/bin/false")
    (machine.state / "forged.command").chmod(0o666)
    assert_alone(machine, machine.run("build"), b"no daemon answers on ")
