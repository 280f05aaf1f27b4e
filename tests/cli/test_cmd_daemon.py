"""`forge daemon`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from forge.cli import cmd_daemon
from tests.cli.conftest import Forge, StartDaemon
from tests.cli.fakes import FakeDaemon, a_build, a_status

OK = {"type": "ok", "line": "daemon ends"}


def test_start_leaves_a_daemon_that_runs_alone(forge: Forge, daemon: StartDaemon):
    daemon(status=[a_status(pid=4711)])
    result = forge("daemon", "start")
    assert (result.code, result.out) == (0, "daemon runs (pid 4711)\n")


def test_stop_without_a_daemon_is_no_failure(forge: Forge):
    result = forge("daemon", "stop")
    assert (result.code, result.out) == (0, "no daemon runs\n")


def test_stop_waits_until_process_and_socket_are_gone(forge: Forge, daemon: StartDaemon):
    fake = daemon(stop=[OK])
    pid = fake.with_process()
    fake.replies["status"] = [a_status(pid=pid)]
    result = forge("daemon", "stop")
    assert (result.code, result.out, result.err) == (0, f"daemon stopped (pid {pid})\n", "")
    assert not fake.path.exists()
    assert fake.process
    assert fake.process.wait(0.5) is not None  # a zombie until now: it counts as gone


def test_stop_warns_of_builds_which_go_on(forge: Forge, daemon: StartDaemon):
    fake = daemon(stop=[OK])
    builds = [a_build(), a_build(id="b8", verb="clippy", root=None, cwd="/src/other")]
    fake.replies["status"] = [a_status(pid=fake.with_process(), builds=builds)]
    result = forge("daemon", "stop")
    assert result.err == (
        "forge: 2 builds go on without it:"
        " b7 (`cargo test` in /src/ripgrep), b8 (`cargo clippy` in /src/other)\n"
    )


def test_a_daemon_that_does_not_end_is_named(
    forge: Forge, daemon: StartDaemon, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cmd_daemon, "END_PATIENCE_S", 0.2)
    daemon(stop=[OK], status=[a_status()])  # its pid is that of this very process
    result = forge("daemon", "stop")
    assert result.code == os.EX_TEMPFAIL
    assert f"the daemon (pid {os.getpid()}) did not end within 0.2 s" in result.err


def test_status_tells_pid_and_files(forge: Forge, daemon: StartDaemon):
    daemon(status=[a_status(pid=4711)])
    result = forge("daemon", "status")
    assert "daemon: pid 4711, up 1 h 1 min, version 0.1.0\n" in result.out
    assert json.loads(forge("daemon", "status", "--json").out)["pid"] == 4711


def test_status_without_a_daemon_is_69(forge: Forge):
    result = forge("daemon", "status", "--json")
    assert result.code == os.EX_UNAVAILABLE
    assert json.loads(result.out)["pid"] is None


@pytest.fixture
def log(place: Path) -> Path:
    (place / "state").mkdir()
    return place / "state" / "forged.log"


def write(path: Path, numbers: range) -> None:
    path.write_text("".join(f'{{"decision": "d{n}", "n": {n}}}\n' for n in numbers))


def test_logs_go_back_into_rotated_files(forge: Forge, log: Path):
    write(log.with_name("forged.log.2"), range(5))
    write(log.with_name("forged.log.1"), range(5, 8))
    write(log, range(8, 10))
    assert [line.split()[0] for line in forge("daemon", "logs", "-n", "7").out.splitlines()] == [
        f"d{n}" for n in range(3, 10)
    ]
    assert len(forge("daemon", "logs").out.splitlines()) == 10
    assert forge("daemon", "logs", "-n", "1", "--json").out == '{"decision": "d9", "n": 9}\n'
    assert forge("daemon", "logs", "-n", "0").out == ""


def test_logs_show_lines_that_are_not_json_as_they_are(forge: Forge, log: Path):
    log.write_bytes(b'{"decision": "x"}\n[1]\nhalf \xff\xfe line\n{"cut off')
    assert [line.strip() for line in forge("daemon", "logs").out.splitlines()] == [
        "x", "[1]", r"half \xff\xfe line"
    ]  # fmt: skip


def test_no_log_yet_is_said(forge: Forge):
    result = forge("daemon", "logs")
    assert (result.code, result.out) == (0, "")
    assert "no log yet" in result.err


def test_logs_follow_across_a_rotation(env, log: Path):
    write(log, range(2))
    argv = [sys.executable, "-m", "forge.cli.main", "daemon", "logs", "-f", "-n", "1", "--json"]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        read = process.stdout.readline
        assert json.loads(read())["n"] == 1
        with log.open("a") as file:
            file.write('{"n": 2}\n')
        log.rename(log.with_name("forged.log.1"))
        write(log, range(3, 5))
        assert [json.loads(read())["n"] for _ in range(3)] == [2, 3, 4]
        process.terminate()


def test_a_real_daemon_starts_answers_restarts_and_stops(forge: Forge, env, place: Path):
    (place / "forge.toml").write_text('[disk]\nkind = "none"\n')
    try:
        first = forge("daemon", "start")
        assert first.code == 0, first.err
        assert first.out.startswith("daemon started (pid ")
        pid = json.loads(forge("daemon", "status", "--json").out)["pid"]
        assert first.out == f"daemon started (pid {pid})\n"
        assert forge("daemon", "start").out == f"daemon runs (pid {pid})\n"
        assert 'off: disk.kind is "none"' in forge("status").out
        again = forge("daemon", "restart")
        assert again.out.startswith(f"daemon stopped (pid {pid})\ndaemon started (pid ")
        assert "daemon.started" in forge("daemon", "logs").out
    finally:
        last = forge("daemon", "stop")
    assert last.out.startswith("daemon stopped (pid ")
    assert forge("daemon", "stop").out == "no daemon runs\n"


def test_a_daemon_that_cannot_start_leaves_its_last_words(forge: Forge, env, place: Path):
    (place / "state").mkdir(mode=0o700)
    (place / "state" / "forged.lock").mkdir()  # where its lock would be
    result = forge("daemon", "start")
    assert result.code == os.EX_UNAVAILABLE
    assert "the daemon ended while starting: " in result.err
    assert "Is a directory" in result.err


def test_run_is_the_daemon_itself_in_this_process(forge: Forge, env, place: Path):
    (place / "forge.toml").write_text('[disk]\nkind = "none"\n')
    argv = [sys.executable, "-m", "forge.cli.main", "daemon", "run"]
    with subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        entry = json.loads(process.stderr.readline())
        assert (entry["decision"], entry["pid"]) == ("daemon.started", process.pid)
        while forge("daemon", "status").code:
            assert process.poll() is None
        process.terminate()
        assert process.wait(10) == 0


def test_the_fake_ends_with_its_test(place: Path):
    fake = FakeDaemon(place / "state", {})
    fake.close()
    assert not fake.path.exists()
