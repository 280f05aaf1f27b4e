"""Links before a real daemon with a small buffer: many at once, odd sizes, odd holders."""

import os
import select
import signal
import subprocess
import sys
import time

import pytest

from tests.daemon.clients import open_build, open_link, project, replies
from tests.daemon.harness import RealDaemon

MIB = 1 << 20
BUFFER_MIB = 1024
EATER = """
data = bytearray({mib} << 20)
data[::4096] = b"x" * len(data[::4096])
print(1, flush=True)
input()
"""


@pytest.fixture
def daemon(tmp_path):
    one = RealDaemon(
        f'[disk]\nkind = "directory"\nsize = "128MiB"\nmount_point = "{tmp_path / "builds"}"\n'
        '[host]\nlow_water = "16MiB"\n[builds]\ngates = false\n'
        f'[memory_map]\nlinker_buffer = "{BUFFER_MIB}MiB"\n'
    )
    one.start()
    yield one
    one.close()


@pytest.fixture
def build(daemon, tmp_path):
    connection = open_build(daemon, project(tmp_path, "app"))
    go = replies(connection)[-1]
    connection.send({"type": "started", "pid": os.getpid()})
    return go["build"]


def buffer(daemon):
    return daemon.status()["memory"]["buffer"]


def first_word(link):
    return replies(link, until=("go", "wait"))[-1]["type"]


def test_of_a_hundred_links_no_more_run_than_fit_and_all_get_their_turn(daemon, build):
    links = [open_link(daemon, build, input_bytes=100 * MIB) for _ in range(100)]  # 230 MiB each
    most, done = 0, 0
    deadline = time.monotonic() + 60
    while links and time.monotonic() < deadline:
        for link in select.select(links, [], [], 1.0)[0]:
            link.fill()
            if "go" in [message["type"] for message in iter(link.next_buffered, None)]:
                held = buffer(daemon)
                most = max(most, held["holders"])
                assert held["booked_bytes"] <= BUFFER_MIB * MIB
                link.send({"type": "link_ended", "exit": 0, "peak_kib": 1})
                links.remove(link)
                done += 1
    assert (done, links) == (100, [])
    assert 1 <= most <= 4
    daemon.wait_for(lambda: buffer(daemon)["booked_bytes"] == 0, "all bytes back")


@pytest.mark.parametrize("input_bytes", [0, 1, 1 << 50, (1 << 62) + 7])
def test_a_link_of_any_size_runs_when_it_is_alone(daemon, build, input_bytes):
    link = open_link(daemon, build, input_bytes=input_bytes)
    assert first_word(link) == "go"
    other = open_link(daemon, build, input_bytes=0)
    assert first_word(other) == ("wait" if input_bytes > BUFFER_MIB * MIB else "go")
    link.send({"type": "link_ended", "exit": 0, "peak_kib": (1 << 40)})  # nor does this harm
    if input_bytes > BUFFER_MIB * MIB:
        assert replies(other)[-1]["type"] == "go"


def test_a_negative_size_is_taken_for_none(daemon, build):
    assert first_word(open_link(daemon, build, input_bytes=-5)) == "go"


def test_a_link_that_outgrows_its_booking_books_what_it_has(daemon, build):
    eater = subprocess.Popen(
        [sys.executable, "-c", EATER.format(mib=600)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert eater.stdout and eater.stdin
    try:
        link = daemon.connect()
        link.send(
            {"type": "link", "build": build, "pid": eater.pid, "input_bytes": 0,
             "linker_kind": "lld"}
        )  # fmt: skip
        assert first_word(link) == "go"
        assert eater.stdout.readline() == b"1\n"
        daemon.wait_for(lambda: buffer(daemon)["booked_bytes"] >= 600 * MIB, "what it really has")
        assert first_word(open_link(daemon, build, input_bytes=250 * MIB)) == "wait"
    finally:
        eater.kill()
        eater.wait()
        eater.stdin.close()
        eater.stdout.close()


def test_a_holder_that_is_stopped_keeps_its_bytes_and_holds_up_nobody_else(daemon, build):
    sleeper = subprocess.Popen(["sleep", "300"])
    try:
        link = daemon.connect()
        link.send(
            {"type": "link", "build": build, "pid": sleeper.pid, "input_bytes": 300 * MIB,
             "linker_kind": "lld"}
        )  # fmt: skip
        assert first_word(link) == "go"
        sleeper.send_signal(signal.SIGSTOP)
        time.sleep(0.6)  # a few readings
        assert buffer(daemon)["booked_bytes"] == 630 * MIB
        small = open_link(daemon, build, input_bytes=10 * MIB)
        assert first_word(small) == "go"
        large = open_link(daemon, build, input_bytes=400 * MIB)
        assert first_word(large) == "wait"
        link.close()
        assert replies(large)[-1]["type"] == "go"
    finally:
        sleeper.send_signal(signal.SIGCONT)
        sleeper.kill()
        sleeper.wait()


def test_links_that_hold_bytes_are_counted_by_the_next_daemon(daemon, build, tmp_path):
    held = [open_link(daemon, build, input_bytes=200 * MIB) for _ in range(2)]
    assert [first_word(link) for link in held] == ["go", "go"]
    daemon.processes[-1].kill()
    daemon.processes[-1].wait()
    daemon.start()
    again = [open_link(daemon, build, input_bytes=200 * MIB, running=True) for _ in range(2)]
    assert [first_word(link) for link in again] == ["go", "go"]
    assert buffer(daemon)["holders"] == 2
    late = open_link(daemon, build, input_bytes=200 * MIB)
    assert first_word(late) == "wait"
    again[0].send({"type": "link_ended", "exit": 0})
    assert replies(late)[-1]["type"] == "go"
