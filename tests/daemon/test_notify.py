"""The daemon tells systemd how it is: seen from the manager's end of the socket."""

import signal
import socket

import pytest

from tests.daemon.harness import RealDaemon


@pytest.fixture
def heard(tmp_path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.settimeout(20)
    yield sock
    sock.close()


def test_it_says_that_it_is_ready_alive_and_ending(heard, tmp_path):
    daemon = RealDaemon(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="3000000")
    heard.bind(str(tmp_path / "notify"))
    try:
        pid = daemon.start()
        assert heard.recv(200).decode().splitlines() == ["READY=1", f"MAINPID={pid}"]
        assert heard.recv(200) == b"WATCHDOG=1"
        assert heard.recv(200) == b"WATCHDOG=1"  # and again
        daemon.processes[-1].send_signal(signal.SIGTERM)
        said = b""
        while said != b"STOPPING=1":
            said = heard.recv(200)
    finally:
        daemon.close()


def test_an_abstract_socket_is_one_as_well(heard):
    name = f"forge-test-{id(heard)}"
    heard.bind(f"\0{name}")
    daemon = RealDaemon(NOTIFY_SOCKET=f"@{name}")
    try:
        daemon.start()
        assert heard.recv(200).startswith(b"READY=1")
    finally:
        daemon.close()


def test_a_manager_that_is_gone_is_no_trouble(tmp_path):
    daemon = RealDaemon(NOTIFY_SOCKET=str(tmp_path / "nobody"), WATCHDOG_USEC="3000000")
    try:
        daemon.start()
        assert daemon.status()["pid"]
    finally:
        daemon.close()
