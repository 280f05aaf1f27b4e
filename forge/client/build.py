"""`forge VERB`: ask the daemon where to build, run cargo, and end the way cargo ended.

This process stays as cargo's parent: its connection is the build's lease. To everybody else it must
look as if it were cargo: same group and terminal, same signals, same exit. Whatever goes wrong with
Forge, cargo runs all the same and one line says what is missing.
"""

import contextlib
import os
import sys
from collections.abc import Mapping
from typing import Any

from forge import paths
from forge.client.cargo_path import find_cargo
from forge.client.connection import Connection, connect_or_start
from forge.client.supervise import supervise
from forge.core import wire
from forge.core.verbs import is_passed
from forge.errors import CargoMissing, CwdGone, ForgeError, ProtocolMismatch
from forge.host.state_dir import note_daemon_command, private_dir

WAIT_SHOWN_AFTER_S = 0.5
WAIT_LINE_EVERY_S = 30.0


def run(argv: list[str], env: Mapping[str, str], via: str = "forge") -> int:
    """Run `cargo ARGV` and return its exit code; ends by a signal where cargo did.

    Raises CargoMissing. Everything else that fails is said on stderr, and cargo runs without Forge.
    """
    cargo = find_cargo(env)
    if is_passed(argv) or is_on(env, "FORGE_DISABLE"):
        return _become(cargo, argv, env)
    _become_native(argv, env)
    connection = None
    try:
        connection = connect_or_start(env)
        go = _begin(connection, argv, env, via)
    except ForgeError as error:
        if connection:
            connection.close()
        say(f"{error.message}; cargo runs without Forge")
        return _become(cargo, argv, env)
    for note in go.get("notes") or ():
        say(str(note))
    final = {**env, **go.get("env", {})}
    for name in go.get("unset", ()):
        final.pop(name, None)
    open_jobserver(go, final)
    return supervise([cargo, *go.get("argv", argv)], final, connection, go, argv)


def open_jobserver(go: Mapping[str, Any], env: dict[str, str]) -> None:
    """Open the build's FIFO on two descriptors that cargo inherits, and tell cargo of them."""
    jobserver = go.get("jobserver")
    if not jobserver:
        return
    try:
        ends = [os.open(jobserver["path"], os.O_RDWR | os.O_NOFOLLOW) for _ in range(2)]
    except OSError as error:
        say(f"no jobserver: {error.strerror}; cargo makes its own")
        return
    for end in ends:
        os.set_inheritable(end, True)
    pair = ",".join(map(str, ends))
    env["CARGO_MAKEFLAGS"] = f"-j --jobserver-fds={pair} --jobserver-auth={pair}"


def _begin(
    connection: Connection, argv: list[str], env: Mapping[str, str], via: str
) -> dict[str, Any]:
    line = _WaitLine()
    try:
        reply = connection.ask(
            {
                "type": "begin",
                "client": _version(),
                "pid": os.getpid(),
                "cwd": os.getcwd(),
                "argv": argv,
                "env": {name: env[name] for name in wire.ENV_SENT if name in env},
                "interactive": _is_tty(0) and _is_tty(2),
                "via": via,
                "parent": env.get("FORGE_BUILD"),
            },
            on_wait=line.show,
            on_say=say,
        )
        return _checked(reply)
    except OSError as error:  # the working directory is gone: cargo will say so
        raise CwdGone(f"the working directory cannot be read: {error.strerror}") from None
    finally:
        line.erase()


def _checked(go: dict[str, Any]) -> dict[str, Any]:
    """Return the daemon's `go` if cargo can be started by it. Raises ProtocolMismatch."""
    env = go.get("env") or {}
    lists = [go.get(name) or [] for name in ("argv", "unset", "notes")]
    if go["type"] == "go" and isinstance(env, dict) and all(isinstance(one, list) for one in lists):
        words = [*env.values(), *(word for one in lists for word in one)]
        if all(isinstance(word, str) for word in words):
            return go
    raise ProtocolMismatch("the daemon's answer is no `go` that can be followed")


class _WaitLine:
    """Says what is being waited for: one line that changes on a terminal, rare lines elsewhere."""

    def __init__(self) -> None:
        self._shown = False
        self._next_s = 1.0

    def show(self, reason: str, since_s: float) -> None:
        text = f"forge: waiting: {reason} ({since_s:.0f} s)"
        if _is_tty(2):
            if since_s >= WAIT_SHOWN_AFTER_S:
                sys.stderr.write(f"\r\x1b[2K{text}")
                sys.stderr.flush()
                self._shown = True
        elif since_s >= self._next_s:
            self._next_s = since_s + WAIT_LINE_EVERY_S
            sys.stderr.write(text + "\n")

    def erase(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def is_on(env: Mapping[str, str], name: str) -> bool:
    """Say whether a switch in the environment is on: set, and neither empty nor `0`."""
    return env.get(name, "") not in ("", "0")


def say(line: str) -> None:
    """Say one line to the person, unless FORGE_QUIET=1; a closed stderr is no failure."""
    if is_on(os.environ, "FORGE_QUIET"):
        return
    try:
        sys.stderr.write(f"forge: {line}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return  # closed, or never opened


def _become(cargo: str, argv: list[str], env: Mapping[str, str]) -> int:
    try:
        os.execve(cargo, ["cargo", *argv], dict(env))  # noqa: S606  # no shell is the point
    except OSError as error:
        raise CargoMissing(f"{cargo} cannot be run: {error.strerror}") from None


def _become_native(argv: list[str], env: Mapping[str, str]) -> None:
    """Go on as the native launcher, which does the same in less memory; return if there is none.

    FORGE_NATIVE=0 stays with this one.
    """
    native = paths.native_launcher(env)
    if env.get("FORGE_NATIVE") == "0" or not os.access(native, os.X_OK):
        return
    with contextlib.suppress(OSError, ForgeError):
        private_dir(paths.state_dir(env))
        note_daemon_command(paths.state_dir(env))
        os.execve(native, ["forge", *argv], dict(env))  # noqa: S606  # as above


def _is_tty(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def _version() -> str:
    import forge

    return forge.__version__
