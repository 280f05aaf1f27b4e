"""Cargo's parent, which to everybody else looks like cargo itself; so for any other command.

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
import sys
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any, Protocol

from forge.client.connection import Connection
from forge.client.ending import die_by
from forge.client.lease import Lease
from forge.errors import ForgeError

END_GRACE_S = 5.0
"""How long a child has to end before it is killed."""

FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)
FROM_KEYBOARD = (signal.SIGINT, signal.SIGQUIT)


class Errand(Protocol):
    """What is run, and what the daemon is told of it."""

    program: str
    argv: list[str]

    @property
    def missing(self) -> type[ForgeError]:
        """What is raised when there is nothing to run."""

    def started(self, pid: int) -> dict[str, Any] | None:
        """Return what is said once the child runs."""

    def renewal(self, pid: int) -> dict[str, Any]:
        """Return what the next daemon is told of the child that runs."""

    def ended(self, ending: dict[str, int], cost: dict[str, Any]) -> dict[str, Any]:
        """Return what is said of the end: by `exit` or by `signal`."""


def supervise(errand: Errand, env: Mapping[str, str], connection: Connection) -> int:
    """Run a child to its end with the lease held; return its exit code or die by its signal.

    Raises the errand's `missing` when there is nothing to run.
    """
    began = time.monotonic()
    child = _Child(errand, env)
    lease = Lease(connection, errand.renewal(child.pid), env, end_child=child.end)
    started = errand.started(child.pid)
    if started:
        lease.send(started)
    status, usage = _wait(child, lease)
    code = os.waitstatus_to_exitcode(status)
    cost = {"wall_s": round(time.monotonic() - began, 3), **_cost(usage)}
    lease.send(errand.ended({"exit": code} if code >= 0 else {"signal": -code}, cost))
    lease.close()
    if code < 0:
        die_by(-code)
    return code


class _Child:
    """The running child, and the signals that are passed on to it."""

    def __init__(self, errand: Errand, env: Mapping[str, str]) -> None:
        self.wakeup, wakeup_in = os.pipe()
        os.set_blocking(wakeup_in, False)
        os.set_blocking(self.wakeup, False)
        signal.set_wakeup_fd(wakeup_in, warn_on_full_buffer=False)
        self.pid = 0
        self.kill_at: float | None = None
        signal.signal(signal.SIGCHLD, _nothing)
        restored = [signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTSTP]
        for number in (*FORWARDED, *FROM_KEYBOARD):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._pass_on)
                restored.append(number)
        try:
            self.pid = os.posix_spawn(
                errand.program, errand.argv, env, setsigdef=restored, setsigmask=()
            )
        except OSError as error:
            raise errand.missing(f"{errand.program} cannot be run: {error.strerror}") from None
        if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
            signal.signal(signal.SIGTSTP, self._stop)

    def end(self) -> None:
        """Ask the child to end, even one that is stopped; it is killed when it does not."""
        self.kill_at = time.monotonic() + END_GRACE_S
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)

    def attend(self) -> None:
        """Kill a child that had time enough to end."""
        if self.kill_at is not None and time.monotonic() >= self.kill_at:
            self.kill_at = time.monotonic() + END_GRACE_S
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if self.pid and not (number in FROM_KEYBOARD and _in_foreground()):
            self._signal(number)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._signal(signal.SIGTSTP)
        os.kill(os.getpid(), signal.SIGSTOP)


def _wait(child: _Child, lease: Lease) -> tuple[int, resource.struct_rusage]:
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            return status, usage
        readers: list[Any] = [child.wakeup]
        if lease.connection:
            readers.append(lease.connection)
        due = [at for at in (lease.due_at, child.kill_at) if at is not None]
        timeout_s = max(0.0, min(due) - time.monotonic()) if due else None
        ready, _, _ = select.select(readers, [], [], timeout_s)
        with contextlib.suppress(BlockingIOError):
            os.read(child.wakeup, 512)
        lease.attend(is_readable=lease.connection in ready)
        child.attend()


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


def _cost(usage: resource.struct_rusage) -> dict[str, Any]:
    """Return what the child and those that it waited for have cost; macOS counts bytes."""
    per_kib = 1024 if sys.platform == "darwin" else 1
    return {
        "user_s": round(usage.ru_utime, 3),
        "system_s": round(usage.ru_stime, 3),
        "peak_kib": usage.ru_maxrss // per_kib,
    }


def here() -> str:
    """Return where we stand; what is run says itself when that is gone."""
    try:
        return os.getcwd()
    except OSError:
        return "/"


def _nothing(number: int, frame: FrameType | None) -> None:
    """Let the wakeup descriptor do the work."""
