"""`forge VERB`: ask the daemon where to build, run cargo, and end the way cargo ended.

This process stays as cargo's parent: its connection is the build's lease. To everybody else it must
look as if it were cargo: same group and terminal, same signals, same exit. Whatever goes wrong with
Forge, cargo runs all the same and one line says what is missing.

A build that the daemon ends for memory, or of which memory has killed a part, begins anew: it asks
again, waits in line, and cargo goes on where it was.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Any

import forge
from forge import paths
from forge.client import build_place, remote_settings
from forge.client.cargo_path import find_cargo
from forge.client.connection import Connection, connect, connect_or_start
from forge.client.ending import end_like
from forge.client.in_line import await_word
from forge.client.supervise import here, supervise
from forge.client.talk import is_on, is_terminal, report, say
from forge.core import own_options, wire
from forge.core.verbs import REDIRECT_VERBS, is_passed, verb_index
from forge.errors import CargoMissing, CwdGone, ForgeError, ProtocolMismatch, UsageMistake
from forge.host.state_dir import note_commands, private_dir


def run(words: list[str], env: Mapping[str, str], via: str = "forge") -> int:
    """Run `cargo WORDS` and return its exit code; ends by a signal where cargo did.

    Raises CargoMissing, and UsageMistake for an option of Forge's own. Everything else that fails
    is said on stderr, and cargo runs without Forge.
    """
    argv, given = take_options(words)
    host = remote_settings.host_of(argv, given, env)
    given.pop("FORGE_ON", None)
    if host and not is_on(env, "FORGE_DISABLE"):
        return _elsewhere(argv, host, given, env)
    cargo = find_cargo(env)
    if is_passed(argv) or is_on(env, "FORGE_DISABLE"):
        return _become(cargo, argv, env)
    _become_native(words, {**env, "FORGE_ON": own_options.HERE})
    builds = argv[verb_index(argv)] not in REDIRECT_VERBS
    if builds:
        _say_ignored(env, given)
    begin = {"via": via, "argv": argv, "env": {**wire.env_sent(env), **given}}
    while True:
        connection = None
        try:
            connection = connect(env) if "again" in begin else connect_or_start(env)
            word = _ask(connection, begin, env)
        except ForgeError as error:
            if connection:
                connection.close()
            say(f"{error.message}; cargo runs without Forge")
            return _become(cargo, argv, env)
        if word["type"] == "end":
            report(word.get("line"))
            return int(word["exit"])
        final = _planned(word, env)
        if not builds:
            return _become(cargo, word["argv"], final)  # the lease held nothing
        with opened_jobserver(word, final):
            ended = supervise(_Cargo(cargo, argv, word, env), final, connection)
        if ended.again is None:
            return end_like(ended.code)
        begin["again"] = ended.again


def _elsewhere(argv: list[str], host: str, given: dict[str, str], env: Mapping[str, str]) -> int:
    """Build on another machine. The connection is made while the rest of us is loaded."""
    from forge.client.remote_ssh import start_ssh

    process = start_ssh(host, env)
    from forge.client import remote

    return remote.build(argv, host, given, env, process)


class _Cargo:
    """The errand of a build, as one `go` has it."""

    missing = CargoMissing

    def __init__(
        self, cargo: str, argv: list[str], go: Mapping[str, Any], env: Mapping[str, str]
    ) -> None:
        self.program = cargo
        self.argv = ["cargo", *go["argv"]]
        self.requeues = go.get("requeues") is True
        self._entered = build_place.enter(go)  # before it is started
        self._asked = argv
        self._go = go
        self._env = env

    def started(self, pid: int) -> dict[str, Any]:
        return {"type": "started", "pid": pid, "entered": self._entered}

    def renewal(self, pid: int) -> dict[str, Any]:
        jobserver = self._go.get("jobserver") or {}
        return {
            "type": "adopt",
            "build": self._go.get("build"),
            "cargo_pid": pid,
            "cwd": here(),
            "argv": self._asked,
            "target_dir": self._go.get("target_dir"),
            "jobserver": jobserver.get("path"),
            "tokens": jobserver.get("tokens"),
            "lender": lender_of(self._env),
        }

    def ended(self, ending: dict[str, int], cost: dict[str, Any]) -> dict[str, Any]:
        return {"type": "ended", **ending}


def lender_of(env: Mapping[str, str]) -> str | None:
    """Return the build or the reservation inside which we stand: what starts here lives on it."""
    return env.get("FORGE_TEST") or env.get("FORGE_RESERVATION") or None


def take_options(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """Split a command line into cargo's and the variables that Forge's own options set.

    Raises UsageMistake.
    """
    try:
        return own_options.take(words)
    except own_options.WrongValue as wrong:
        raise UsageMistake(wrong.message, hint=wrong.hint) from None


@contextlib.contextmanager
def opened_jobserver(go: Mapping[str, Any], env: dict[str, str]) -> Iterator[None]:
    """Open the build's FIFO on two descriptors that cargo inherits, and tell cargo of them."""
    ends = _open_jobserver(go.get("jobserver"))
    if ends:
        pair = ",".join(map(str, ends))
        env["CARGO_MAKEFLAGS"] = f"-j --jobserver-fds={pair} --jobserver-auth={pair}"
    try:
        yield
    finally:
        for end in ends:
            os.close(end)


def _open_jobserver(jobserver: Mapping[str, Any] | None) -> list[int]:
    if not jobserver:
        return []
    try:
        ends = [os.open(jobserver["path"], os.O_RDWR | os.O_NOFOLLOW) for _ in range(2)]
    except OSError as error:
        say(f"no jobserver: {error.strerror}; cargo makes its own")
        return []
    for end in ends:
        os.set_inheritable(end, True)
    return ends


def _say_ignored(env: Mapping[str, str], given: Mapping[str, str]) -> None:
    """Say which variables are wrong; inside a build the outer launcher has done so."""
    if not env.get("FORGE_BUILD"):
        for line in own_options.ignored({**env, **given}):
            say(line)


def _planned(go: Mapping[str, Any], env: Mapping[str, str]) -> dict[str, str]:
    """Say the daemon's notes, and return the environment that it wants cargo to have."""
    for note in go.get("notes", ()):
        say(note)
    final = {**env, **go.get("env", {})}
    for name in go.get("unset", ()):
        final.pop(name, None)
    return final


def _ask(connection: Connection, begin: dict[str, Any], env: Mapping[str, str]) -> dict[str, Any]:
    """Tell the daemon what is to be built; return its `go` or `end`."""
    try:
        cwd = os.getcwd()
    except OSError as error:  # the working directory is gone: cargo will say so
        raise CwdGone(f"the working directory cannot be read: {error.strerror}") from None
    whole = {
        **begin,
        "type": "begin",
        "client": forge.__version__,
        "pid": os.getpid(),
        "cwd": cwd,
        "interactive": is_terminal(0) and is_terminal(2),
        "parent": env.get("FORGE_BUILD") or None,
        "requeues": True,
    }
    return _checked(await_word(connection, whole, env))


def _checked(word: dict[str, Any]) -> dict[str, Any]:
    """Return the daemon's `go` or `end` if it can be followed. Raises ProtocolMismatch."""
    if word["type"] == "end" and type(word.get("exit")) is int and 0 <= word["exit"] <= 255:
        return word
    if word["type"] == "go" and _can_be_followed(word):
        return word
    raise ProtocolMismatch("the daemon's answer is no `go` that can be followed")


def _can_be_followed(go: dict[str, Any]) -> bool:
    """Say whether all its fields are there, of their type, and can be handed to cargo."""
    env, jobserver = go.get("env", {}), go.get("jobserver")
    lists = [go.get("argv"), go.get("unset", []), go.get("notes", [])]
    if not isinstance(env, dict) or not all(isinstance(one, list) for one in lists):
        return False
    if jobserver is not None and not isinstance(jobserver, dict):
        return False
    if any(type(go.get(name, 0)) not in (int, NoneType) for name in ("oom_score_adj", "nice")):
        return False
    texts = [
        go.get("build"),
        go.get("target_dir") or "",
        go.get("cgroup") or "",
        go.get("cpu_cgroup") or "",
        (jobserver or {"path": ""}).get("path"),
    ]
    words = [*env, *env.values(), *(word for one in lists for word in one), *texts]
    is_clean = all(isinstance(word, str) and "\0" not in word for word in words)
    return is_clean and all(name and "=" not in name for name in env)


def _become(cargo: str, argv: list[str], env: Mapping[str, str]) -> int:
    try:
        os.execve(cargo, ["cargo", *argv], dict(env))  # noqa: S606  # no shell is the point
    except OSError as error:
        raise CargoMissing(f"{cargo} cannot be run: {error.strerror}") from None


def _become_native(argv: list[str], env: Mapping[str, str]) -> None:
    """Go on as the native launcher, which does the same in less memory; return if there is none.

    FORGE_NATIVE=0 stays with this one. After an update it is an older one until it is compiled:
    what it has to be told goes into the environment, since cargo gets each word it does not know.
    """
    native = paths.native_launcher(env)
    if env.get("FORGE_NATIVE") == "0" or not os.access(native, os.X_OK):
        return
    with contextlib.suppress(OSError, ForgeError):
        private_dir(paths.state_dir(env))
        note_commands(paths.state_dir(env))
        os.execve(native, ["forge", *argv], dict(env))  # noqa: S606  # as above
