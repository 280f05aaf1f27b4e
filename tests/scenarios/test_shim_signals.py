"""Signals and the terminal: the launcher must be as if it were not there."""

import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.scenarios.fake_forged import FakeForged, bare_env, built_shim, program

pytestmark = pytest.mark.skipif(shutil.which("rustc") is None, reason="no rustc to build the shim")

# Writes each signal it gets to a file; two of TERM or INT would show twice.
CARGO = f"""#!{sys.executable} -IS
import os, signal, sys, time
def note(number, frame):
    with open(os.environ["SEEN"], "a") as seen:
        seen.write(signal.Signals(number).name + "\\n")
    if number in (signal.SIGTERM, signal.SIGQUIT):
        time.sleep(0.3)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1,
               signal.SIGUSR2, signal.SIGCONT, signal.SIGWINCH):
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, note)
with open(os.environ["SEEN"], "a") as seen:
    seen.write("ready %d\\n" % os.getpid())
ends_at = time.monotonic() + float(os.environ.get("SECONDS", "20"))
while time.monotonic() < ends_at:
    time.sleep(0.05)
sys.exit(int(os.environ.get("CODE", "0")))
"""


class Running:
    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "state").mkdir(mode=0o700)
        program(home / "real" / "cargo", CARGO)
        self.seen_file = home / "seen"
        self.env = bare_env(home, built_shim().bin_dir, home / "real", "/usr/bin", "/bin")
        self.env["SEEN"] = str(self.seen_file)
        self.daemon = FakeForged(home / "state").start()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **options):
        env = {**self.env, **options.pop("env", {})}
        self.process = subprocess.Popen([built_shim().cargo, "build"], env=env, **options)
        self.wait_for("ready")
        return self.process

    @property
    def seen(self) -> list[str]:
        return self.seen_file.read_text().splitlines() if self.seen_file.exists() else []

    @property
    def cargo(self) -> int:
        return int(next(line for line in self.seen if line.startswith("ready")).split()[1])

    def wait_for(self, word: str, within_s: float = 15.0) -> None:
        deadline = time.monotonic() + within_s
        while not any(line.startswith(word) for line in self.seen):
            assert time.monotonic() < deadline, f"no {word}: {self.seen}"
            time.sleep(0.01)


@pytest.fixture
def running(tmp_path):
    found = Running(tmp_path)
    yield found
    found.daemon.stop()
    if found.process is not None:
        if found.process.poll() is None:
            found.process.kill()
        found.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_signal_to_the_launcher_alone_ends_cargo_and_then_the_launcher(running, number):
    process = running.start()
    process.send_signal(number)
    assert process.wait(10) == -number
    assert running.seen.count(number.name) == 1
    assert running.daemon.wait_for("ended")["signal"] == number
    assert not (running.home / "core").exists()


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH]
)
def test_signals_that_cargo_survives_are_survived(running, number):
    process = running.start(env={"SECONDS": "2", "CODE": "3"})
    process.send_signal(number)
    assert process.wait(10) == 3
    assert running.seen[1:] == [number.name]


@pytest.mark.parametrize("code", [0, 1, 101, 255])
def test_the_exit_code_is_cargos(running, code):
    assert running.start(env={"SECONDS": "0", "CODE": str(code)}).wait(10) == code
    assert running.daemon.wait_for("ended")["exit"] == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_death_by_a_signal_is_passed_up(running, number):
    process = running.start()
    os.kill(running.cargo, number)
    assert process.wait(10) == -number
    assert running.daemon.wait_for("ended")["signal"] == number


def test_signals_that_were_ignored_stay_ignored(running):
    process = running.start(
        env={"SECONDS": "2"}, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    process.send_signal(signal.SIGHUP)
    os.kill(running.cargo, signal.SIGHUP)
    assert process.wait(10) == 0
    assert running.seen[1:] == []


@pytest.mark.parametrize("ignored", [True, False])
def test_cargo_finds_sigpipe_as_the_launcher_did(running, ignored):
    program(
        running.home / "real" / "cargo",
        f"#!{sys.executable} -IS\nimport os\n"
        'status = open("/proc/self/status").read()\n'
        'open(os.environ["SEEN"], "w").write("ready 0\\n" + status)\n',
    )
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc to see it in")
    # Python itself ignores SIGPIPE at its start, so ask through a shell that tells the parent's.
    shown = 'grep SigIgn /proc/self/status > "$SEEN"; echo ready 0 >> "$SEEN"'
    program(running.home / "real" / "cargo", f"#!/bin/sh\n{shown}\n")
    running.start(restore_signals=not ignored).wait(10)
    mask = int(running.seen[0].split()[1], 16)
    assert bool(mask & 1 << (signal.SIGPIPE - 1)) is ignored


@pytest.mark.skipif(sys.platform != "linux", reason="macOS cannot tie a child to its parent")
def test_ending_the_launcher_by_force_ends_cargo(running):
    process = running.start()
    cargo = running.cargo
    process.kill()
    process.wait(10)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{cargo}/cmdline").exists() and Path(f"/proc/{cargo}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.daemon.wait_closed("begin", within_s=1.0)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def wait_state(pid: int, wanted: str) -> None:
    deadline = time.monotonic() + 5
    while state(pid) not in wanted:
        assert time.monotonic() < deadline, f"{pid} is in state {state(pid)}"
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_stop_and_continue_to_the_launcher_alone_stop_and_continue_both(running):
    process = running.start(env={"SECONDS": "3"}, process_group=0)
    process.send_signal(signal.SIGTSTP)
    wait_state(process.pid, "T")
    wait_state(running.cargo, "T")
    process.send_signal(signal.SIGCONT)
    wait_state(running.cargo, "SR")
    wait_state(process.pid, "SR")
    process.send_signal(signal.SIGTSTP)  # the handler is back
    wait_state(process.pid, "T")
    process.send_signal(signal.SIGCONT)
    assert process.wait(15) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_stopping_cargo_alone_is_invisible_to_the_launchers_parent(running):
    process = running.start(env={"SECONDS": "1"})
    os.kill(running.cargo, signal.SIGSTOP)
    time.sleep(0.3)
    assert os.waitpid(process.pid, os.WNOHANG | os.WUNTRACED) == (0, 0)
    os.kill(running.cargo, signal.SIGCONT)
    assert process.wait(10) == 0


class Terminal:
    """A shell of its own on a pseudo terminal."""

    def __init__(self, running: Running) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            env = {**running.env, "PS1": "prompt> ", "ENV": "", "TERM": "dumb"}
            os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"], env)
        self.text = b""

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def expect(self, wanted: bytes, within_s: float = 15.0) -> bytes:
        import select

        deadline = time.monotonic() + within_s
        while wanted not in self.text:
            assert time.monotonic() < deadline, f"no {wanted!r} in {self.text!r}"
            if select.select([self.fd], [], [], 0.1)[0]:
                self.text += os.read(self.fd, 4096)
        before, _, self.text = self.text.partition(wanted)
        return before

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.close(self.fd)
        os.waitpid(self.pid, 0)


@pytest.fixture
def terminal(running):
    if not Path("/bin/bash").exists():
        pytest.skip("no bash")
    found = Terminal(running)
    found.expect(b"prompt> ")
    yield found
    found.close()


def test_the_interrupt_key_reaches_cargo_once(running, terminal):
    terminal.type("cargo build; echo code=$?\n")
    running.wait_for("ready")
    terminal.type("\x03")
    running.wait_for("SIGINT")
    terminal.type("\x1c")  # quit, which this cargo does not survive
    terminal.expect(b"code=131")
    assert running.seen[1:] == ["SIGINT", "SIGQUIT"]
    assert running.daemon.wait_for("begin")["interactive"] is True


def test_the_suspend_key_gives_the_prompt_back_and_fg_goes_on(running, terminal):
    program(running.home / "real" / "cargo", CARGO.replace("signal.SIGCONT, ", ""))
    running.env["SECONDS"] = "4"
    terminal.type("SECONDS=4; export SECONDS; cargo build; echo code=$?\n")
    running.wait_for("ready")
    terminal.type("\x1a")
    terminal.expect(b"Stopped")
    terminal.expect(b"prompt> ")
    if sys.platform == "linux":
        wait_state(running.cargo, "T")
    terminal.type("fg; echo then=$?\n")
    terminal.expect(b"\r\nthen=0")
