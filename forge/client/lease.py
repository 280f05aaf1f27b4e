"""The lease of what runs: its connection, and its renewal when the daemon is replaced.

hooks/shim/src/running.rs does the same natively. A new daemon is looked for once a second and never
started; one that refuses is asked again half a minute later.
"""

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import forge
from forge.client.connection import Connection, connect
from forge.client.talk import report, say
from forge.core import wire
from forge.errors import ForgeError

RECONNECT_S = 1.0
RECONNECT_AFTER_REFUSAL_S = 30.0

EXIT_FAILED = 101
"""What cargo exits with when something did not compile."""


class Lease:
    """Prints what the daemon says, and calls `end_child` when it tells us to end.

    `renewal` is what the next daemon is told. `requeues`: this one may have what runs begun anew,
    and says what becomes of it when it has failed.

    Invariant: without a connection there is a time to look for a daemon.
    """

    def __init__(
        self,
        connection: Connection,
        renewal: Mapping[str, Any],
        env: Mapping[str, str],
        end_child: Callable[[], None],
        *,
        requeues: bool,
    ) -> None:
        self.connection: Connection | None = connection
        self._renewal = {**renewal, "client": forge.__version__, "pid": os.getpid()}
        self._env = env
        self._end_child = end_child
        self._answer_due: float | None = None
        self._look_at = 0.0
        self._requeues = requeues
        self._is_ending = False
        self._is_cancelled = False
        self._again: str | None = None

    @property
    def due_at(self) -> float | None:
        """When there is something to do even if nothing comes."""
        return self._look_at if self.connection is None else self._answer_due

    def send(self, message: dict[str, Any]) -> None:
        """Tell the daemon something; one that is gone is noticed when reading."""
        with contextlib.suppress(ForgeError):
            if self.connection:
                self.connection.send(message)

    def attend(self, *, is_readable: bool) -> None:
        """Take in what has come, and do what is due."""
        if is_readable:
            self._read()
        now = time.monotonic()
        if self._answer_due is not None and now >= self._answer_due:
            self._lose(RECONNECT_S)
        if self.connection is None and now >= self._look_at:
            self._renew()

    def finish(self, ended: dict[str, Any]) -> str | None:
        """Say how the child has ended, and give everything back.

        Returns what to bring back to the daemon if the build begins anew.
        """
        self._read()  # what was said before it ended counts
        self.send(ended)
        is_open = not (self._is_cancelled or self._again)
        if ended.get("exit") == EXIT_FAILED and self._requeues and is_open:
            with contextlib.suppress(ForgeError):
                self._await_answer()
        if self.connection:
            self.connection.close()
        return None if self._is_cancelled else self._again

    def _await_answer(self) -> None:
        """Hear what becomes of a build that has failed."""
        deadline = time.monotonic() + wire.PATIENCE_S
        while self.connection:
            message = self.connection.receive(deadline - time.monotonic())
            if message["type"] == "say":
                say(message.get("line"))
            elif message["type"] == "requeue":
                return self._begin_anew(message)
            elif message["type"] in ("over", "end"):
                return report(message.get("line"))
        return None

    def _begin_anew(self, message: dict[str, Any]) -> None:
        again = message.get("again")
        if isinstance(again, str):
            say(message.get("line"))
            self._again = again

    def _read(self) -> None:
        connection = self.connection
        if connection is None:
            return
        is_open = connection.fill()
        while self.connection is connection:
            try:
                message = connection.next_buffered()
            except ForgeError:
                continue  # garbage: the next line may be none
            if message is None:
                break
            self._hear(message)
        if not is_open and self.connection is connection:
            self._lose(RECONNECT_S)

    def _hear(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "say":
            say(message.get("line"))
        elif kind == "end" and not self._is_cancelled:
            self._is_cancelled = True
            self._end()
            report(message.get("line"))
        elif kind == "requeue" and self._requeues and not self._is_ending:
            self._begin_anew(message)
            self._end()
        elif kind in ("adopted", "go"):
            self._answer_due = None
            self._requeues = False  # it does not know that we could
            ids = ("build", "reservation")
            self._renewal |= {name: message[name] for name in ids if name in message}
        elif kind == "error" and self._answer_due is not None:
            self._lose(RECONNECT_AFTER_REFUSAL_S)

    def _end(self) -> None:
        if not self._is_ending:
            self._is_ending = True
            self._end_child()

    def _lose(self, again_in_s: float) -> None:
        if self.connection:
            self.connection.close()
        self.connection = self._answer_due = None
        self._look_at = time.monotonic() + again_in_s

    def _renew(self) -> None:
        self._look_at = time.monotonic() + RECONNECT_S
        with contextlib.suppress(ForgeError):
            connection = connect(self._env)
            connection.send(self._renewal)
            self.connection = connection
            self._answer_due = time.monotonic() + wire.PATIENCE_S
