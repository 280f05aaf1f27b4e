"""`forge reserve`: ask for bytes and cores, run a command, and end the way it ended.

This process stays as the command's parent: its connection is what holds the reservation. Whatever
goes wrong with Forge, the command runs all the same and one line says what is missing, unless it
must not run without.
"""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import forge
from forge.client.build import lender_of
from forge.client.connection import POLL_S, Connection, connect_or_start
from forge.client.ending import end_like
from forge.client.in_line import await_word
from forge.client.supervise import here, supervise
from forge.client.talk import is_on, is_terminal, report, say
from forge.core.priority import patience_of, priority_of
from forge.errors import (
    CommandMissing,
    DaemonRefused,
    DaemonUnreachable,
    ForgeError,
    ProtocolMismatch,
    UsageMistake,
)

ASK_ANEW_S = 5.0
"""How long the next daemon is asked anew when it does not answer at once."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be held. What is None goes by the environment, as for a build."""

    memory_mib: int
    cores: int
    priority: str | None = None
    name: str | None = None
    wait_timeout_s: float | None = None


def run(wish: Wish, command: Sequence[str], env: Mapping[str, str], *, is_strict: bool) -> int:
    """Run a command with what it needs held; return its exit code, or end by its signal.

    Raises CommandMissing, UsageMistake, and with `is_strict` DaemonUnreachable.
    """
    program = shutil.which(command[0], path=env.get("PATH"))
    if program is None:
        raise CommandMissing(f"`{command[0]}` is not found, or cannot be run")
    if is_on(env, "FORGE_DISABLE") and not is_strict:
        return _become(program, command, env)
    errand = _Command(program, command, wish, env)
    try:
        connection, word = _ask(errand, env)
    except ForgeError as error:
        return _without(error, program, command, env, is_strict=is_strict)
    if word["type"] == "end":
        connection.close()
        report(word.get("line"))
        return int(word["exit"])
    errand.reservation = word["reservation"]
    return end_like(supervise(errand, {**env, **word.get("env", {})}, connection).code)


class _Command:
    """The errand of a command for which something is reserved."""

    missing = CommandMissing
    requeues = False  # nobody knows what a second run would do

    def __init__(
        self, program: str, command: Sequence[str], wish: Wish, env: Mapping[str, str]
    ) -> None:
        self.program = program
        self.argv = list(command)
        self.reservation: str | None = None
        interactive = is_terminal(0) and is_terminal(2)
        patience_s = wish.wait_timeout_s
        self._patience_s = patience_of(env) if patience_s is None else patience_s
        self._asked = time.monotonic()
        self._question = {
            "type": "reserve",
            "client": forge.__version__,
            "pid": os.getpid(),
            "cwd": here(),
            "argv0": os.path.basename(command[0]),
            "name": wish.name,
            "memory_mib": wish.memory_mib,
            "cores": wish.cores,
            "priority": wish.priority or priority_of(env, interactive),
            "lender": lender_of(env),
        }

    def question(self) -> dict[str, Any]:
        left_s = None
        if self._patience_s is not None:
            left_s = max(0.0, self._patience_s - (time.monotonic() - self._asked))
        return {**self._question, "wait_timeout_s": left_s}

    def started(self, pid: int) -> None:
        return None

    def renewal(self, pid: int) -> dict[str, Any]:
        return {**self._question, "running": True, "reservation": self.reservation}

    def ended(self, ending: dict[str, int], cost: dict[str, Any]) -> dict[str, Any]:
        return {"type": "reserve_ended", **ending, **cost}


def _ask(errand: _Command, env: Mapping[str, str]) -> tuple[Connection, dict[str, Any]]:
    """Return the daemon's `go` or `end`, and the connection that it came on.

    When a daemon goes away that let us wait, the next one is asked: what was not there a moment ago
    must not be taken just because somebody has restarted it. Raises ForgeError.
    """
    asks_until = 0.0
    while True:
        connection = connect_or_start(env)
        try:
            return connection, _checked(await_word(connection, errand.question(), env))
        except DaemonUnreachable:
            connection.close()
            if connection.has_waited:
                asks_until = time.monotonic() + ASK_ANEW_S
            if time.monotonic() >= asks_until:
                raise
            time.sleep(POLL_S)  # one that dies may still take connections
        except ForgeError:
            connection.close()
            raise


def _checked(word: dict[str, Any]) -> dict[str, Any]:
    """Return the daemon's `go` or `end` if it can be followed. Raises ProtocolMismatch."""
    if word["type"] == "end" and type(word.get("exit")) is int and 0 <= word["exit"] <= 255:
        return word
    env = word.get("env", {})
    if word["type"] == "go" and isinstance(word.get("reservation"), str) and _is_env(env):
        return word
    raise ProtocolMismatch("the daemon's answer is no `go` that can be followed")


def _is_env(env: object) -> bool:
    if not isinstance(env, dict):
        return False
    texts = [*env, *env.values()]
    is_clean = all(isinstance(text, str) and "\0" not in text for text in texts)
    return is_clean and all(name and "=" not in name for name in env)


def _without(
    error: ForgeError,
    program: str,
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    is_strict: bool,
) -> int:
    """Run the command without Forge, unless what was asked for is wrong or a must."""
    if isinstance(error, DaemonRefused) and error.refusal == UsageMistake.slug:
        raise UsageMistake(error.message, hint=error.hint)
    if is_strict:
        hint = error.hint or "without `--strict` the command runs all the same"
        raise DaemonUnreachable(f"nothing can be reserved: {error.message}", hint=hint)
    say(f"{error.message}; {os.path.basename(command[0])} runs with nothing reserved")
    return _become(program, command, env)


def _become(program: str, command: Sequence[str], env: Mapping[str, str]) -> int:
    try:
        os.execve(program, list(command), dict(env))  # noqa: S606  # no shell is the point
    except OSError as error:
        raise CommandMissing(f"{program} cannot be run: {error.strerror}") from None
