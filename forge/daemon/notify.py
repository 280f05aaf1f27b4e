"""Tells systemd that the daemon is ready, alive or ending: sd_notify(3), for units of Type=notify.

Where no manager listens, nothing is sent.
"""

import asyncio
import os
import socket
from collections.abc import Mapping

LEAST_S = 1.0


class Notifier:
    """One manager, or none."""

    def __init__(self, env: Mapping[str, str]) -> None:
        path = env.get("NOTIFY_SOCKET", "")
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        told_us = env.get("WATCHDOG_USEC", "")
        is_for_us = env.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._every_s = int(told_us) / 3e6 if told_us.isdigit() and is_for_us else None
        self._timer: asyncio.TimerHandle | None = None

    def ready(self) -> None:
        """Say that clients are answered now, and go on to say that we are alive.

        It is said from the event loop: one that is stuck says nothing, and is started anew.
        """
        self._send(f"READY=1\nMAINPID={os.getpid()}")
        if self._every_s:
            self._alive(asyncio.get_running_loop(), max(LEAST_S, self._every_s))

    def stopping(self) -> None:
        """Say that we are ending."""
        if self._timer:
            self._timer.cancel()
        self._send("STOPPING=1")

    def _alive(self, loop: asyncio.AbstractEventLoop, every_s: float) -> None:
        self._send("WATCHDOG=1")
        self._timer = loop.call_later(every_s, self._alive, loop, every_s)

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            try:
                sock.sendto(message.encode("ascii"), self._address)
            except OSError:
                self._address = ""  # the manager is gone: nobody listens any more
