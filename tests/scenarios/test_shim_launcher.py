"""`cargo` in PATH: which cargo it runs, what it asks the daemon, and that it never breaks a build.

The real cargo is a script here, so that each case shows exactly what reached it.
"""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.scenarios.fake_forged import FakeForged, built_shim, go, program
from tests.scenarios.one_machine import CARGO, Machine

pytestmark = pytest.mark.skipif(shutil.which("rustc") is None, reason="no rustc to build the shim")


@pytest.fixture
def machine(tmp_path):
    found = Machine(tmp_path)
    yield found
    found.daemon.stop()


# --- the plain way ---------------------------------------------------------------------------


def test_a_build_begins_runs_and_ends_on_one_connection(machine):
    machine.daemon.start()
    machine.daemon.script["begin"] = lambda begin: [
        go(
            begin,
            argv=["build", "--changed"],
            env={"ADDED": "yes"},
            unset=["GONE"],
            notes=["hello"],
        )
    ]
    result = machine.run("build", "-j3", env={"GONE": "1", "CODE": "101", "CARGO_TARGET_DIR": "/t"})
    assert result.returncode == 101
    assert result.stderr == b"forge: hello\n"
    machine.daemon.wait_for("ended")
    assert {number for number, _ in machine.daemon.heard} == {1}
    begin, started, ended = (message for _, message in machine.daemon.heard)
    assert begin["argv"] == ["build", "-j3"]
    assert begin["env"]["CARGO_TARGET_DIR"] == "/t"
    assert "SEEN" not in begin["env"]
    assert (begin["v"], begin["via"], begin["parent"]) == (1, "cargo", None)
    assert begin["cwd"] == str(machine.home)
    (cargo,) = machine.seen
    assert started["pid"] == cargo["pid"]
    assert begin["pid"] == cargo["ppid"]
    assert ended["exit"] == 101
    assert cargo["argv"] == ["build", "--changed"]
    assert cargo["env"]["ADDED"] == "yes"
    assert "GONE" not in cargo["env"]


def test_forge_verb_says_so(machine):
    machine.daemon.start()
    assert machine.run("build", as_=built_shim().forge).returncode == 0
    assert machine.daemon.wait_for("begin")["via"] == "forge"


def test_a_build_inside_a_build_names_its_parent(machine):
    machine.daemon.start()
    machine.run("build", env={"FORGE_BUILD": "41"})
    assert machine.daemon.wait_for("begin")["parent"] == "41"


@pytest.mark.parametrize(
    ("quiet", "said"),
    [("1", False), ("yes", False), ("0", True), ("", True)],  # on: anything but nothing and 0
)
def test_notes_are_silent_when_asked(machine, quiet, said):
    machine.daemon.start()
    say = {"type": "say", "line": "line"}
    machine.daemon.script["begin"] = lambda begin: [say, go(begin, notes=["hello"])]
    stderr = machine.run("build", env={"FORGE_QUIET": quiet}).stderr
    assert stderr == (b"forge: line\nforge: hello\n" if said else b"")


def test_a_missing_daemon_is_not_worth_a_word_when_asked_to_be_quiet(machine):
    result = machine.run("build", env={"FORGE_QUIET": "1"})
    assert (result.returncode, result.stderr) == (0, b"")
    assert machine.seen[0]["argv"] == ["build"]


def test_a_cargo_that_cannot_run_is_told_even_when_asked_to_be_quiet(machine):
    program(machine.cargo, "#!/nonexistent/interpreter\n")
    result = machine.run("build", env={"FORGE_QUIET": "1"})
    assert result.returncode == 127
    assert result.stderr.startswith(b"forge: cannot run ")


def test_what_the_daemon_says_before_go_is_printed(machine):
    machine.daemon.start()
    says = [{"type": "say", "line": "the disk \x1b[2Jis full"}, {"type": "say", "line": 7}]
    machine.daemon.script["begin"] = lambda begin: [*says, 0.1, go(begin)]
    assert machine.run("build").stderr == b"forge: the disk ?[2Jis full\n"
    assert len(machine.daemon.messages("started")) == 1


@pytest.mark.parametrize(
    "argv", [["run", "prog", "--help"], ["xtask", "--help"], ["build", "--", "--help"]]
)
def test_help_that_is_not_cargos_is_a_build(machine, argv):
    machine.daemon.start()
    assert machine.run(*argv).returncode == 0
    assert machine.daemon.wait_for("begin")["argv"] == argv


@pytest.mark.parametrize("argv", [[], ["--version"], ["fmt"], ["+nightly", "tree"], ["b", "-h"]])
def test_what_does_not_build_goes_straight_to_cargo(machine, argv):
    machine.daemon.start()
    process = subprocess.Popen(["cargo", *argv], env=machine.env, executable=built_shim().cargo)
    assert process.wait(20) == 0
    (cargo,) = machine.seen
    assert cargo["argv"] == argv
    assert cargo["pid"] == process.pid  # it became cargo: nothing stands between
    assert machine.daemon.heard == []


def test_metadata_is_told_the_target_dir_and_nothing_more(machine):
    machine.daemon.start()
    machine.daemon.script["begin"] = lambda begin: [go(begin, argv=["metadata", "--there"])]
    process = subprocess.Popen(
        ["cargo", "metadata"], env=machine.env, executable=built_shim().cargo
    )
    assert process.wait(20) == 0
    assert machine.seen[0]["argv"] == ["metadata", "--there"]
    assert machine.seen[0]["pid"] == process.pid
    machine.daemon.wait_closed("begin")
    assert [message["type"] for _, message in machine.daemon.heard] == ["begin"]


def test_the_jobserver_is_handed_over_by_two_descriptors(machine):
    machine.daemon.start()
    fifo = machine.home / "tokens"
    os.mkfifo(fifo)
    machine.daemon.script["begin"] = lambda begin: [go(begin, jobserver={"path": str(fifo)})]
    assert machine.run("build").returncode == 0
    (cargo,) = machine.seen
    flags = cargo["env"]["CARGO_MAKEFLAGS"]
    reader, writer = flags.removeprefix("-j --jobserver-fds=").split(" ")[0].split(",")
    assert flags == f"-j --jobserver-fds={reader},{writer} --jobserver-auth={reader},{writer}"
    assert {reader, writer} <= set(cargo["fds"])


def test_cargo_inherits_no_other_descriptor(machine):
    machine.daemon.start()
    machine.run("build")
    machine.run("build", env={"FORGE_DISABLE": "1"})
    gated, plain = machine.seen
    assert gated["fds"] == plain["fds"]


def test_bytes_that_are_not_utf8_survive_the_way_there_and_back(machine):
    machine.daemon.start()
    result = machine.run("build", b"--example=na\xefve", env={"CARGO_HOME": b"/caf\xe9"})
    assert result.returncode == 0
    assert machine.daemon.wait_for("begin")["argv"] == ["build", "--example=na\udcefve"]
    assert machine.daemon.wait_for("begin")["env"]["CARGO_HOME"] == "/caf\udce9"
    assert machine.seen[0]["argv"] == ["build", "--example=na\udcefve"]


def test_a_command_line_of_200_kib_is_no_problem(machine):
    machine.daemon.start()
    argv = ["build", *("--feature" + "x" * 100 for _ in range(2000))]
    assert machine.run(*argv).returncode == 0
    assert machine.daemon.wait_for("begin")["argv"] == argv
    assert machine.seen[0]["argv"] == argv


def test_a_message_over_the_limit_is_not_sent(machine):
    machine.daemon.start()
    argv = ["build", *("x" * 1000 for _ in range(1100))]
    result = machine.run(*argv)
    assert result.stderr == (
        b"forge: the command line is too long for the daemon; cargo runs without Forge\n"
    )
    assert len(machine.seen[0]["argv"]) == len(argv)


OPEN_STREAMS = """#!/bin/sh
for fd in 0 1 2; do
    if [ -e /proc/$$/fd/$fd ]; then echo "$fd" >> "$SEEN"; fi
done
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("stream", [0, 1, 2])
def test_a_closed_stream_stays_closed_for_cargo(machine, stream):
    machine.daemon.start()
    program(machine.cargo, OPEN_STREAMS)
    command = ["/bin/sh", "-c", f'exec "$0" build {stream}>&-', str(built_shim().cargo)]
    assert subprocess.run(command, env=machine.env, timeout=30).returncode == 0
    assert machine.daemon.wait_for("ended")["exit"] == 0
    assert set(machine.seen_file.read_text().split()) == {"0", "1", "2"} - {str(stream)}


# --- which cargo -----------------------------------------------------------------------------


def test_path_with_empty_relative_and_duplicate_entries(machine):
    shim = built_shim().bin_dir
    (machine.home / "rel").mkdir()
    program(machine.home / "rel" / "cargo", "#!/bin/sh\nexit 9\n")
    (machine.home / "not-a-program").mkdir()
    (machine.home / "not-a-program" / "cargo").write_text("text")
    (machine.home / "a-directory" / "cargo").mkdir(parents=True)
    path = f":rel::{shim}:{shim}:./rel:{machine.home}/not-a-program:{machine.home}/a-directory"
    result = machine.run("--version", env={"PATH": f"{path}:{machine.cargo.parent}:{shim}:"})
    assert result.returncode == 0
    assert machine.seen[0]["cargo"] == str(machine.cargo)


def test_the_cargo_that_was_named_comes_first(machine):
    other = program(machine.home / "other" / "cargo", CARGO)
    machine.run("--version", env={"FORGE_REAL_CARGO": str(other)})
    machine.run("--version", env={"FORGE_REAL_CARGO": str(built_shim().cargo)})  # that is us
    machine.run("--version", env={"FORGE_REAL_CARGO": "/nonexistent"})
    assert [seen["cargo"] for seen in machine.seen] == [str(other)] + [str(machine.cargo)] * 2


def test_other_names_of_the_shim_are_not_taken_for_cargo(machine):
    linked = machine.home / "linked"
    linked.mkdir()
    (linked / "cargo").symlink_to(built_shim().cargo)
    path = os.pathsep.join((str(linked), machine.env["PATH"]))
    assert machine.run("--version", env={"PATH": path}, as_=linked / "cargo").returncode == 0
    assert len(machine.seen) == 1


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS ends copied binaries")
@pytest.mark.parametrize("kind", ["exec", "child"])
def test_two_installed_wrappers_without_markers_do_not_call_each_other_for_ever(machine, kind):
    copies = []
    for name in ("one", "two", "three"):
        (machine.home / name).mkdir()
        copies.append(machine.home / name / "cargo")
        shutil.copy(built_shim().path, copies[-1])
    if kind == "child":
        machine.daemon.start()
    path = os.pathsep.join([*(str(copy.parent) for copy in copies), machine.env["PATH"]])
    verb = "build" if kind == "child" else "--version"
    for first in copies:
        machine.seen_file.unlink(missing_ok=True)
        assert machine.run(verb, env={"PATH": path}, as_=first).returncode == 0
        assert [seen["argv"] for seen in machine.seen] == [[verb]]
    assert len(machine.daemon.messages("begin")) == (3 if kind == "child" else 0)


def test_without_any_cargo_the_code_is_that_of_a_shell(machine):
    result = machine.run("build", env={"PATH": f"{built_shim().bin_dir}:relative"})
    assert result.returncode == 127
    assert result.stderr.splitlines()[0] == b"forge: no cargo found on PATH"


# --- while cargo runs ------------------------------------------------------------------------

SLEEPER = """#!/bin/sh
echo $$ > "$SEEN"
exec sleep 20
"""


def sleeping(machine, **options):
    """Start a build whose cargo sleeps; return the launcher's process and cargo's pid."""
    program(machine.cargo, SLEEPER)
    machine.daemon.start()
    process = subprocess.Popen([built_shim().cargo, "build"], env=machine.env, **options)
    machine.daemon.wait_for("started")
    deadline = time.monotonic() + 10
    while not (machine.seen_file.exists() and machine.seen_file.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process, int(machine.seen_file.read_text())


def test_what_the_daemon_says_is_printed(machine):
    process, cargo = sleeping(machine, stderr=subprocess.PIPE)
    machine.daemon.send("begin", {"type": "say", "line": "the model is \x1b[2Jsqueezed"})
    time.sleep(0.3)
    os.kill(cargo, signal.SIGTERM)
    assert process.communicate(timeout=10)[1] == b"forge: the model is ?[2Jsqueezed\n"


def test_a_build_outlives_its_daemon_and_is_adopted_by_the_next_one(machine):
    process, cargo = sleeping(machine)
    machine.daemon.stop()
    time.sleep(1.2)
    assert process.poll() is None
    second = FakeForged(machine.state).start()
    try:
        adopt = second.wait_for("adopt", within_s=5)
        assert (adopt["v"], adopt["build"], adopt["cargo_pid"]) == (1, "7", cargo)
        assert adopt["pid"] == process.pid
        assert (adopt["target_dir"], adopt["jobserver"]) == (None, None)
        os.kill(cargo, signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
        assert second.wait_for("ended")["signal"] == signal.SIGKILL
    finally:
        second.stop()


def test_a_new_daemon_that_refuses_changes_nothing(machine):
    process, cargo = sleeping(machine)
    machine.daemon.stop()
    second = FakeForged(machine.state)
    second.script["adopt"] = lambda adopt: [{"type": "error", "slug": "x", "message": "no"}]
    second.start()
    try:
        second.wait_for("adopt", within_s=5)
        time.sleep(0.2)
        assert process.poll() is None
        os.kill(cargo, signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM
    finally:
        second.stop()
