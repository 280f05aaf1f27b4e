"""Services of each kind, on the real thing where it can be had."""

import json
import os
import plistlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forge.core.service import Ready, Runs, Service
from forge.host.port_owner import owner_of
from forge.host.processes import identify, is_alive
from forge.host.readiness import ask_ready
from forge.host.service_doors import ServiceFailed, open_doors
from forge.host.service_launchd import read_job
from forge.host.service_state import Wishes, alone, is_busy, read_wishes, write_wishes
from tests.macos.fixtures import simulated_mac  # noqa: F401  # a fixture

needs_screen = pytest.mark.skipif(not shutil.which("screen"), reason="screen is not installed")
SLEEP = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)")


def a_service(runs=Runs.PROCESS, command=SLEEP, **more) -> Service:
    name = f"forge-test-{os.getpid()}"
    return Service(name, name, runs, more.pop("unit", name), command, stop_within_s=5, **more)


@pytest.fixture
def doors(tmp_path):
    env = {**os.environ, "HOME": str(tmp_path)}
    return open_doors(env, str(tmp_path / "state"))


def wait_for(condition, what, timeout_s=15.0):
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"never came: {what}")


@pytest.mark.parametrize("runs", [Runs.PROCESS, pytest.param(Runs.SCREEN, marks=needs_screen)])
def test_a_service_is_started_found_logged_and_stopped(doors, tmp_path, runs):
    door, service = doors[runs], a_service(runs)
    assert door.find(service) is None
    door.start(service)
    try:
        found = door.find(service)
        assert found
        assert is_alive(found.process)
        log = tmp_path / "state" / "services" / f"{service.name}.log"
        wait_for(lambda: "up" in log.read_text(), "its output in the log")
    finally:
        door.stop(service)
    assert not is_alive(found.process)
    assert door.find(service) is None
    door.stop(service)  # to stop what is down does no harm


@needs_screen
def test_without_screen_the_way_out_is_said(tmp_path):
    door = open_doors({"PATH": str(tmp_path), "HOME": str(tmp_path)}, str(tmp_path))[Runs.SCREEN]
    for ask in (door.find, door.start):
        with pytest.raises(ServiceFailed, match="there is no screen") as failed:
            ask(a_service(Runs.SCREEN))
        assert "runs" in (failed.value.hint or "")


def test_a_session_is_one_that_people_can_attach_to(doors):
    door, service = doors[Runs.SCREEN], a_service(Runs.SCREEN)
    door.start(service)
    try:
        listed = subprocess.run(["screen", "-ls"], capture_output=True, text=True).stdout
        assert f".{service.unit}\t" in listed
    finally:
        door.stop(service)


@needs_screen
def test_another_session_whose_name_begins_alike_is_not_ours(doors):
    door = doors[Runs.SCREEN]
    other = a_service(Runs.SCREEN, unit=f"forge-{os.getpid()}-engine-2")
    door.start(other)
    try:
        assert door.find(a_service(Runs.SCREEN, unit=f"forge-{os.getpid()}-engine")) is None
    finally:
        door.stop(other)


def test_a_note_of_a_process_whose_pid_is_used_again_names_nobody(doors, tmp_path):
    service = a_service()
    notes = tmp_path / "state" / "services"
    notes.mkdir(parents=True)
    note = notes / f"{service.name}.json"
    note.write_text(json.dumps({"pid": os.getpid(), "started": 1.0}))  # before the reboot
    assert doors[Runs.PROCESS].find(service) is None
    doors[Runs.PROCESS].stop(service)  # and nobody is ended for it


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x", "started": null}'])
def test_a_broken_note_names_nobody(doors, tmp_path, text):
    service = a_service()
    notes = tmp_path / "state" / "services"
    notes.mkdir(parents=True)
    (notes / f"{service.name}.json").write_text(text)
    assert doors[Runs.PROCESS].find(service) is None


def test_one_that_ignores_the_first_request_is_ended_all_the_same(doors):
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
    service = Service("x", "x", Runs.PROCESS, "x", (sys.executable, "-c", code), stop_within_s=0.2)
    door = doors[Runs.PROCESS]
    door.start(service)
    found = door.find(service)
    assert found
    door.stop(service)
    assert not is_alive(found.process)


@pytest.mark.parametrize(("more", "said"), [
    ({"command": ("no-such-program-of-ours",)}, "there is no no-such-program-of-ours"),
    ({"directory": "/no/such/directory"}, "there is no /no/such/directory"),
    ({"log": "/proc/1/nothing/x.log"}, "cannot be written"),
])  # fmt: skip
def test_what_cannot_be_started_is_said_in_one_line(doors, more, said):
    with pytest.raises(ServiceFailed, match=said):
        doors[Runs.PROCESS].start(a_service(**more))


def test_a_death_is_told_with_its_exit_code(doors):
    door = doors[Runs.PROCESS]
    service = a_service(command=(sys.executable, "-c", "import time; time.sleep(0.3); exit(3)"))
    door.start(service)
    assert wait_for(lambda: door.why(service), "its end") == "exit code 3"
    assert door.find(service) is None


# systemd: what `systemctl` prints, from a program of that name


SYSTEMCTL = """#!/bin/sh
echo "$*" >> {calls}
case "$*" in
*show*) cat {shown} ;;
*start*) exit {code} ;;
esac
"""


def fake_systemctl(tmp_path: Path, shown: str, code: int = 0) -> dict[str, str]:
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir(exist_ok=True)
    (tmp_path / "shown").write_text(shown)
    text = SYSTEMCTL.format(calls=tmp_path / "calls", shown=tmp_path / "shown", code=code)
    program.write_text(text)
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}


def test_a_unit_is_found_by_its_main_process(tmp_path):
    env = fake_systemctl(tmp_path, f"LoadState=loaded\nMainPID={os.getpid()}\nResult=success\n")
    found = open_doors(env, str(tmp_path))[Runs.SYSTEMD].find(a_service(Runs.SYSTEMD))
    assert found
    assert found.process == identify(os.getpid())
    assert "--user show" in (tmp_path / "calls").read_text()


def test_a_unit_that_is_dead_says_why(tmp_path):
    env = fake_systemctl(
        tmp_path, "LoadState=loaded\nMainPID=0\nResult=oom-kill\nExecMainStatus=9\n"
    )
    door = open_doors(env, str(tmp_path))[Runs.SYSTEM]
    assert door.find(a_service(Runs.SYSTEM)) is None
    assert door.why(a_service(Runs.SYSTEM)) == "oom-kill, 9"


def test_a_unit_that_systemd_does_not_know_is_refused(tmp_path):
    env = fake_systemctl(tmp_path, "LoadState=not-found\nMainPID=0\n")
    with pytest.raises(ServiceFailed, match="does not know"):
        open_doors(env, str(tmp_path))[Runs.SYSTEMD].start(a_service(Runs.SYSTEMD))


def test_without_systemd_the_way_out_is_said(tmp_path):
    door = open_doors({"PATH": str(tmp_path)}, str(tmp_path))[Runs.SYSTEMD]
    with pytest.raises(ServiceFailed, match="no systemctl") as failed:
        door.find(a_service(Runs.SYSTEMD))
    assert failed.value.hint


# launchd, on the simulated macOS

PRINTED = """gui/501/com.example = {
\tactive count = 1
\tstate = running

\tprogram = /opt/x
\tpid = 10526
\tlast exit code = (never exited)

\tresource coalition = {
\t\tID = 33304
\t\tstate = active
\t\tpid = 1
\t}
\tspawn type = daemon (3)
}
"""


def test_only_the_jobs_own_lines_are_read():
    job = read_job(PRINTED)
    assert job["pid"] == "10526"
    assert job["state"] == "running"
    assert job["last exit code"] == "(never exited)"


@pytest.fixture
def agent(simulated_mac, tmp_path):  # noqa: F811
    env = {**simulated_mac.env, "HOME": str(tmp_path)}
    agents = tmp_path / "Library" / "LaunchAgents"
    agents.mkdir(parents=True)
    job = {"Label": "com.example.gateway", "ProgramArguments": list(SLEEP)}
    with (agents / "com.example.gateway.plist").open("wb") as file:
        plistlib.dump(job, file)
    return simulated_mac, open_doors(env, str(tmp_path))[Runs.LAUNCHD]


def test_an_agent_is_loaded_started_found_and_stopped(agent):
    _, door = agent
    service = a_service(Runs.LAUNCHD, unit="com.example.gateway")
    assert door.find(service) is None
    assert door.why(service) == "launchd does not know it"
    door.start(service)
    found = door.find(service)
    assert found
    door.stop(service)
    assert door.find(service) is None
    assert not is_alive(found.process)


def test_an_agent_that_launchd_keeps_waiting_over_ssh_is_told_with_the_way_out(agent, monkeypatch):
    mac, door = agent
    monkeypatch.setattr("forge.host.service_launchd.APPEARS_WITHIN_S", 0.3)
    mac.fault("launchctl.kickstart", pends=True)
    with pytest.raises(ServiceFailed, match="launchd has not started") as failed:
        door.start(a_service(Runs.LAUNCHD, unit="com.example.gateway"))
    assert "LaunchDaemon" in (failed.value.hint or "")


def test_a_daemon_of_the_system_is_found_and_its_start_and_end_are_roots(
    agent, tmp_path, monkeypatch
):
    mac, door = agent
    agents = tmp_path / "Library" / "LaunchAgents"
    monkeypatch.setattr("forge.host.service_launchd.DAEMONS", str(tmp_path / "daemons"))
    monkeypatch.setattr("os.geteuid", lambda: 501)
    agents.rename(tmp_path / "daemons")
    service = a_service(Runs.LAUNCHD, unit="com.example.gateway")
    mac.fault("launchctl.bootstrap", fails="Bootstrap failed: 5: Input/output error")
    with pytest.raises(ServiceFailed, match="Bootstrap failed: 5") as failed:
        door.start(service)
    hint = failed.value.hint or ""
    assert hint.startswith("`sudo launchctl bootstrap system /")
    mac.clear_faults()
    door.start(service)
    found = door.find(service)
    assert found
    mac.fault("launchctl.bootout", fails="Boot-out failed: 1: Operation not permitted")
    with pytest.raises(ServiceFailed, match="Operation not permitted") as failed:
        door.stop(service)
    assert failed.value.hint == "`sudo launchctl bootout system/com.example.gateway`"
    assert is_alive(found.process)  # it was not killed behind launchd's back
    mac.clear_faults()
    door.stop(service)
    assert not is_alive(found.process)


def test_a_label_that_launchd_does_not_know_is_told(agent):
    _, door = agent
    with pytest.raises(ServiceFailed, match=r"does not know com\.nobody"):
        door.start(a_service(Runs.LAUNCHD, unit="com.nobody"))


# Readiness, ports, wishes


@pytest.fixture
def listener():
    sock = socket.create_server(("127.0.0.1", 0))
    yield sock.getsockname()[1]
    sock.close()


def test_a_port_has_an_owner(listener):
    owner = owner_of(listener)
    assert owner
    assert owner.pid == os.getpid()
    assert owner_of(1) is None


def serve(tmp_path: Path, answer: bytes) -> tuple[subprocess.Popen[bytes], int]:
    """Answer one connection after the other with the same bytes, in a process of its own."""
    code = (
        "import socket, sys\n"
        "s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)\n"
        "while True:\n"
        "    c, _ = s.accept(); c.recv(4096); c.sendall(eval(sys.argv[1])); c.close()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, repr(answer)], stdout=subprocess.PIPE)
    assert process.stdout
    return process, int(process.stdout.readline())


def http(status: str, body: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize(("answer", "is_ready", "said"), [
    (http("200 OK", '{"status":"ok"}'), True, ""),
    (http("200 OK", '{"status":"no"}'), False, "`status` is 'no', not 'ok'"),
    (http("200 OK", "[]"), False, "`status` is None"),
    (http("200 OK", "hello"), False, "no JSON"),
    (http("503 Service Unavailable", '{"error":{"message":"Loading model"}}'), False,
     "HTTP 503: Loading model"),
    (http("302 Found", ""), False, "HTTP 302"),  # not followed
    (b"SSH-2.0-OpenSSH_9.2\r\n", False, ""),
    (b"", False, ""),
])  # fmt: skip
def test_readiness_is_what_the_address_answers(tmp_path, answer, is_ready, said):
    process, port = serve(tmp_path, answer)
    try:
        ready = Ready(f"http://127.0.0.1:{port}/health", expects=(("status", "ok"),))
        told = ask_ready(a_service(ready=ready), {})
        assert told.is_ready is is_ready
        assert said in told.said
    finally:
        process.terminate()
        process.communicate()


def test_an_address_that_never_answers_costs_no_more_than_the_deadline(listener):
    ready = Ready(f"http://127.0.0.1:{listener}/health")
    began = time.monotonic()
    assert not ask_ready(a_service(ready=ready), {}, 0.3).is_ready
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(("command", "is_ready"), [(("true",), True), (("false",), False)])
def test_readiness_may_be_a_command(command, is_ready):
    told = ask_ready(a_service(ready=Ready(command=command)), dict(os.environ))
    assert told.is_ready is is_ready


def test_wishes_are_kept_and_a_broken_file_asks_for_nothing(tmp_path):
    own_dir = str(tmp_path / "services")
    assert read_wishes(own_dir) == Wishes()
    wishes = Wishes(frozenset({"a", "b"}), watched=False)
    write_wishes(own_dir, wishes)
    assert read_wishes(own_dir) == wishes
    (tmp_path / "services" / "state.json").write_text("{")
    assert read_wishes(own_dir) == Wishes()


def test_the_lock_tells_that_somebody_is_at_work(tmp_path):
    own_dir = str(tmp_path / "services")
    assert not is_busy(own_dir)
    with alone(own_dir) as waited:
        assert not waited
        assert is_busy(own_dir)
    assert not is_busy(own_dir)


def test_sigkill_of_the_holder_frees_the_lock(tmp_path):
    own_dir = str(tmp_path / "services")
    code = (
        "import sys, time\nfrom forge.host.service_state import alone\n"
        "with alone(sys.argv[1]): print('held', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, own_dir], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    assert is_busy(own_dir)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with alone(own_dir) as waited:
        assert not waited
