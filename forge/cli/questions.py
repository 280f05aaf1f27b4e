"""Asks the daemon, for commands: with one that runs, or with one that is started for it."""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import forge
from forge import paths
from forge.cli.commands import Call
from forge.client.connection import connect, connect_or_start
from forge.core import wire
from forge.errors import CwdGone, ProtocolMismatch

ANSWERS = {
    "status": "status",
    "disk": "disk",
    "set_target_mode": "ok",
    "about_path": "about",
    "resolve": "resolved",
    "stop": "ok",
    "cancel_build": "ok",
    "set_priority": "ok",
    "hold": "ok",
    "history": "history",
    "squeezes": "squeezes",
    "explain": "explained",
    "forget": "forgotten",
    "snapshot": "targets",
    "move": "targets",
    "room": "room",
}
"""What the daemon answers to each request that we make: docs/protocol.md."""

SHOWN_AFTER_S = 0.5
LINE_EVERY_S = 30.0


def ask(
    call: Call,
    request: dict[str, Any],
    *,
    start: bool = False,
    on_wait: Callable[[str, float], None] | None = None,
    answer: str | None = None,
) -> dict[str, Any]:
    """Return the daemon's reply; `start` starts one where none runs. Raises ForgeError."""
    connection = (connect_or_start if start else connect)(call.env)
    try:
        reply = connection.ask({"client": forge.__version__, **request}, on_wait=on_wait)
    finally:
        connection.close()
    asked, answered = request["type"], reply["type"]
    if answered != (answer or ANSWERS[asked]):
        raise ProtocolMismatch(
            f"the daemon answers `{answered[:40]}` to `{asked}`", hint="`forge daemon restart`"
        )
    return reply


def ask_status(call: Call, *, start: bool = False) -> dict[str, Any]:
    """Return the status object. Raises DaemonUnreachable when none runs and `start` is false."""
    call.failure_fields = {
        "pid": None,
        "socket": paths.socket_path(call.env),
        "log_file": os.path.join(paths.state_dir(call.env), paths.LOG_NAME),
    }
    status = ask(call, {"type": "status"}, start=start).get("status")
    if not isinstance(status, dict):
        raise ProtocolMismatch("the daemon's status is no object", hint="`forge daemon restart`")
    return status


def ask_where(call: Call, directory: str, *, start: bool = False) -> dict[str, Any]:
    """Return where `cargo build` in a directory builds: `root`, `target_dir`, `redirected`, `why`.

    Raises ForgeError.
    """
    try:
        place = os.path.abspath(directory)
    except OSError as error:
        raise CwdGone(f"the working directory cannot be read: {error.strerror}") from None
    request = {
        "type": "resolve",
        "cwd": place,
        "argv": ["build"],
        "env": wire.env_sent(call.env),
    }
    return ask(call, request, start=start)


class WaitLine:
    """Says what is being waited for: one line that changes on a terminal, rare lines elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = bool(sys.stderr) and sys.stderr.isatty()
        self._shown = False
        self._next_s = 1.0
        self._began = time.monotonic()

    def show(self, reason: str, since_s: float) -> None:
        """Show one line; `since_s` is how long the daemon says we wait."""
        text = f"forge: waiting: {reason} ({since_s:.0f} s)"
        if self._is_terminal:
            if time.monotonic() - self._began >= SHOWN_AFTER_S:
                sys.stderr.write(f"\r\x1b[2K{text}")
                sys.stderr.flush()
                self._shown = True
        elif since_s >= self._next_s and sys.stderr:
            self._next_s = since_s + LINE_EVERY_S
            sys.stderr.write(text + "\n")

    def erase(self) -> None:
        """Take the line away."""
        if self._shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def say(line: str) -> None:
    """Say one line to the person, on stderr."""
    if sys.stderr:
        sys.stderr.write(f"forge: {line}\n")
        sys.stderr.flush()
