"""Cargo's parent, which to everybody else looks like cargo itself.

A signal that the terminal sends reaches the whole foreground group, cargo included, and must not be
sent on a second time: programs take a second Ctrl-C for "now!". A signal that somebody sent to our
pid alone must be. Python cannot see the sender (`si_code`) on every platform, but a SIGINT or
SIGQUIT while our group is in the foreground of its terminal comes from its keyboard in all but odd
cases, and one at any other time cannot.
"""

import contextlib
import os
import resource
import select
import signal
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any

from forge.client.connection import Connection, connect
from forge.errors import CargoMissing, ForgeError

RECONNECT_S = 1.0
FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)
FROM_KEYBOARD = (signal.SIGINT, signal.SIGQUIT)


def supervise(
    command: list[str],
    env: Mapping[str, str],
    connection: Connection,
    go: Mapping[str, Any],
    argv: list[str],
) -> int:
    """Run `command` to its end with the lease held; return its exit code or die by its signal."""
    child = _Child(command, env)
    lease = _Lease(connection, go, argv, child.pid, env)
    with contextlib.suppress(ForgeError):
        connection.send({"type": "started", "pid": child.pid})
    status = _wait(child, lease)
    code = os.waitstatus_to_exitcode(status)
    lease.end(code)
    if code < 0:
        _die_by(-code)
    return code


class _Child:
    """The running cargo, and the signals that are passed on to it."""

    def __init__(self, command: list[str], env: Mapping[str, str]) -> None:
        self.wakeup, wakeup_in = os.pipe()
        os.set_blocking(wakeup_in, False)
        os.set_blocking(self.wakeup, False)
        signal.set_wakeup_fd(wakeup_in, warn_on_full_buffer=False)
        self.pid = 0
        signal.signal(signal.SIGCHLD, _nothing)
        restored = [signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTSTP]
        for number in (*FORWARDED, *FROM_KEYBOARD):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._pass_on)
                restored.append(number)
        try:
            self.pid = os.posix_spawn(
                command[0], ["cargo", *command[1:]], env, setsigdef=restored, setsigmask=()
            )
        except OSError as error:
            raise CargoMissing(f"{command[0]} cannot be run: {error.strerror}") from None
        if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
            signal.signal(signal.SIGTSTP, self._stop)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if self.pid and not (number in FROM_KEYBOARD and _in_foreground()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTSTP)
        os.kill(os.getpid(), signal.SIGSTOP)


class _Lease:
    """The connection that holds the build, and its renewal when the daemon is replaced."""

    def __init__(
        self,
        connection: Connection,
        go: Mapping[str, Any],
        argv: list[str],
        cargo_pid: int,
        env: Mapping[str, str],
    ) -> None:
        self.connection: Connection | None = connection
        self._env = env
        self._adopt = {
            "type": "adopt",
            "pid": os.getpid(),
            "build": go.get("build"),
            "cargo_pid": cargo_pid,
            "cwd": _cwd(),
            "argv": argv,
            "target_dir": go.get("target_dir"),
            "jobserver": (go.get("jobserver") or {}).get("path"),
        }

    def read(self) -> None:
        """Take in what the daemon has sent; let go of a connection that ended."""
        if self.connection is None:
            return
        open_still = self.connection.fill()
        with contextlib.suppress(ForgeError):
            while message := self.connection.next_buffered():
                if message["type"] == "say":
                    from forge.client.build import say

                    say(str(message.get("line")))
        if not open_still:
            self.connection.close()
            self.connection = None

    def renew(self) -> None:
        """Hand the build to the daemon that runs now, if one does; never start one."""
        with contextlib.suppress(ForgeError):
            connection = connect(self._env)
            connection.send(self._adopt)
            self.connection = connection

    def end(self, code: int) -> None:
        """Tell how cargo ended and give everything back."""
        if self.connection is None:
            return
        how = {"exit": code} if code >= 0 else {"signal": -code}
        with contextlib.suppress(ForgeError):
            self.connection.send({"type": "ended", **how})
        self.connection.close()


def _wait(child: _Child, lease: _Lease) -> int:
    while True:
        pid, status = os.waitpid(child.pid, os.WNOHANG)
        if pid:
            return status
        readers: list[Any] = [child.wakeup]
        if lease.connection:
            readers.append(lease.connection)
        before = time.monotonic()
        ready, _, _ = select.select(readers, [], [], None if lease.connection else RECONNECT_S)
        with contextlib.suppress(BlockingIOError):
            os.read(child.wakeup, 512)
        if lease.connection in ready:
            lease.read()
        elif lease.connection is None and time.monotonic() - before >= RECONNECT_S / 2:
            lease.renew()


def _in_foreground() -> bool:
    """Say whether our process group is in the foreground of its terminal, if it has one."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _die_by(number: int) -> None:
    """End by the signal that ended cargo, so that whoever waits for us sees the same."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "/"


def _nothing(number: int, frame: FrameType | None) -> None:
    """Let the wakeup descriptor do the work."""
