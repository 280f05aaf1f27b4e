"""Tells when a process is gone: at once where the kernel says so, else by a look each second.

Linux: pidfd_open(2). macOS: kqueue(2) with NOTE_EXIT. Both name the process and not its number; the
start time is compared besides, since the number may have been used again before we opened it.
"""

import asyncio
import contextlib
import os
import select
import sys
from collections.abc import Callable
from dataclasses import dataclass

from forge.host import processes
from forge.host.processes import Process

POLL_S = 0.5


@dataclass(slots=True)
class _Watch:
    process: Process
    pidfd: int | None = None
    timer: asyncio.TimerHandle | None = None


class Watches:
    """Processes that are watched, by key. Each has a pidfd or a timer, at all times."""

    def __init__(self, on_gone: Callable[[str, int], None]) -> None:
        self._on_gone = on_gone
        self._watches: dict[str, _Watch] = {}
        self._kqueue: select.kqueue | None = None  # type: ignore[name-defined,unused-ignore]
        if sys.platform == "darwin":
            self._kqueue = select.kqueue()
            asyncio.get_running_loop().add_reader(self._kqueue.fileno(), self._drain_kqueue)

    def add(self, key: str, pid: int) -> None:
        """Watch a process; says that it is gone, on the next turn of the loop, if it is already."""
        self.remove(key)
        loop = asyncio.get_running_loop()
        process = processes.identify(pid)
        if process is None:
            loop.call_soon(self._on_gone, key, pid)
            return
        watch = _Watch(process)
        self._watches[key] = watch
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                watch.pidfd = os.pidfd_open(pid)
                loop.add_reader(watch.pidfd, self._gone, key)
        elif self._kqueue is not None:
            self._add_kevent(pid)
        if watch.pidfd is None:
            watch.timer = loop.call_later(POLL_S, self._look, key)
        elif not processes.is_alive(process):
            loop.call_soon(self._gone, key)

    def remove(self, key: str) -> None:
        """Forget a watch; unknown keys are fine."""
        watch = self._watches.pop(key, None)
        if watch is None:
            return
        if watch.pidfd is not None:
            asyncio.get_running_loop().remove_reader(watch.pidfd)
            os.close(watch.pidfd)
        if watch.timer is not None:
            watch.timer.cancel()

    def process(self, key: str) -> Process | None:
        """Return the process that is watched under `key`."""
        watch = self._watches.get(key)
        return watch.process if watch else None

    def close(self) -> None:
        """Forget all."""
        for key in list(self._watches):
            self.remove(key)
        if self._kqueue is not None:
            asyncio.get_running_loop().remove_reader(self._kqueue.fileno())
            self._kqueue.close()

    def _gone(self, key: str) -> None:
        watch = self._watches.get(key)
        if watch:
            self.remove(key)
            self._on_gone(key, watch.process.pid)

    def _look(self, key: str) -> None:
        watch = self._watches.get(key)
        if watch is None:
            return
        if not processes.is_alive(watch.process):
            self._gone(key)
            return
        watch.timer = asyncio.get_running_loop().call_later(POLL_S, self._look, key)

    def _add_kevent(self, pid: int) -> None:
        if sys.platform == "darwin" and self._kqueue is not None:
            event = select.kevent(
                pid,
                select.KQ_FILTER_PROC,
                select.KQ_EV_ADD | select.KQ_EV_ONESHOT,
                select.KQ_NOTE_EXIT,
            )
            with contextlib.suppress(OSError):  # gone in between: the timer will see it
                self._kqueue.control([event], 0)

    def _drain_kqueue(self) -> None:
        if sys.platform == "darwin" and self._kqueue is not None:
            for event in self._kqueue.control(None, 64, 0):
                for key, watch in list(self._watches.items()):
                    if watch.process.pid == event.ident:
                        self._gone(key)
