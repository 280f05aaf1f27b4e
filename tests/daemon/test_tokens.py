"""Real FIFOs under a real daemon: several builds, lost tokens, daemons that go away."""

import os
import signal
import subprocess
from contextlib import contextmanager

import pytest

from tests.daemon.clients import open_build, project, replies
from tests.daemon.harness import RealDaemon

CORES = 4
HOLDER = "import os, sys; os.read({fd}, {count}); print('holds', flush=True); sys.stdin.read()"


@pytest.fixture
def daemon(tmp_path):
    mount_point = tmp_path / "builds"
    disk = f'[disk]\nkind = "directory"\nsize = "128MiB"\nmount_point = "{mount_point}"\n'
    one = RealDaemon(f"{disk}[host]\ncores = {CORES}\n[builds]\nat_once = 5\ngates = false\n")
    one.start()
    yield one
    one.close()


class Build:
    """A build whose cargo is a shell that starts what it is told to, with the FIFO open."""

    def __init__(self, daemon, tmp_path, name):
        self.connection = open_build(daemon, project(tmp_path, name))
        go = replies(self.connection)[-1]
        self.id = go["build"]
        self.target_dir = go["target_dir"]
        self.jobserver = go["jobserver"]
        self.fifo = os.open(self.jobserver["path"], os.O_RDWR)
        self.cargo = subprocess.Popen(["sleep", "300"], pass_fds=[self.fifo])
        self.connection.send({"type": "started", "pid": self.cargo.pid})

    def adopt(self, daemon):
        self.connection = daemon.connect()
        answer = self.connection.ask(
            {
                "type": "adopt", "pid": os.getpid(), "build": self.id,
                "cargo_pid": self.cargo.pid, "cwd": "/", "argv": ["build"],
                "target_dir": self.target_dir, "jobserver": self.jobserver["path"],
                "tokens": self.jobserver["tokens"],
            }
        )  # fmt: skip
        assert answer["build"] == self.id

    def take(self, count):
        taken = os.read(self.fifo, count)
        assert len(taken) == count
        return taken

    def close(self):
        os.close(self.fifo)
        self.cargo.kill()
        self.cargo.wait()


@contextmanager
def builds(daemon, tmp_path, *names):
    opened: list[Build] = []
    try:
        opened.extend(Build(daemon, tmp_path, name) for name in names)
        yield opened
    finally:
        for one in opened:
            one.close()


def tokens(daemon, build):
    found = [one for one in daemon.status()["builds"] if one["id"] == build.id]
    return found[0]["tokens"]


def test_each_of_two_builds_finds_what_is_free_and_the_last_one_all(daemon, tmp_path):
    with builds(daemon, tmp_path, "one", "two") as (one, two):
        daemon.wait_for(lambda: tokens(daemon, one)["withdrawn"], "the even split")
        assert tokens(daemon, one)["unused"] + tokens(daemon, two)["unused"] <= CORES
        two.connection.send({"type": "ended", "exit": 0})
        daemon.wait_for(lambda: tokens(daemon, one)["withdrawn"] == 0, "all tokens back")
        assert len(one.take(CORES - 1)) == CORES - 1


def test_tokens_of_a_helper_that_was_killed_come_back_while_the_build_goes_on(daemon, tmp_path):
    with builds(daemon, tmp_path, "app") as (build,):
        script = HOLDER.format(fd=build.fifo, count=CORES - 1)
        holder = subprocess.Popen(
            ["python3", "-c", script], pass_fds=[build.fifo],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert holder.stdout and holder.stdin and holder.stdout.readline() == b"holds\n"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        daemon.wait_for(
            lambda: any(one["decision"] == "jobserver.healed" for one in daemon.decisions()),
            "lost tokens that are put back", 30,
        )  # fmt: skip
        assert len(build.take(CORES - 1)) == CORES - 1
        holder.stdin.close()
        holder.stdout.close()


def test_a_daemon_that_is_told_to_end_leaves_every_build_its_tokens(daemon, tmp_path):
    with builds(daemon, tmp_path, "one", "two") as (one, two):
        daemon.wait_for(lambda: tokens(daemon, one)["withdrawn"], "the even split")
        daemon.processes[-1].terminate()
        daemon.processes[-1].wait()
        assert len(one.take(CORES - 1)) == len(two.take(CORES - 1)) == CORES - 1


def test_what_a_killed_daemon_had_withdrawn_is_given_back_by_the_next(daemon, tmp_path):
    with builds(daemon, tmp_path, "one", "two") as (one, two):
        daemon.wait_for(lambda: tokens(daemon, one)["withdrawn"], "the even split")
        daemon.processes[-1].kill()
        daemon.processes[-1].wait()
        daemon.start()
        one.adopt(daemon)
        two.connection.close()
        daemon.wait_for(
            lambda: tokens(daemon, one)["unused"] == CORES - 1, "tokens that are put back", 30
        )
        assert len(one.take(CORES - 1)) == CORES - 1
