"""A real daemon with many launchers: the line, target dirs, cancelling, holding, restarts."""

import fcntl
import os
import select
import signal
import subprocess
import time

import pytest

from tests.daemon.clients import daemon_ask, open_build, open_unit, project, replies
from tests.daemon.harness import RealDaemon


@pytest.fixture
def daemon(tmp_path):
    mount_point = tmp_path / "builds"
    disk = f'[disk]\nkind = "directory"\nsize = "128MiB"\nmount_point = "{mount_point}"\n'
    one = RealDaemon(f"{disk}[builds]\nat_once = 2\ngates = false\n")
    one.start()
    yield one
    one.close()


def line_reason(connection):
    """Return why a build stands in line, which it is told after its workspace was found."""
    while True:
        reason = replies(connection, until=("wait",))[-1]["reason"]
        if "is being" not in reason:
            return reason


def phases(daemon):
    return [build["phase"] for build in daemon.status()["builds"]]


def test_a_hundred_builds_in_a_second_go_two_at_a_time_and_all_get_their_turn(daemon, tmp_path):
    began = time.monotonic()
    builds = [open_build(daemon, project(tmp_path, f"p{number}")) for number in range(100)]
    daemon.wait_for(lambda: len(daemon.status()["builds"]) == 100, "a hundred builds")
    opened_s = time.monotonic() - began
    assert opened_s < 30, "the daemon is overrun"
    most = 0
    deadline = time.monotonic() + 60
    while builds and time.monotonic() < deadline:
        for turn in select.select(builds, [], [], 1.0)[0]:
            turn.fill()
            if "go" in [message["type"] for message in iter(turn.next_buffered, None)]:
                at_work = sum(phase in ("granted", "running") for phase in phases(daemon))
                most = max(most, at_work)
                turn.send({"type": "ended", "exit": 0})
                builds.remove(turn)
    assert not builds, f"{len(builds)} never had their turn"
    assert most == 2
    daemon.wait_for(lambda: not daemon.status()["builds"], "the end of all builds")
    assert not [one for one in daemon.decisions() if one["decision"] == "daemon.bug"]


def test_the_line_says_who_is_ahead_and_a_launcher_that_leaves_makes_room(daemon, tmp_path):
    first, second = (open_build(daemon, project(tmp_path, name)) for name in ("one", "two"))
    replies(first), replies(second)
    third = open_build(daemon, project(tmp_path, "three"))
    line_reason(third)  # it stands in line before the next one comes
    fourth = open_build(daemon, project(tmp_path, "four"))
    assert "1 ahead: b3 (three)" in line_reason(fourth)
    third.close()
    first.send({"type": "ended", "exit": 0})
    assert replies(fourth)[-1]["type"] == "go"


def test_two_builds_of_one_project_follow_each_other_as_soon_as_the_lock_is_free(daemon, tmp_path):
    root = project(tmp_path, "app")
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        first = open_build(daemon, root, "run")
        go = replies(first)[-1]
        profile = f"{go['target_dir']}/debug"
        os.makedirs(profile, exist_ok=True)
        lock = os.open(f"{profile}/.cargo-lock", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        first.send({"type": "started", "pid": sleeper.pid})
        second = open_build(daemon, root, "check")
        assert "which builds in the same target dir" in line_reason(second)
        time.sleep(0.6)  # a few looks at the lock
        assert [one["queue"] is None for one in daemon.status()["builds"]] == [True, False]
        os.close(lock)
        assert replies(second)[-1]["type"] == "go"
        assert len(daemon.status()["builds"]) == 2, "the program of the first still runs"
    finally:
        sleeper.kill()
        sleeper.wait()


def test_what_waits_is_cancelled_and_what_runs_is_ended_with_its_children(daemon, tmp_path):
    running = open_build(daemon, project(tmp_path, "one"))
    replies(running)
    cargo = subprocess.Popen(["sh", "-c", "sleep 60 & sleep 60 & wait"], start_new_session=True)
    try:
        running.send({"type": "started", "pid": cargo.pid})
        daemon.wait_for(lambda: "running" in phases(daemon), "a running build")
        assert daemon_ask(daemon, {"type": "hold", "on": True})["type"] == "ok"
        waiting = open_build(daemon, project(tmp_path, "two"))
        assert "held" in line_reason(waiting)
        daemon_ask(daemon, {"type": "cancel_build", "build": "b2"})
        assert replies(waiting)[-1] == {
            "type": "end", "line": "b2 was cancelled by `forge cancel`", "exit": 130,
        }  # fmt: skip
        line = daemon_ask(daemon, {"type": "cancel_build", "build": "b1"})["line"]
        assert line == "b1 (one) is cancelled; it was running"
        assert cargo.wait(10) == -signal.SIGTERM
        daemon.wait_for(lambda: not session_members(cargo.pid), "the end of what cargo started")
        assert replies(running)[-1]["type"] == "end"
    finally:
        for pid in session_members(cargo.pid):
            os.kill(pid, signal.SIGKILL)


def session_members(leader):
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, psutil.Error):
            continue
    return found


def test_clients_that_connect_and_say_nothing_hold_up_nobody(daemon, tmp_path):
    silent = [daemon.raw() for _ in range(100)]
    build = open_build(daemon, project(tmp_path, "app"))
    assert replies(build)[-1]["type"] == "go"
    for one in silent:
        one.close()


def test_five_running_builds_are_adopted_with_their_units_and_nothing_is_doubled(tmp_path):
    daemon = RealDaemon(
        f'[disk]\nkind = "directory"\nsize = "128MiB"\nmount_point = "{tmp_path / "builds"}"\n'
        "[host]\ncores = 3\n[builds]\nat_once = 5\ngates = false\n"
    )
    sleepers = [subprocess.Popen(["sleep", "60"]) for _ in range(5)]
    try:
        daemon.start()
        builds = [open_build(daemon, project(tmp_path, f"p{number}")) for number in range(5)]
        granted = [replies(build)[-1] for build in builds]
        for build, sleeper in zip(builds, sleepers, strict=True):
            build.send({"type": "started", "pid": sleeper.pid})
        units = [open_unit(daemon, go["build"], running=False) for go in granted[:3]]
        assert all(replies(unit)[-1]["type"] == "go" for unit in units)
        daemon.processes[-1].kill()
        daemon.processes[-1].wait()
        daemon.start()
        again = []
        for go, sleeper in zip(granted, sleepers, strict=True):
            connection = daemon.connect()
            answer = connection.ask(
                {
                    "type": "adopt", "pid": os.getpid(), "build": go["build"],
                    "cargo_pid": sleeper.pid, "cwd": "/", "argv": ["build"],
                    "target_dir": go["target_dir"],
                    "jobserver": go["jobserver"] and go["jobserver"]["path"],
                },
                patience_s=10,
            )  # fmt: skip
            assert answer == {"type": "adopted", "build": go["build"]}
            again.append(connection)
        units = [open_unit(daemon, go["build"], running=True) for go in granted[:3]]
        assert all(replies(unit)[-1]["type"] == "go" for unit in units)
        status = daemon.status()
        assert status["budget"]["running_cores"] == 3
        assert [build["id"] for build in status["builds"]] == [go["build"] for go in granted]
        late = open_unit(daemon, granted[4]["build"], running=False)
        assert "3 of 3 cores busy" in line_reason(late)
        units[0].send({"type": "unit_ended", "exit": 0})
        assert replies(late)[-1]["type"] == "go"
        new = open_build(daemon, project(tmp_path, "late"))
        assert "5 at work" in line_reason(new)
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()
        daemon.close()
