"""`forge reserve` as people run it, before a real daemon: waits, deaths, restarts."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.daemon.clients import daemon_ask
from tests.daemon.harness import ROOT, RealDaemon

FORGE = [sys.executable, "-P", "-m", "forge.cli.main", "reserve"]
HOLDS = "echo began; read line"
"""A command that says that it runs, and ends when it is spoken to or its stdin ends."""


@pytest.fixture
def daemon(tmp_path):
    disk = f'[disk]\nkind = "directory"\nsize = "128MiB"\nmount_point = "{tmp_path / "builds"}"\n'
    one = RealDaemon(f"{disk}[host]\ncores = 2\n[builds]\ngates = false\n", PYTHONSAFEPATH="1")
    one.start()
    yield one
    one.close()


@pytest.fixture
def forge(daemon):
    """Starts `forge reserve`, and ends what it has started."""
    started = []

    def start(*argv, **options):
        process = subprocess.Popen(
            [*FORGE, *argv], env={**daemon.env, **options.pop("env", {})}, cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            root = psutil.Process(process.pid)
            for one in [*root.children(recursive=True), root]:  # its command has our pipes as well
                with contextlib.suppress(psutil.Error):
                    one.kill()
        process.communicate()


def reservations(daemon):
    return {one["name"]: one for one in daemon.status()["reservations"]}


def runs(daemon, name):
    return reservations(daemon).get(name, {}).get("running")


def most_gib(daemon):
    """So much, in GiB, that no two such commands fit: more than half of what can be had."""
    available = daemon.wait_for(
        lambda: daemon.status()["memory"]["available_bytes"], "a reading of memory"
    )
    return f"{available * 0.6 / 1024**3:.2f}GiB"


def test_the_second_of_two_that_do_not_fit_starts_when_the_first_ends(daemon, forge):
    size = most_gib(daemon)
    first = forge("--memory", size, "--name", "first", "--", "sh", "-c", HOLDS)
    assert first.stdout.readline() == "began\n"
    second = forge("--memory", size, "--name", "second", "--", "sh", "-c", HOLDS)
    wait = daemon.wait_for(lambda: reservations(daemon).get("second"), "the second")["wait"]
    assert wait.startswith("waiting for memory: ")
    assert "this command needs" in wait
    assert daemon.status()["budget"]["running_cores"] == 1
    first.communicate("end\n", timeout=20)
    assert second.stdout.readline() == "began\n"
    said = second.communicate("end\n", timeout=20)[1]
    assert not said or said.startswith("forge: waiting for memory: ")
    assert (first.returncode, second.returncode) == (0, 0)
    daemon.wait_for(lambda: not reservations(daemon), "the end of both")
    ended = [one for one in daemon.decisions() if one["decision"] == "reserve.ended"]
    assert [(one["name"], one["exit"]) for one in ended] == [("first", 0), ("second", 0)]


@pytest.mark.parametrize("is_waiting", [False, True])
def test_a_client_that_is_killed_gives_all_back(daemon, forge, is_waiting):
    size = most_gib(daemon)
    first = forge("--memory", size, "--cores", "2", "--name", "first", "--", "sh", "-c", HOLDS)
    assert first.stdout.readline() == "began\n"
    second = forge("--memory", size, "--name", "second", "--", "sh", "-c", HOLDS)
    daemon.wait_for(lambda: reservations(daemon).get("second"), "the second")
    (second if is_waiting else first).send_signal(signal.SIGKILL)
    name = "second" if is_waiting else "first"
    daemon.wait_for(lambda: name not in reservations(daemon), "its end")
    if not is_waiting:
        assert second.stdout.readline() == "began\n"
        second.communicate("end\n", timeout=20)
    else:
        first.communicate("end\n", timeout=20)
    daemon.wait_for(lambda: not daemon.status()["budget"]["running_cores"], "all cores")
    assert daemon.status()["memory"]["beside_buffer_bytes"] == 0


def test_the_next_daemon_counts_a_command_that_runs(daemon, forge):
    process = forge("--memory", "64MiB", "--cores", "2", "--name", "import", "--", "sh", "-c",
                    "echo $FORGE_RESERVATION; read line; exit 3")  # fmt: skip
    reservation = process.stdout.readline().strip()
    assert reservations(daemon)["import"]["id"] == reservation
    os.kill(daemon.processes[-1].pid, signal.SIGKILL)
    daemon.processes[-1].wait()
    daemon.start()
    daemon.wait_for(lambda: runs(daemon, "import"), "the command's coming back")
    again = reservations(daemon)["import"]
    assert (again["id"], again["memory_mib"], again["cores"]) == (reservation, 64, 2)
    assert daemon.status()["budget"]["running_cores"] == 2
    assert process.communicate("end\n", timeout=20)[1] == ""
    assert process.returncode == 3
    daemon.wait_for(lambda: not reservations(daemon), "its end")


def test_a_command_that_waits_asks_the_next_daemon_which_it_starts(daemon, forge):
    daemon_ask(daemon, {"type": "hold", "on": True})
    process = forge("--name", "echo", "--", "echo", "ran")
    daemon.wait_for(lambda: reservations(daemon).get("echo"), "the command")
    os.kill(daemon.processes[-1].pid, signal.SIGKILL)
    daemon.processes[-1].wait()
    out, said = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "ran\n")
    assert "nothing reserved" not in said, said
    names = [one["decision"] for one in daemon.decisions()]
    last = len(names) - names[::-1].index("daemon.started")
    assert "reserve.granted" in names[last:]
    daemon_ask(daemon, {"type": "stop"})


def test_what_the_tree_of_a_command_uses_is_measured(daemon, forge):
    hog = "x = bytearray(200 << 20); print('began', flush=True); input()"
    process = forge("--memory", "64MiB", "--name", "hog", "--", "sh", "-c",
                    f'{sys.executable} -c "{hog}"; true')  # fmt: skip
    assert process.stdout.readline() == "began\n"
    used = daemon.wait_for(
        lambda: (n := reservations(daemon)["hog"]["used_bytes"]) > 200 << 20 and n, "its use"
    )
    assert daemon.status()["memory"]["beside_buffer_bytes"] >= used, "it books what it has"
    process.communicate("end\n", timeout=20)


def test_a_command_that_is_cancelled_gets_sigterm_and_its_end_is_its_own(daemon, forge):
    process = forge("--", "sh", "-c", "trap 'echo termed; exit 9' TERM; echo began; "
                    "while :; do sleep 0.1; done")  # fmt: skip
    assert process.stdout.readline() == "began\n"
    reservation = reservations(daemon)["sh"]["id"]
    reply = daemon_ask(daemon, {"type": "cancel_build", "build": reservation})
    assert reply["line"] == f"{reservation} is cancelled; it was running"
    out, said = process.communicate(timeout=20)
    assert (process.returncode, out) == (9, "termed\n")
    assert said == f"forge: {reservation} was cancelled by `forge cancel`\n"


def test_a_command_that_is_cancelled_while_it_waits_never_runs(daemon, forge):
    daemon_ask(daemon, {"type": "hold", "on": True})
    process = forge("--", "echo", "ran")
    reservation = daemon.wait_for(lambda: reservations(daemon).get("echo"), "the command")["id"]
    daemon_ask(daemon, {"type": "cancel_build", "build": reservation})
    assert process.communicate(timeout=20)[0] == ""
    assert process.returncode == 130


def test_a_command_gives_up_when_it_was_told_to(daemon, forge):
    daemon_ask(daemon, {"type": "hold", "on": True})
    process = forge("--wait-timeout", "1s", "--", "echo", "ran")
    out, said = process.communicate(timeout=20)
    assert (process.returncode, out) == (75, "")
    assert "forge: gave up after 1.0 s: waiting: the machine is held" in said


class TestAsIfThereWereNoForge:
    def test_streams_exit_code_directory_and_environment_are_the_commands(self, daemon, forge):
        script = "cat; pwd; echo $MINE >&2; exit 5"
        process = forge("--", "sh", "-c", script, env={"MINE": "said"})
        assert process.communicate("typed\n", timeout=20) == (f"typed\n{ROOT}\n", "said\n")
        assert process.returncode == 5

    def test_it_ends_by_the_signal_that_ended_the_command(self, daemon, forge):
        process = forge("--", "sh", "-c", "kill -USR1 $$")
        process.communicate(timeout=20)
        assert process.returncode == -signal.SIGUSR1
        (ended,) = [one for one in daemon.decisions() if one["decision"] == "reserve.ended"]
        assert (ended["signal"], ended["exit"]) == (signal.SIGUSR1, None)

    def test_signals_are_passed_on_and_the_group_is_one(self, daemon, forge):
        process = forge("--", "sh", "-c", "trap 'exit 4' HUP; ps -o pgid= -p $$; "
                        "while :; do sleep 0.1; done", start_new_session=True)  # fmt: skip
        assert int(process.stdout.readline()) == process.pid
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=20)
        assert process.returncode == 4

    def test_a_command_that_is_not_there_costs_no_wait(self, daemon, forge):
        daemon_ask(daemon, {"type": "hold", "on": True})
        process = forge("--", "no-such-command")
        said = process.communicate(timeout=20)[1]
        assert process.returncode == 127
        assert said == "forge: `no-such-command` is not found, or cannot be run\n"

    def test_a_daemon_that_dies_and_stays_away_leaves_the_command_alone(self, daemon, forge):
        process = forge("--", "sh", "-c", "echo began; read line; exit 6")
        assert process.stdout.readline() == "began\n"
        os.kill(daemon.processes[-1].pid, signal.SIGKILL)
        time.sleep(1.5)
        assert process.communicate("end\n", timeout=20) == ("", "")
        assert process.returncode == 6
