"""How a build ends: by cargo's exit code, by a signal, or with Forge killed under it."""

import contextlib
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.scenarios.conftest import (
    HeldPackage,
    PrivateForge,
    cargo,
    clean_env,
    end_session,
    is_gone,
    package,
    wait_until,
)


@pytest.fixture(params=["native", "python"])
def launcher(request: pytest.FixtureRequest) -> str:
    """Both launchers end as cargo ends."""
    return str(request.param)


pytestmark = pytest.mark.real_cargo


@pytest.mark.parametrize(
    ("argv", "main"),
    [
        (["build"], "fn main() { let x: u8 = true; }\n"),
        (["test"], "fn main() {}\n#[test] fn fails() { panic!() }\n"),
        (["run", "-q"], "fn main() { std::process::exit(42) }\n"),
        (["run", "-q"], "fn main() { std::process::abort() }\n"),  # cargo shows it as 101
        (["nosuchverb"], "fn main() {}\n"),
        (["build", "--no-such-option"], "fn main() {}\n"),
        (["build", "--manifest-path", "nowhere/Cargo.toml"], "fn main() {}\n"),
        (["build", "--locked", "--features", "none"], "fn main() {}\n"),
        (["--version"], "fn main() {}\n"),
    ],
)
def test_the_exit_code_and_stdout_are_cargos(
    lasting_forge: PrivateForge, tmp_path: Path, argv: list[str], main: str
) -> None:
    root = package(tmp_path / "p", main=main)
    verb = ["cargo", *argv] if argv == ["--version"] else argv
    plain = cargo(*argv, cwd=root, env={"CARGO_TARGET_DIR": str(tmp_path / "plain")})
    done = lasting_forge.run(*verb, cwd=root)
    assert done.returncode == plain.returncode, done.stderr
    if "test" not in argv:  # its output holds times
        assert done.stdout == plain.stdout


def test_outside_any_package_cargo_says_what_is_wrong(
    lasting_forge: PrivateForge, tmp_path: Path
) -> None:
    plain = cargo("build", cwd=tmp_path)
    done = lasting_forge.run("build", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (plain.returncode, plain.stderr)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_forge_ends_cargo_and_the_status_is_as_with_plain_cargo(
    lasting_forge: PrivateForge, held: HeldPackage, number: signal.Signals
) -> None:
    plain = subprocess.Popen(
        ["cargo", "build"],
        cwd=held.root,
        env=clean_env(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(held.has_begun)
        plain.send_signal(number)
        expected = plain.wait(30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(plain.pid, signal.SIGKILL)
    (held.root / "began").unlink()
    process = lasting_forge.start("build", cwd=held.root)
    wait_until(held.has_begun)
    cargo_pid = build_of(lasting_forge, held)["cargo_pid"]
    process.send_signal(number)
    assert process.wait(30) == expected == -number
    wait_until(lambda: is_gone(cargo_pid), 5)


def build_of(forge: PrivateForge, held: HeldPackage) -> dict[str, int]:
    def running() -> dict[str, int] | None:
        found = [one for one in forge.status()["builds"] if one["root"] == str(held.root)]
        return found[0] if found and found[0]["cargo_pid"] else None

    build: dict[str, int] = wait_until(running)
    return build


def test_ctrl_c_on_a_terminal_ends_forge_as_it_ends_cargo(
    lasting_forge: PrivateForge, held: HeldPackage
) -> None:
    command = [*lasting_forge.cli, "build"]
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.chdir(held.root)
            os.execve(command[0], command, lasting_forge.env)
        finally:
            os._exit(126)
    try:
        wait_until(held.has_begun)
        cargo_pid = build_of(lasting_forge, held)["cargo_pid"]
        os.write(terminal, b"\x03")
        deadline = time.monotonic() + 30
        ended, status = 0, 0
        while not ended and time.monotonic() < deadline:
            ended, status = os.waitpid(pid, os.WNOHANG)
            time.sleep(0.02)
        assert ended, "forge goes on after Ctrl-C"
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) == signal.SIGINT
        wait_until(lambda: is_gone(cargo_pid), 5)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        os.close(terminal)


def test_a_build_is_interactive_on_a_terminal_and_its_colours_are_cargos(
    lasting_forge: PrivateForge, tmp_path: Path
) -> None:
    root = package(tmp_path / "p")
    command = [*lasting_forge.cli, "build"]
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.chdir(root)
            os.execve(command[0], command, {**lasting_forge.env, "TERM": "xterm-256color"})
        finally:
            os._exit(126)
    seen = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while piece := os.read(terminal, 4096):
            seen += piece
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert b"\x1b[1m" in seen
    assert b"Finished" in seen


def test_the_daemon_ends_the_cargo_of_a_forge_that_was_killed_and_the_lock_is_free(
    lasting_forge: PrivateForge, held: HeldPackage
) -> None:
    process = lasting_forge.start("build", cwd=held.root)
    wait_until(held.has_begun)
    cargo_pid = build_of(lasting_forge, held)["cargo_pid"]
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: is_gone(cargo_pid), 10)
    held.let_go()
    done = lasting_forge.run("build", cwd=held.root)
    assert done.returncode == 0, done.stderr
    assert "Blocking waiting for file lock" not in done.stderr
    wait_until(lambda: lasting_forge.status()["builds"] == [], 5)
    end_session(process)


def is_stopped(pid: int) -> bool:
    return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)


def test_a_forge_that_is_stopped_and_continued_stops_and_continues_cargo(
    lasting_forge: PrivateForge, held: HeldPackage
) -> None:
    # a group of its own in our session: nobody stops the group of a session without a shell
    process = lasting_forge.start("build", cwd=held.root, start_new_session=False, process_group=0)
    wait_until(held.has_begun)
    cargo_pid = build_of(lasting_forge, held)["cargo_pid"]
    process.send_signal(signal.SIGTSTP)
    wait_until(lambda: is_stopped(process.pid) and is_stopped(cargo_pid), 5)
    process.send_signal(signal.SIGCONT)
    held.let_go()
    assert process.wait(30) == 0


def test_a_build_goes_on_when_the_daemon_is_killed_and_the_next_one_adopts_the_disk(
    forge: PrivateForge, held: HeldPackage
) -> None:
    process = forge.start("build", cwd=held.root)
    wait_until(held.has_begun)
    first = forge.daemon_pid()
    build_of(forge, held)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: is_gone(first))
    held.let_go()
    assert process.wait(60) == 0
    again = forge.run("build", "-v", cwd=held.root)
    assert again.returncode == 0, again.stderr
    assert "Fresh tiny" in again.stderr
    status = forge.status()
    assert status["pid"] != first
    assert status["disk"]["adopted"] is True
    assert status["builds"] == []


def test_a_build_that_outlives_its_daemon_is_handed_to_the_next_one(
    forge: PrivateForge, held: HeldPackage, tmp_path: Path
) -> None:
    process = forge.start("build", cwd=held.root)
    wait_until(held.has_begun)
    first = forge.daemon_pid()
    build_id = forge.status()["builds"][0]["id"]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: is_gone(first))
    other = package(tmp_path / "other")
    assert forge.run("build", cwd=other).returncode == 0
    wait_until(lambda: [b["id"] for b in forge.status()["builds"]] == [build_id], 10)
    with pytest.raises(Exception, match="used by 1 build"):
        forge.ask({"type": "disk", "verb": "unmount"})
    held.let_go()
    assert process.wait(60) == 0
    wait_until(lambda: forge.status()["builds"] == [], 5)
