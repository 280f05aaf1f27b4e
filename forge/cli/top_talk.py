"""The conversation of `forge top` with the daemon: one connection, kept, and never waited on.

When the daemon goes away or is silent for longer than a daemon may be, the connection is given up
and tried anew each second. No daemon is ever started: looking must not change what is looked at.
"""

from collections.abc import Mapping
from typing import Any

import forge
from forge.client.connection import Connection, connect
from forge.core import wire
from forge.errors import DaemonUnreachable, ForgeError, ProtocolMismatch

EVERY_S = 1.0
"""How often the status is asked for, and how often a daemon that is gone is looked for."""

REPLIES = ("status", "ok", "error")

Message = dict[str, Any]


class Talk:
    """Invariant: `_owed` replies are outstanding, the oldest since `_since_s` or later.

    `problem` says why there is no daemon to talk to; it is empty while there is one.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._connection: Connection | None = None
        self._owed = 0
        self._since_s = 0.0
        self._next_s = 0.0
        self.problem = ""

    def descriptors(self) -> list[Connection]:
        """Return what to select on for reading."""
        return [self._connection] if self._connection else []

    def due_in_s(self, now_s: float) -> float:
        """Return in how many seconds `tick` has something to do."""
        return max(0.0, self._next_s - now_s)

    def tick(self, now_s: float) -> None:
        """Ask for the status when it is time, and connect where there is no connection."""
        if now_s < self._next_s:
            return
        self._next_s = now_s + EVERY_S
        if self._owed and now_s - self._since_s > wire.PATIENCE_S:
            self._give_up(f"it has not answered for {wire.PATIENCE_S:g} s")
        try:
            if self._connection is None:
                self._connection = connect(self._env)
            if not self._owed:
                self._send({"type": "status", "client": forge.__version__}, now_s)
        except DaemonUnreachable as error:
            self._give_up(error.message)

    def request(self, message: Message, now_s: float) -> str:
        """Ask for something else; return why that cannot be, or nothing."""
        if self._connection is None or self.problem:
            return "no daemon answers"
        try:
            self._send(message, now_s)
        except ForgeError as error:
            return error.message
        return ""

    def read(self, now_s: float) -> list[Message]:
        """Return the replies that have come. After one to a request the status is asked for."""
        if self._connection is None:
            return []
        is_open = self._connection.fill()
        found: list[Message] = []
        try:
            while message := self._connection.next_buffered():
                found.append(message)
        except ProtocolMismatch as error:
            self._give_up(error.message)
            return found
        replies = [one for one in found if one["type"] in REPLIES]
        if replies:
            self.problem = ""
            self._owed = max(0, self._owed - len(replies))
            self._since_s = now_s
            if any(one["type"] != "status" for one in replies):
                self._next_s = now_s
        if not is_open:
            self._give_up("it has closed the connection")
        return replies

    def close(self) -> None:
        """End the conversation."""
        if self._connection:
            self._connection.close()
        self._connection, self._owed = None, 0

    def _send(self, message: Message, now_s: float) -> None:
        assert self._connection, "nothing is sent before there is a connection"
        self._connection.send(message)
        if not self._owed:
            self._since_s = now_s
        self._owed += 1

    def _give_up(self, why: str) -> None:
        self.close()
        self.problem = why
