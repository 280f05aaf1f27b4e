"""How remote builds end when something ends them: a person, the connection, the other end."""

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from forge.core.remote_frames import VERSION
from tests.scenarios.conftest import is_gone, package, wait_until
from tests.scenarios.remote_pair import Pair, pair

__all__ = ["pair"]

WAITS = """
fn main() {
    println!("{}", std::process::id());
    std::thread::sleep(std::time::Duration::from_secs(100));
}
"""


@pytest.fixture
def waiting(pair: Pair, tmp_path: Path):
    """A program that runs on the host, and the pid that it has there."""
    project = package(tmp_path / "waits", main=WAITS)
    process = pair.start("run", "-q", "--on", "studio", cwd=project)
    assert process.stdout
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return process, int(line)


def test_ctrl_c_ends_it_there_and_here_by_the_signal(waiting):
    process, pid = waiting
    process.send_signal(signal.SIGINT)
    wait_until(lambda: is_gone(pid), patience_s=10)
    assert process.wait(30) in (-signal.SIGINT, 130)


def test_a_second_ctrl_c_leaves_a_host_that_does_not_answer(pair: Pair, waiting):
    process, pid = waiting
    ssh = ssh_of(process)
    ssh.suspend()
    process.send_signal(signal.SIGINT)
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_SLEEPING)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == -signal.SIGINT
    wait_until(lambda: is_gone(pid))


def test_a_connection_that_dies_ends_it_there_and_is_said_here(pair: Pair, waiting):
    process, pid = waiting
    ssh_of(process).kill()
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 69
    assert "forge: the connection to `studio` is gone" in stderr
    wait_until(lambda: is_gone(pid))


def test_the_lock_of_the_target_dir_is_free_after_a_connection_died(pair: Pair, tmp_path: Path):
    project = package(tmp_path / "locked", main=WAITS)
    process = pair.start("run", "-q", "--on", "studio", cwd=project)
    assert process.stdout
    process.stdout.readline()
    ssh_of(process).kill()
    process.communicate(timeout=30)
    assert pair.run("build", "--on", "studio", cwd=project).returncode == 0


def test_output_that_nobody_reads_any_more_ends_it(pair: Pair, tmp_path: Path):
    main = 'fn main() { loop { println!("y") } }\n'
    project = package(tmp_path / "yes", main=main)
    process = pair.start("run", "-q", "--on", "studio", cwd=project)
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) in (141, -signal.SIGPIPE)


def test_an_unknown_host_is_ssh_s_to_tell_and_nothing_runs_here(pair: Pair, tmp_path: Path):
    project = package(tmp_path / "nobody")
    done = pair.run("build", "--on", "nobody.invalid", cwd=project)
    assert done.returncode == 69
    assert done.stderr.startswith("ssh: Could not resolve hostname")
    assert "no connection to `nobody.invalid`" in done.stderr
    assert not (project / "target").exists()


def test_a_host_key_that_has_changed_is_ssh_s_to_refuse(pair: Pair, tmp_path: Path):
    project = package(tmp_path / "changed")
    known = pair.sshd.home / "known_hosts"
    before = known.read_text()
    pair.sshd.change_host_key()
    try:
        done = pair.run("build", "--on", "studio", cwd=project)
    finally:
        known.write_text(before)
    assert done.returncode == 69
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr
    assert not (project / "target").exists()


def test_a_host_of_another_version_says_so(pair: Pair, tmp_path: Path):
    project = package(tmp_path / "newer")
    keys = pair.sshd.authorized_keys
    before = keys.read_text()
    newer = pair.sshd.home / "newer.py"
    newer.write_text(
        "import sys\nfrom forge.core import remote_frames\n"
        f"remote_frames.VERSION = {VERSION + 1}\n"
        "from forge.cli.main import main\nsys.exit(main())\n"
    )
    head, _, rest = before.partition("-m forge.cli.main")
    assert rest, before
    keys.write_text(f"{head}{newer}{rest}")
    try:
        done = pair.run("build", "--on", "studio", cwd=project)
    finally:
        keys.write_text(before)
    assert done.returncode == 76
    assert f"the client speaks version {VERSION}, this host {VERSION + 1}" in done.stderr


def test_a_host_that_greets_at_login_is_understood(pair: Pair, tmp_path: Path):
    project = package(tmp_path / "motd")
    keys = pair.sshd.authorized_keys
    before = keys.read_text()
    keys.write_text(before.replace('command="', 'command="echo welcome; exec ', 1))
    try:
        done = pair.run("check", "-q", "--on", "studio", cwd=project)
    finally:
        keys.write_text(before)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_host_without_forge_says_what_is_missing(pair: Pair, tmp_path: Path):
    project = package(tmp_path / "none")
    keys = pair.sshd.authorized_keys
    before = keys.read_text()
    keys.write_text((pair.sshd.home / "laptop.pub").read_text())
    try:
        done = pair.run("build", "--on", "studio", cwd=project)
    finally:
        keys.write_text(before)
    assert done.returncode == 69
    assert "there is no `forge` on the PATH of `studio`" in done.stderr


def ssh_of(process: "subprocess.Popen[str]") -> psutil.Process:
    """Return the ssh of a client: what its wrapper on PATH became."""
    assert os.getpid() != process.pid
    (found,) = psutil.Process(process.pid).children()
    return found
