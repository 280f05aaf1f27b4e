"""`forge reserve`: what it asks for, and what becomes of the command when Forge is not well."""

import os
import subprocess
import sys

import pytest

from tests.cli.conftest import Forge, StartDaemon

END = {"type": "end", "line": "gave up at once: waiting for memory", "exit": 75}


def run(env, *argv):
    """Run it as a process of its own: it may become the command."""
    command = [sys.executable, "-m", "forge.cli.main", "reserve", *argv]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


def test_it_asks_for_what_it_was_told_to_and_tells_no_secrets(
    forge: Forge, daemon: StartDaemon, env
):
    env |= {"SECRET_TOKEN": "s3cret", "FORGE_RESERVATION": "r3"}
    fake = daemon(reserve=[END])
    result = forge(
        "reserve", "--memory", "1.5GiB", "--cores=4", "--priority", "interactive", "--name",
        "import", "--wait-timeout", "5m", "--", "/bin/sh", "-c", "--password=s3cret",
    )  # fmt: skip
    assert (result.code, result.out) == (75, "")
    assert result.err == "forge: gave up at once: waiting for memory\n"
    (request,) = fake.requests
    assert "s3cret" not in str(request)
    asked = ("memory_mib", "cores", "priority", "name", "wait_timeout_s", "argv0", "cwd", "lender")
    assert [request[key] for key in asked] == [
        1536, 4, "interactive", "import", pytest.approx(300, abs=30), "sh", os.getcwd(), "r3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("batch", None)),
        ({"FORGE_PRIORITY": "interactive", "FORGE_WAIT_TIMEOUT": "90s"}, ("interactive", 90.0)),
        ({"CI": "1", "FORGE_WAIT_TIMEOUT": "ever"}, ("batch", None)),
    ],
)
def test_what_is_not_given_goes_by_the_environment_as_for_a_build(
    forge: Forge, daemon: StartDaemon, env, given, expected
):
    env |= given
    fake = daemon(reserve=[END])
    forge("reserve", "true", "--cores", "9")
    (request,) = fake.requests
    priority, timeout_s = expected
    assert request["priority"] == priority
    assert request["wait_timeout_s"] == (timeout_s and pytest.approx(timeout_s, abs=30))
    assert (request["memory_mib"], request["cores"], request["name"]) == (0, 1, None)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--memory", "6GB", "true"], "'6GB' is not a size"),
        (["--memory", "six", "true"], "'six' is not a size"),
        (["--cores", "-1", "true"], "-1 is not in the range"),
        (["--cores", "two", "true"], "'two' is not a valid integer"),
        (["--priority", "high", "true"], "'high' is not one of"),
        (["--wait-timeout", "soon", "true"], "'soon' is not a duration"),
        (["--memory", "1GiB"], "missing argument"),
        (["--colour", "true"], "--colour"),
    ],
)
def test_a_wrong_value_is_named_and_nothing_runs(forge: Forge, argv, says):
    result = forge("reserve", *argv)
    assert (result.code, result.out) == (os.EX_USAGE, "")
    assert says in result.err
    assert result.err.count("\n") == 1


def test_what_can_never_be_had_is_refused_and_nothing_runs(forge: Forge, daemon: StartDaemon):
    message = "999.0 GiB cannot be reserved: this machine has 23.5 GiB"
    daemon(reserve=[{"type": "error", "slug": "usage-mistake", "message": message}])
    result = forge("reserve", "--memory", "999GiB", "true")
    assert (result.code, result.err) == (os.EX_USAGE, f"forge: {message}\n")


def test_a_command_is_never_begun_anew(daemon: StartDaemon, env):
    requeue = {"type": "requeue", "line": "memory is short", "again": "b7/1/0"}
    fake = daemon(
        reserve=[{"type": "go", "reservation": "r1"}, requeue], reserve_ended=[requeue]
    )  # fmt: skip
    done = run(env, "sh", "-c", "echo ran; sleep 1; exit 101")
    assert (done.returncode, done.stdout, done.stderr) == (101, "ran\n", "")
    assert [one["type"] for one in fake.requests] == ["reserve", "reserve_ended"]


WRONG_ANSWERS = [
    {"type": "error", "slug": "protocol-mismatch", "message": "there is no message `reserve`"},
    {"type": "go", "reservation": 7},
    {"type": "go", "reservation": "r1", "env": {"A=B": "c"}},
    {"type": "go", "reservation": "r1", "env": {"A": 1}},
    {"type": "end", "line": "no", "exit": 999},
    b"garbage\n",
    None,  # it hangs
]


@pytest.mark.parametrize("answer", WRONG_ANSWERS, ids=str)
def test_a_daemon_that_is_not_well_does_not_keep_the_command_from_running(
    daemon: StartDaemon, env, answer
):
    daemon(reserve=[answer])
    done = run(env, "sh", "-c", "echo ran; exit 7")
    assert (done.returncode, done.stdout) == (7, "ran\n")
    assert done.stderr.endswith("; sh runs with nothing reserved\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("answer", WRONG_ANSWERS, ids=str)
def test_unless_it_must_not_run_without(daemon: StartDaemon, env, answer):
    daemon(reserve=[answer])
    done = run(env, "--strict", "sh", "-c", "echo ran; exit 7")
    assert (done.returncode, done.stdout) == (os.EX_UNAVAILABLE, "")
    assert done.stderr.startswith("forge: nothing can be reserved: ")


def test_without_a_place_for_a_daemon_it_runs_all_the_same(env):
    env["FORGE_STATE_DIR"] = "/proc/nowhere"
    done = run(env, "sh", "-c", "echo ran; exit 7")
    assert (done.returncode, done.stdout) == (7, "ran\n")
    assert "sh runs with nothing reserved" in done.stderr
    assert run(env, "--strict", "true").returncode == os.EX_UNAVAILABLE


def test_a_forge_that_is_disabled_is_not_there(env):
    env |= {"FORGE_DISABLE": "1", "FORGE_STATE_DIR": "/proc/nowhere"}
    done = run(env, "sh", "-c", "echo ran; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "ran\n", "")
