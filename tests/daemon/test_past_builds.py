"""A real daemon, asked with the real commands: the line, what was, and why; across a restart."""

import json
import os
import subprocess
import sys

import pytest

from tests.daemon.clients import open_build, open_unit, project, replies
from tests.daemon.harness import ROOT, RealDaemon


@pytest.fixture
def daemon(tmp_path):
    mount_point = tmp_path / "builds"
    disk = f'[disk]\nkind = "directory"\nsize = "128MiB"\nmount_point = "{mount_point}"\n'
    one = RealDaemon(f"{disk}[host]\ncores = 1\n[builds]\nat_once = 1\ngates = false\n")
    one.start()
    yield one
    one.close()


def forge(daemon, *argv, cwd=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "forge.cli.main", *argv],
        env=daemon.env, cwd=cwd, text=True, capture_output=True, timeout=30, check=False,
    )  # fmt: skip


def told(daemon, *argv, **options):
    result = forge(daemon, *argv, "--json", **options)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def restart(daemon):
    process = daemon.processes[-1]
    process.terminate()
    process.wait(20)
    daemon.start()


def end_unit(unit):
    unit.send({"type": "unit_ended", "exit": 0, "user_s": 1.0, "peak_kib": 2048})


def test_builds_wait_in_line_are_steered_and_remembered(daemon, tmp_path):
    one, two, three = (project(tmp_path, name) for name in ("one", "two", "three"))
    running = open_build(daemon, one)
    replies(running)
    running.send({"type": "started", "pid": os.getpid()})
    second, third = open_build(daemon, two), open_build(daemon, three)
    daemon.wait_for(lambda: len(told(daemon, "queue")["waiting"]) == 2, "two in line")

    assert [one["id"] for one in told(daemon, "queue")["waiting"]] == ["b2", "b3"]
    assert forge(daemon, "prio", "3", "interactive").returncode == 0
    assert [one["id"] for one in told(daemon, "queue")["waiting"]] == ["b3", "b2"]
    assert forge(daemon, "hold").stdout.startswith("the machine is held")
    assert "`forge resume`" in forge(daemon, "queue").stdout
    cancelled = forge(daemon, "cancel", "2", "77")
    assert cancelled.returncode == os.EX_DATAERR
    assert cancelled.stdout == "b2 (two) is cancelled; it was waiting in line\n"
    assert replies(second)[-1]["type"] == "end"
    running.send({"type": "ended", "exit": 101})
    daemon.wait_for(lambda: len(told(daemon, "history")) == 2, "two past builds")
    assert told(daemon, "explain", "b3")["phase"] == "waiting in line", "the machine is held"
    assert forge(daemon, "resume").stdout == "builds go on\n"
    assert replies(third)[-1]["type"] == "go"
    third.send({"type": "started", "pid": os.getpid()})
    third.send({"type": "ended", "exit": 0})
    daemon.wait_for(lambda: len(told(daemon, "history")) == 3, "three past builds")

    restart(daemon)
    past = told(daemon, "history")
    assert [(one["id"], one["outcome"], one["exit"]) for one in past] == [
        ("b3", "done", 0), ("b2", "cancelled", 130), ("b1", "failed", 101),
    ]  # fmt: skip
    assert [one["id"] for one in told(daemon, "history", "--failed")] == ["b2", "b1"]
    assert [one["id"] for one in told(daemon, "history", "--project", str(two))] == ["b2"]
    assert [one["id"] for one in told(daemon, "history", "--project", ".", cwd=three)] == ["b3"]
    assert [one["id"] for one in told(daemon, "history", "--limit", "1")] == ["b3"]
    assert told(daemon, "explain", "b2")["waited_behind"] == [{"build": "b1", "root": str(one)}]
    assert forge(daemon, "explain", "b2").stdout.count("cargo never ran: it was cancelled") == 1
    assert told(daemon, "explain", cwd=one)["id"] == "b1"
    assert told(daemon, "explain", cwd=tmp_path)["id"] == "b3"
    assert forge(daemon, "explain", "b77").returncode == os.EX_DATAERR


def test_who_had_the_cores_is_told_by_name_of_what_runs_and_after_a_restart(tmp_path):
    mount_point = tmp_path / "builds"
    disk = f'[disk]\nkind = "directory"\nsize = "128MiB"\nmount_point = "{mount_point}"\n'
    daemon = RealDaemon(f"{disk}[host]\ncores = 1\n[builds]\nat_once = 2\ngates = false\n")
    try:
        daemon.start()
        roots = [project(tmp_path, name) for name in ("one", "two")]
        builds = [open_build(daemon, root) for root in roots]
        for build in builds:
            replies(build)
            build.send({"type": "started", "pid": os.getpid()})
        first, second = (open_unit(daemon, f"b{number}", running=False) for number in (1, 2))
        replies(first)
        daemon.wait_for(lambda: told(daemon, "explain", "b2")["waits_now"], "a unit that waits")
        assert "waits now" in forge(daemon, "explain", "b2").stdout
        end_unit(first)
        replies(second)
        end_unit(second)
        daemon.wait_for(lambda: told(daemon, "explain", "b2")["units"], "the end of the unit")
        for build in builds:
            build.send({"type": "ended", "exit": 0})
        daemon.wait_for(lambda: len(told(daemon, "history")) == 2, "two past builds")
        restart(daemon)
        report = told(daemon, "explain", "b2")
        (behind,) = report["behind"]
        assert (behind["build"], behind["root"]) == ("b1", str(roots[0]))
        assert [node["behind"] for node in report["critical_path"]] == [["b1"]]
        assert "behind b1 (one)" in forge(daemon, "explain", "b2").stdout
    finally:
        daemon.close()


def test_what_was_learned_is_forgotten_by_the_daemon_that_runs_and_by_the_next(daemon, tmp_path):
    one, two = (project(tmp_path, name) for name in ("one", "two"))
    for number, root in enumerate((one, two), 1):
        build = open_build(daemon, root)
        replies(build)
        build.send({"type": "started", "pid": os.getpid()})
        unit = open_unit(daemon, f"b{number}", running=False)
        replies(unit)
        end_unit(unit)
        build.send({"type": "ended", "exit": 0})
        daemon.wait_for(lambda n=number: len(told(daemon, "history")) == n, "a past build")
    costs = told(daemon, "history", "forget", "--all", "--builds", "--dry-run")
    assert (costs["costs"], costs["builds"]) == (4, 2)  # a unit and a build, of each project
    said = forge(daemon, "history", "forget", "--builds", "--yes", cwd=one).stdout
    assert said == f"forgotten of {one}: 2 learned costs and 1 past build\n"
    assert told(daemon, "history", "forget", "--dry-run", cwd=one)["costs"] == 0
    restart(daemon)
    assert [past["root"] for past in told(daemon, "history")] == [str(two)]
    assert told(daemon, "history", "forget", "--all", "--dry-run")["costs"] == 2
    assert forge(daemon, "history", "forget", "--all", cwd=one).returncode == os.EX_USAGE
    assert told(daemon, "history", "forget", "--all", "--yes")["costs"] == 2
    assert forge(daemon, "history", "forget", "--yes", cwd=two).stdout == (
        f"nothing is known of {two}\n"
    )
