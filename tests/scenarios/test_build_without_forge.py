"""Forge never breaks a build: whatever is missing, cargo runs and one line says what."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.scenarios.conftest import (
    HeldPackage,
    PrivateForge,
    changed,
    forge_lines,
    may_mount,
    package,
    wait_until,
)


@pytest.fixture(params=["native", "python"])
def launcher(request: pytest.FixtureRequest) -> str:
    """Both launchers end as cargo ends."""
    return str(request.param)


pytestmark = pytest.mark.real_cargo
needs_tmpfs = pytest.mark.skipif(not may_mount(), reason="mounting a tmpfs needs root on Linux")


def built_in_project(root: Path) -> bool:
    return (root / "target" / "debug" / "tiny").exists()


def one_line(done: "subprocess.CompletedProcess[str]") -> str:
    """Return the one line that Forge has said beside a build that went well."""
    assert done.returncode == 0, done.stderr
    (line,) = forge_lines(done.stderr)
    return line


def test_a_daemon_that_is_stopped_costs_a_build_its_patience_and_one_line(
    forge: PrivateForge, tmp_path: Path
) -> None:
    root = package(tmp_path / "p")
    assert forge.run("build", cwd=root).returncode == 0
    daemon = forge.daemon_pid()
    os.kill(daemon, signal.SIGSTOP)
    before = time.monotonic()
    line = one_line(forge.run("build", cwd=root))
    took_s = time.monotonic() - before
    os.kill(daemon, signal.SIGCONT)
    assert "not answer" in line
    assert 2.0 <= took_s < 6.0
    assert built_in_project(root)
    wait_until(lambda: forge.status()["builds"] == [], 5)


def test_a_build_goes_on_and_ends_beside_a_stopped_daemon(
    forge: PrivateForge, held: HeldPackage
) -> None:
    process = forge.start("build", cwd=held.root)
    wait_until(held.has_begun)
    daemon = forge.daemon_pid()
    os.kill(daemon, signal.SIGSTOP)
    held.let_go()
    assert process.wait(30) == 0
    os.kill(daemon, signal.SIGCONT)
    wait_until(lambda: forge.status()["builds"] == [], 5)


@needs_tmpfs
def test_a_disk_that_was_unmounted_between_builds_is_mounted_again(
    forge: PrivateForge, tmp_path: Path
) -> None:
    root = package(tmp_path / "p")
    assert forge.run("build", cwd=root).returncode == 0
    subprocess.run(["umount", "-l", forge.mount_point], check=True, timeout=30)
    assert not os.path.ismount(forge.mount_point)
    done = forge.run("build", cwd=root)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("forge:")]
    assert all("mounted anew" in line for line in said), "nothing, if it was noticed before"
    assert os.path.ismount(forge.mount_point)
    assert (forge.target_dir(root) / "debug" / "tiny").exists()
    assert not built_in_project(root)


@needs_tmpfs
def test_a_disk_under_a_running_build_that_vanishes_does_not_hang_the_next_build(
    forge: PrivateForge, held: HeldPackage
) -> None:
    process = forge.start("build", cwd=held.root)
    wait_until(held.has_begun)
    subprocess.run(["umount", "-l", forge.mount_point], check=True, timeout=30)
    held.let_go()
    process.wait(30)  # cargo's own affair: its files are still there, or no more
    done = forge.run("build", cwd=held.root)
    assert done.returncode == 0, done.stderr


@needs_tmpfs
def test_a_new_project_goes_to_the_ssd_when_the_disk_is_full(
    forge: PrivateForge, tmp_path: Path
) -> None:
    forge.configure(size="160MiB", disk="grow = false")
    known = package(tmp_path / "known")
    assert forge.run("build", cwd=known).returncode == 0
    with open(forge.mount_point / "filler", "wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, free_bytes(forge.mount_point) - (1 << 20))
    new = package(tmp_path / "new")
    done = forge.run("build", cwd=new)
    assert done.returncode == 0, done.stderr
    assert "building on the SSD" in done.stderr
    assert "the RAM disk is full" in done.stderr
    spilled = Path(forge.env["FORGE_CACHE_DIR"]) / "spilled" / forge.target_dir(new).name
    assert (spilled / "debug" / "tiny").exists() or built_in_project(new)
    (forge.mount_point / "filler").unlink()
    newer = package(tmp_path / "newer")
    done = forge.run("build", cwd=newer)
    assert done.returncode == 0, done.stderr


def free_bytes(place: Path) -> int:
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize


@pytest.mark.skipif(sys.platform != "linux", reason="macOS mounts beside a directory in the way")
def test_a_mount_point_that_is_taken_leaves_the_build_on_the_ssd(
    forge: PrivateForge, tmp_path: Path
) -> None:
    forge.mount_point.mkdir()
    (forge.mount_point / "precious").write_text("mine")
    root = package(tmp_path / "p")
    line = one_line(forge.run("build", cwd=root))
    assert str(forge.mount_point) in line
    assert built_in_project(root)
    assert (forge.mount_point / "precious").read_text() == "mine"
    assert os.listdir(forge.mount_point) == ["precious"]


def test_a_configuration_that_is_wrong_does_not_break_a_build(
    forge: PrivateForge, tmp_path: Path
) -> None:
    Path(forge.env["FORGE_CONFIG"]).write_text('[disk]\nkind = "none"\n')
    root = package(tmp_path / "p")
    assert forge.run("build", cwd=root).returncode == 0
    Path(forge.env["FORGE_CONFIG"]).write_text("[disk]\nkind = 7\n")
    wait_until(lambda: forge.decisions("config.refused"), 10)
    done = forge.run("build", cwd=root)
    assert done.returncode == 0, done.stderr
    assert built_in_project(root)


@pytest.mark.parametrize("place", ["/dev/null/state", "/proc/opta-forge", "a file"])
def test_a_state_directory_that_cannot_be_made_does_not_break_a_build(
    forge: PrivateForge, tmp_path: Path, place: str
) -> None:
    if place == "a file":
        (tmp_path / "file").touch()
        place = str(tmp_path / "file")
    root = package(tmp_path / "p")
    one_line(forge.run("build", cwd=root, env={"FORGE_STATE_DIR": place}))
    assert built_in_project(root)


def test_a_state_directory_whose_path_is_too_long_for_a_socket_does_not_break_a_build(
    forge: PrivateForge, tmp_path: Path
) -> None:
    root = package(tmp_path / "p")
    line = one_line(
        forge.run("build", cwd=root, env={"FORGE_STATE_DIR": str(tmp_path / ("s" * 99))})
    )
    assert "too long" in line
    assert built_in_project(root)


@contextmanager
def stranger_on(path: Path, talks: Callable[[socket.socket], None]) -> Iterator[None]:
    """Put something that is no daemon on the socket: `talks` deals with each connection."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    ended = threading.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(0.1)

        def serve() -> None:
            held = []
            while not ended.is_set():
                try:
                    peer, _ = listener.accept()
                except TimeoutError:
                    continue
                held.append(peer)
                try:
                    talks(peer)
                except OSError:  # the client has left, as it may
                    continue
            for peer in held:
                peer.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


STRANGERS: dict[str, Callable[[socket.socket], None]] = {
    "garbage": lambda peer: peer.sendall(b"\0\xff\xfe garbage\n" * 9),
    "JSON that is no message": lambda peer: peer.sendall(b"[1,2]\n"),
    "a reply without fields": lambda peer: peer.sendall(b'{"type":"go"}\n'),
    "fields of wrong types": lambda peer: peer.sendall(
        b'{"type":"go","argv":7,"env":[],"notes":{},"unset":3,"build":null}\n'
    ),
    "an endless line": lambda peer: peer.sendall(b"x" * 2_600_000),
    "a hang-up": lambda peer: peer.close(),
    "half a line": lambda peer: peer.sendall(b'{"type":'),
    "silence": lambda peer: None,
    "a refusal": lambda peer: peer.sendall(
        b'{"type":"error","slug":"protocol-mismatch","message":"version 9","hint":null}\n'
    ),
}


@pytest.mark.parametrize("said", STRANGERS)
def test_whatever_sits_on_the_socket_cargo_runs(
    forge: PrivateForge, tmp_path: Path, said: str
) -> None:
    root = package(tmp_path / "p")
    before = time.monotonic()
    with stranger_on(forge.socket, STRANGERS[said]):
        done = forge.run("build", cwd=root)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - before < 8
    assert built_in_project(root)
    if said != "a reply without fields":
        assert len(forge_lines(done.stderr)) == 1, done.stderr


def test_a_dead_socket_is_replaced_by_a_daemon(forge: PrivateForge, tmp_path: Path) -> None:
    forge.state_dir.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(forge.socket))
    root = package(tmp_path / "p")
    done = forge.run("build", cwd=root)
    assert done.returncode == 0, done.stderr
    assert forge_lines(done.stderr) == []
    assert (forge.target_dir(root) / "debug" / "tiny").exists()


def test_a_plain_file_in_place_of_the_socket_does_not_break_a_build(
    forge: PrivateForge, tmp_path: Path
) -> None:
    forge.state_dir.mkdir(mode=0o700)
    forge.socket.write_text("not a socket")
    root = package(tmp_path / "p")
    assert forge.run("build", cwd=root).returncode == 0


def test_with_disk_kind_none_cargo_builds_where_it_would_and_nothing_is_said(
    forge: PrivateForge, tmp_path: Path
) -> None:
    forge.configure(kind="none")
    root = package(tmp_path / "p")
    done = forge.run("build", cwd=root)
    assert done.returncode == 0, done.stderr
    assert forge_lines(done.stderr) == []
    assert built_in_project(root)
    assert forge.status()["disk"]["phase"] == "off"


def test_forge_can_be_switched_off_by_a_variable(forge: PrivateForge, tmp_path: Path) -> None:
    root = package(tmp_path / "p")
    done = forge.run("build", cwd=root, env={"FORGE_DISABLE": "1"})
    assert done.returncode == 0, done.stderr
    assert built_in_project(root)
    assert not forge.state_dir.exists()


def test_without_cargo_one_line_says_so_and_the_exit_code_is_that_of_a_shell(
    forge: PrivateForge, tmp_path: Path
) -> None:
    root = package(tmp_path / "p")
    done = forge.run("build", cwd=root, env={"PATH": str(tmp_path)})
    assert done.returncode == 127
    assert len(done.stderr.splitlines()) <= 2
    assert "cargo" in done.stderr


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_build_works_with_a_standard_descriptor_closed(
    forge: PrivateForge, tmp_path: Path, closed: int
) -> None:
    root = package(tmp_path / "p")
    process = subprocess.Popen(
        ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *forge.cli, "build", "-q"],
        cwd=root,
        env=changed(forge.env, None),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert process.wait(60) == 0
    assert (forge.target_dir(root) / "debug" / "tiny").exists()
