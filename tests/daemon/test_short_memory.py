"""A real daemon in a cgroup with little memory, beside all that takes memory unasked.

The cgroup makes "what is available" exact: nothing else on this machine counts in it. What takes
memory is real, a writer to a real tmpfs included; the test stands for the linkers' gates.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from forge.client.connection import Connection
from tests.daemon.clients import open_build, open_link, project, replies
from tests.daemon.harness import RealDaemon
from tests.scenarios.tight_cgroup import tight_cgroup

MIB = 1 << 20
LIMIT_MIB, LOW_WATER_MIB, BUFFER_MIB = 1024, 128, 2048
WRITER = """
with open({path!r}, "wb") as file:
    for _ in range({mib}):
        file.write(bytes(range(256)) * 4096)
print("done", flush=True)
input()
"""
EATER = """
data = bytearray({mib} << 20)
data[::4096] = b"x" * len(data[::4096])
print("done", flush=True)
input()
"""
FORKER = """
import os
there, done = os.pipe()
if os.fork() == 0:
    data = bytearray({mib} << 20)
    data[::4096] = b"x" * len(data[::4096])
    os.write(done, b"x")
    input()
else:
    os.read(there, 1)
    print("done", flush=True)
"""


class Tight:
    """A daemon with a RAM disk in a cgroup, and programs that are started in there as well."""

    def __init__(self, cgroup: Path, place: Path) -> None:
        self.cgroup = cgroup
        self.mount_point = place / "builds"
        self.daemon = RealDaemon(
            f'[disk]\nkind = "tmpfs"\nsize = "900MiB"\nmount_point = "{self.mount_point}"\n'
            f'[host]\nmemory = "8GiB"\nlow_water = "{LOW_WATER_MIB}MiB"\n'
            f'[memory_map]\nlinker_buffer = "{BUFFER_MIB}MiB"\n'
            "[builds]\ngates = false\ncgroup = false\n"
        )
        self.started: list[subprocess.Popen[str]] = []

    def start(self) -> None:
        pid = self.daemon.start()
        (self.cgroup / "cgroup.procs").write_text(str(pid))

    def run(self, program: str, **values) -> "subprocess.Popen[str]":
        """Start a program in the cgroup, and wait until it has what it takes."""
        process = subprocess.Popen(
            [sys.executable, "-c", program.format(**values)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=self._enter,
       )  # fmt: skip
        self.started.append(process)
        assert process.stdout and process.stdout.readline() == "done\n"
        return process

    def link(self, build: str, input_mib: int) -> Connection:
        """Ask for a link. Its gate is a process of no size: what is taken is seen elsewhere."""
        gate = subprocess.Popen(["sleep", "300"], text=True)
        self.started.append(gate)
        link: Connection = open_link(self.daemon, build, input_bytes=input_mib * MIB, pid=gate.pid)
        return link

    def end(self, process: "subprocess.Popen[str]") -> None:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()

    def room_mib(self) -> float:
        """Return what links may still book."""
        return float(self.daemon.status()["memory"]["buffer"]["room_bytes"]) / MIB

    def wait_for_room(self, low: float, high: float) -> None:
        self.daemon.wait_for(
            lambda: low <= self.room_mib() <= high, f"a room of {low} to {high} MiB"
        )

    def close(self) -> None:
        for process in self.started:
            self.end(process)
        self.daemon.close()
        while os.path.ismount(self.mount_point):
            subprocess.run(["umount", "-l", str(self.mount_point)], check=True)

    def _enter(self) -> None:
        (self.cgroup / "cgroup.procs").write_text(str(os.getpid()))


@pytest.fixture
def tight(tmp_path):
    if os.geteuid():
        pytest.skip("a tmpfs of our own needs root")
    with tight_cgroup(LIMIT_MIB * MIB) as cgroup:
        one = Tight(cgroup, tmp_path)
        try:
            one.start()
            yield one
        finally:
            one.close()


@pytest.fixture
def build(tight, tmp_path):
    connection = open_build(tight.daemon, project(tmp_path, "app"))
    go = replies(connection)[-1]
    connection.send({"type": "started", "pid": os.getpid()})
    tight.wait_for_room(700, LIMIT_MIB - LOW_WATER_MIB)
    return go["build"]


def first_word(link):
    return replies(link, until=("go", "wait"))[-1]["type"]


def assert_short_of_room(link):
    """See that a link waits for room. What falls fast may for a moment hold back all of them."""
    for _ in range(20):
        message = link.receive(15)
        assert message["type"] == "wait", message
        if message["reason"].startswith("waiting for memory:"):
            return
    raise AssertionError(f"it waits for something else: {message}")


def test_what_a_linker_writes_to_the_ram_disk_is_memory_that_other_links_wait_for(tight, build):
    writing = tight.link(build, 10)
    assert first_word(writing) == "go"
    writer = tight.run(WRITER, path=str(tight.mount_point / "out"), mib=400)
    tight.wait_for_room(0, 520)
    large = tight.link(build, 300)  # 630 MiB, which there were
    assert_short_of_room(large)
    small = tight.link(build, 10)
    assert replies(small)[-1]["type"] == "go", "there is room for this one"
    tight.end(writer)
    writing.send({"type": "link_ended", "exit": 0, "peak_kib": 9000})
    tight.wait_for_room(0, 520)  # its memory is not the linker's: it stays
    os.unlink(tight.mount_point / "out")
    assert replies(large)[-1]["type"] == "go"


def test_a_link_that_fills_the_ram_disk_is_run_again_later_and_what_it_wrote_makes_room(
    tight, build
):
    writing = tight.link(build, 10)
    assert first_word(writing) == "go"
    out = tight.mount_point / "out"
    writer = tight.run(WRITER, path=str(out), mib=840)
    assert replies(writing, until=("cancel",))[-1]["type"] == "cancel"
    tight.end(writer)
    out.unlink()  # as its gate does
    writing.send({"type": "cancelled", "peak_kib": 9000})
    assert replies(writing, patience_s=30)[-1]["type"] == "go"


def test_a_linker_that_forks_and_leaves_early_is_still_seen_in_what_there_is(tight, build):
    early = tight.link(build, 10)
    assert first_word(early) == "go"
    tight.run(FORKER, mib=400).wait(20)
    early.send({"type": "link_ended", "exit": 0, "peak_kib": 9000})
    tight.wait_for_room(0, 520)
    holder = tight.link(build, 10)
    assert replies(holder)[-1]["type"] == "go"
    assert_short_of_room(tight.link(build, 300))


def test_a_hog_outside_forge_makes_links_wait_and_is_left_alone(tight, build):
    holder = tight.link(build, 10)
    assert first_word(holder) == "go"
    hog = tight.run(EATER, mib=400)
    tight.wait_for_room(0, 520)
    large = tight.link(build, 300)
    assert_short_of_room(large)
    assert hog.poll() is None
    tight.end(hog)
    assert replies(large)[-1]["type"] == "go"


def test_a_limit_that_shrinks_while_links_run_is_kept_from_the_next_reading_on(tight, build):
    holder = tight.link(build, 10)
    assert first_word(holder) == "go"
    name = next(
        name for name in ("memory.limit_in_bytes", "memory.max") if (tight.cgroup / name).exists()
    )
    (tight.cgroup / name).write_text(str(600 * MIB))
    tight.wait_for_room(0, 520)
    large = tight.link(build, 300)
    assert_short_of_room(large)
    (tight.cgroup / name).write_text(str(LIMIT_MIB * MIB))
    assert replies(large)[-1]["type"] == "go"
