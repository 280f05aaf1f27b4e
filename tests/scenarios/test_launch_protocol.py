"""Both launchers and the protocol: options, variables, and the end of a build.

The real cargo is a script here and the daemon is a fake one, so that each case shows exactly what
reached them. With the real ones: test_build_steering.py. The waiting line: test_launch_wait.py.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.fake_forged import FakeForged, go, program
from tests.scenarios.launchers import WAIT, Launcher

pytestmark = pytest.mark.skipif(shutil.which("rustc") is None, reason="no rustc to build the shim")

VECTORS = Path(__file__).parent.parent / "data" / "vectors"
OPTIONS = json.loads((VECTORS / "options.json").read_text())


@pytest.fixture(params=["native", "python"])
def launcher(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Launcher]:
    found = Launcher(tmp_path, request.param)
    found.daemon.start()
    yield found
    found.daemon.stop()


# --- options and variables -------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv",
    [
        ["--forge-priority", "batch", "build", "--forge-wait-timeout=5m", "-q"],
        ["build", "-q", "--forge-wait-timeout", "5m", "--forge-priority=batch"],
    ],
)
def test_options_reach_the_daemon_as_variables_and_never_cargo(launcher, argv):
    inherited = {"FORGE_PRIORITY": "interactive", "FORGE_WAIT_TIMEOUT": "nonsense"}
    assert launcher.go(*argv, env=inherited) == (0, "")
    begin = launcher.daemon.wait_for("begin")
    assert begin["argv"] == ["build", "-q"]
    assert begin["env"]["FORGE_PRIORITY"] == "batch"
    assert begin["env"]["FORGE_WAIT_TIMEOUT"] == "5m"
    (cargo,) = launcher.seen
    assert cargo["argv"] == ["build", "-q"]
    assert cargo["env"]["FORGE_PRIORITY"] == "interactive"  # what it starts has its own options


@pytest.mark.parametrize("case", ["disabled", "no daemon", "a verb that does not build"])
def test_without_a_daemon_cargo_sees_no_options_either(launcher, case):
    if case == "no daemon":
        launcher.daemon.stop()
    env = {"FORGE_DISABLE": "1" if case == "disabled" else "", "FORGE_QUIET": "1"}
    verb = "fmt" if case.startswith("a verb") else "build"
    argv = ["--forge-priority=batch", verb, "--forge-wait-timeout", "0", "--", "--forge-priority"]
    assert launcher.go(*argv, env=env) == (0, "")
    assert launcher.seen[0]["argv"] == [verb, "--", "--forge-priority"]
    assert launcher.daemon.messages("begin") == []


@pytest.mark.parametrize(
    "case", [one for one in OPTIONS if "error" in one], ids=lambda case: " ".join(case["argv"])[:50]
)
def test_a_wrong_option_is_one_line_and_64_and_no_cargo(launcher, case):
    for env in ({}, {"FORGE_DISABLE": "1"}, {"FORGE_QUIET": "1"}):
        assert launcher.go(*case["argv"], env=env) == (64, f"forge: {case['error']}\n")
    assert launcher.seen == []
    assert launcher.daemon.heard == []


@pytest.mark.parametrize(
    ("env", "said"),
    [
        (
            {"FORGE_PRIORITY": "high", "FORGE_WAIT_TIMEOUT": "ever"},
            "forge: FORGE_PRIORITY is ignored: `high` is no priority (`FORGE_PRIORITY` takes"
            " `interactive` or `batch`)\nforge: FORGE_WAIT_TIMEOUT is ignored: `ever` is no"
            " duration (`FORGE_WAIT_TIMEOUT` takes seconds, or as in `90s`, `5m` or `1h`; `0`: do"
            " not wait)\n",
        ),
        ({"FORGE_PRIORITY": "high", "FORGE_QUIET": "1"}, ""),
        ({"FORGE_PRIORITY": "high", "FORGE_BUILD": "b1"}, ""),  # the outer launcher has said so
        ({"FORGE_PRIORITY": ""}, ""),
    ],
)
def test_a_wrong_variable_is_told_once_and_breaks_nothing(launcher, env, said):
    assert launcher.go("build", env=env) == (0, said)
    assert launcher.seen[0]["argv"] == ["build"]


def test_a_wrong_variable_is_not_told_to_what_only_asks_where_things_are(launcher):
    assert launcher.go("metadata", env={"FORGE_PRIORITY": "high"}) == (0, "")


def test_runners_and_the_tests_own_variables_are_sent_and_secrets_are_not(launcher):
    env = {
        "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER": "qemu",
        "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER": "ld",
        "CARGO_REGISTRY_TOKEN": "secret",
        "FORGE_TEST": "4711",
        "FORGE_RESERVATION": "r4",
    }
    launcher.go("build", env=env)
    sent = launcher.daemon.wait_for("begin")["env"]
    assert sent["CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER"] == "qemu"
    assert (sent["FORGE_TEST"], sent["FORGE_RESERVATION"]) == ("4711", "r4")
    assert {"CARGO_REGISTRY_TOKEN", "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER"}.isdisjoint(sent)


def test_metadata_becomes_cargo_and_the_lease_ends(launcher):
    launcher.daemon.script["begin"] = lambda begin: [go(begin, argv=["metadata", "--there"])]
    process = launcher.start("metadata")
    process.communicate(timeout=30)
    (cargo,) = launcher.seen
    assert (cargo["pid"], cargo["argv"]) == (process.pid, ["metadata", "--there"])
    launcher.daemon.wait_closed("begin")
    assert [message["type"] for _, message in launcher.daemon.heard] == ["begin"]


# --- answers that make no sense --------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        {"type": "go"},
        {"type": "go", "build": 1, "argv": []},
        {"type": "go", "build": "1", "argv": ["a\0b"]},
        {"type": "go", "build": "1", "argv": [], "env": {"A": 1}},
        {"type": "go", "build": "1", "argv": [], "env": {"A=B": "1"}},
        {"type": "go", "build": "1", "argv": [], "target_dir": 1},
        {"type": "go", "build": "1", "argv": [], "jobserver": "/f"},
        {"type": "go", "build": "1", "argv": [], "unset": None},
        *({"type": "end", "line": "x", "exit": code} for code in (None, -1, 256, 1.5, "1", True)),
    ],
    ids=str,
)
def test_an_answer_that_cannot_be_followed_breaks_no_build(launcher, answer):
    launcher.answers({"type": "wait", "reason": 7, "since_s": "long"}, answer)
    code, said = launcher.go("build")
    assert (code, said.count("\n")) == (0, 1)
    assert said.endswith("; cargo runs without Forge\n")
    assert launcher.seen[0]["argv"] == ["build"]


# --- the end of a build ----------------------------------------------------------------------


@pytest.mark.parametrize("quiet", ["", "1"])
@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("b7 was cancelled by \x1b `forge cancel`", 130, "b7 was cancelled by ? `forge cancel`"),
        ("gave up after 5.0 s: waiting for memory", 75, "gave up after 5.0 s: waiting for memory"),
        (None, 130, None),
    ],
)
def test_an_end_in_the_line_is_told_and_cargo_does_not_run(launcher, line, code, said, quiet):
    launcher.answers(WAIT, {"type": "end", "line": line, "exit": code})
    told = f"forge: {said}\n" if said else ""
    assert launcher.go("build", env={"FORGE_QUIET": quiet}) == (code, told)
    assert launcher.seen == []
    assert [message["type"] for _, message in launcher.daemon.heard] == ["begin"]


SLEEPER = '#!/bin/sh\n{trap}\necho $$ > "$SEEN"\nwhile :; do sleep 0.05; done\n'


def sleeping(launcher, *, trap: str = "", **options) -> tuple["subprocess.Popen[bytes]", int]:
    """Start a build whose cargo goes on for ever; return its launcher and cargo's pid."""
    program(launcher.cargo, SLEEPER.format(trap=trap))
    process = launcher.start("build", **options)
    launcher.daemon.wait_for("started")
    deadline = time.monotonic() + 10
    while not (launcher.seen_file.exists() and launcher.seen_file.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process, int(launcher.seen_file.read_text())


END = {"type": "end", "line": "b7 was cancelled", "exit": 130}


@pytest.mark.parametrize("quiet", ["", "1"])
def test_an_end_of_what_runs_is_told_and_the_build_ends_as_cargo_does(launcher, quiet):
    process, cargo = sleeping(launcher, env={"FORGE_QUIET": quiet})
    launcher.daemon.send("begin", END)
    assert process.communicate(timeout=20)[1] == b"forge: b7 was cancelled\n"
    assert process.returncode == -signal.SIGTERM
    assert launcher.daemon.wait_for("ended")["signal"] == signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(cargo, 0)


def test_a_cargo_that_ends_well_when_told_to_gives_its_own_code(launcher):
    process, _ = sleeping(launcher, trap="trap 'exit 3' TERM")
    launcher.daemon.send("begin", END)
    launcher.daemon.send("begin", END)  # said once
    assert process.communicate(timeout=20)[1] == b"forge: b7 was cancelled\n"
    assert process.returncode == 3
    assert launcher.daemon.wait_for("ended")["exit"] == 3


def test_a_cargo_that_is_stopped_ends_as_well(launcher):
    process, cargo = sleeping(launcher)
    os.kill(cargo, signal.SIGSTOP)
    launcher.daemon.send("begin", END)
    assert process.wait(20) == -signal.SIGTERM
    process.communicate()


def test_a_cargo_that_does_not_end_is_killed(launcher):
    process, _ = sleeping(launcher, trap="trap '' TERM")
    began_at = time.monotonic()
    launcher.daemon.send("begin", END)
    launcher.daemon.wait_for("begin")
    launcher.daemon.stop()  # it has to be killed without a daemon as well
    assert process.wait(30) == -signal.SIGKILL
    assert time.monotonic() - began_at > 4
    process.communicate()


# --- a daemon that was replaced --------------------------------------------------------------


def test_the_next_daemon_adopts_a_build_and_may_end_it(launcher):
    process, cargo = sleeping(launcher, env={"FORGE_RESERVATION": "r4"})
    launcher.daemon.stop()
    second = FakeForged(launcher.state).start()
    try:
        adopt = second.wait_for("adopt")
        assert (adopt["v"], adopt["build"], adopt["cargo_pid"]) == (1, "7", cargo)
        assert adopt["lender"] == "r4"
        assert (adopt["pid"], adopt["client"]) == (process.pid, "0.1.0")
        second.send("adopt", END)
        assert process.wait(20) == -signal.SIGTERM
        assert second.wait_for("ended")["signal"] == signal.SIGTERM
    finally:
        second.stop()
        process.communicate()


def test_the_next_daemon_is_told_how_many_tokens_the_jobserver_was_made_with(launcher, tmp_path):
    fifo = tmp_path / "b7.jobs"
    os.mkfifo(fifo)
    jobserver = {"path": str(fifo), "tokens": 3}
    launcher.daemon.script["begin"] = lambda begin: [go(begin, jobserver=jobserver)]
    process, _ = sleeping(launcher)
    launcher.daemon.stop()
    second = FakeForged(launcher.state).start()
    try:
        adopt = second.wait_for("adopt")
        assert (adopt["jobserver"], adopt["tokens"]) == (str(fifo), 3)
    finally:
        process.terminate()
        process.communicate()
        second.stop()


def test_a_daemon_that_refuses_a_build_is_left_alone_for_a_while(launcher):
    process, cargo = sleeping(launcher)
    launcher.daemon.stop()
    second = FakeForged(launcher.state)
    refusal = {"type": "error", "slug": "protocol-mismatch", "message": "no"}
    second.script["adopt"] = lambda adopt: [refusal]
    second.start()
    try:
        second.wait_for("adopt")
        second.wait_closed("adopt")
        time.sleep(2.5)
        assert len(second.messages("adopt")) == 1
        os.kill(cargo, signal.SIGKILL)
        assert process.wait(20) == -signal.SIGKILL
        assert process.communicate()[1] == b""
    finally:
        second.stop()
