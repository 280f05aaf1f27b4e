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
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, NamedTuple, Protocol

from forge.client.connection import Connection
from forge.client.lease import Lease
from forge.errors import ForgeError

END_GRACE_S = 5.0
"""How long a child has to end before it is killed."""

FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)
FROM_KEYBOARD = (signal.SIGINT, signal.SIGQUIT)
FATAL = (*FROM_KEYBOARD, signal.SIGTERM, signal.SIGHUP)


class Errand(Protocol):
    """What is run, and what the daemon is told of it.

    `requeues`: the daemon may end it to have it begun anew, and says what becomes of it when it has
    failed.
    """

    program: str
    argv: list[str]
    requeues: bool

    @property
    def missing(self) -> type[ForgeError]:
        """What is raised when there is nothing to run."""

    def started(self, pid: int) -> dict[str, Any] | None:
        """Return what is said once the child runs."""

    def renewal(self, pid: int) -> dict[str, Any]:
        """Return what the next daemon is told of the child that runs."""

    def ended(self, ending: dict[str, int], cost: dict[str, Any]) -> dict[str, Any]:
        """Return what is said of the end: by `exit` or by `signal`."""


class Ended(NamedTuple):
    """How a child ended. `again`: what to bring back to the daemon, if its errand begins anew."""

    code: int
    again: str | None


def supervise(errand: Errand, env: Mapping[str, str], connection: Connection) -> Ended:
    """Run a child to its end with the lease held; tell how it ended, and whether that was all.

    Raises the errand's `missing` when there is nothing to run.
    """
    began = time.monotonic()
    child = _Child(errand, env)
    renewal = errand.renewal(child.pid)
    lease = Lease(connection, renewal, env, end_child=child.end, requeues=errand.requeues)
    started = errand.started(child.pid)
    if started:
        lease.send(started)
    status, usage = _wait(child, lease)
    child.is_over()
    code = os.waitstatus_to_exitcode(status)
    cost = {"wall_s": round(time.monotonic() - began, 3), **_cost(usage)}
    again = lease.finish(errand.ended({"exit": code} if code >= 0 else {"signal": -code}, cost))
    was_all = code == 0 or child.was_interrupted
    child.give_signals_back()
    return Ended(code, None if was_all else again)


class _Child:
    """The running child, and the signals that are passed on to it."""

    def __init__(self, errand: Errand, env: Mapping[str, str]) -> None:
        self.wakeup, wakeup_in = os.pipe()
        os.set_blocking(wakeup_in, False)
        os.set_blocking(self.wakeup, False)
        signal.set_wakeup_fd(wakeup_in, warn_on_full_buffer=False)
        self._wakeup_in = wakeup_in
        self.pid = 0
        self.kill_at: float | None = None
        self.was_interrupted = False
        self._before: dict[int, Any] = {}
        self._catch(signal.SIGCHLD, _nothing)
        restored = [signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTSTP]
        for number in (*FORWARDED, *FROM_KEYBOARD):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._catch(number, self._pass_on)
                restored.append(number)
        try:
            self.pid = os.posix_spawn(
                errand.program, errand.argv, env, setsigdef=restored, setsigmask=()
            )
        except OSError as error:
            raise errand.missing(f"{errand.program} cannot be run: {error.strerror}") from None
        if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
            self._catch(signal.SIGTSTP, self._stop)

    def is_over(self) -> None:
        """Take note that it has ended: its pid may be another's by now."""
        self.pid = 0

    def give_signals_back(self) -> None:
        """Let signals do what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(self.wakeup)
        os.close(self._wakeup_in)

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

    def _catch(self, number: int, handler: Callable[[int, FrameType | None], None]) -> None:
        self._before[number] = signal.signal(number, handler)

    def _signal(self, number: int) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.was_interrupted = self.was_interrupted or number in FATAL
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
