"""A client's end of the socket: connect, start the daemon if need be, ask, and wait with patience.

Everything here runs before cargo starts, so it imports only what is quick to load.
"""

import fcntl
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from forge import paths
from forge.core import wire
from forge.errors import (
    ConfigInvalid,
    DaemonRefused,
    DaemonUnreachable,
    ProtocolMismatch,
    StateDirUnsafe,
)
from forge.host.sockets import peer_uid
from forge.host.state_dir import DAEMON_COMMAND, private_dir

START_PATIENCE_S = 5.0
"""How long a client waits for a daemon that is being started, by itself or by another client."""

POLL_S = 0.02
LONGEST_S = 1e9
"""No wait is longer: what the daemon says beyond that makes no sense."""


class Connection:
    """One connection to the daemon. What the daemon grants on it ends with it.

    `has_waited`: the daemon let us wait on it, so it was there.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.has_waited = False
        self._socket = sock
        self._buffer = b""
        self._first = True

    def fileno(self) -> int:
        """Return the descriptor, for select."""
        return self._socket.fileno()

    def send(self, message: dict[str, Any]) -> None:
        """Send one message. Raises DaemonUnreachable when the daemon is gone or hangs."""
        if self._first:
            message = {**message, "v": wire.VERSION}
            self._first = False
        self._socket.settimeout(wire.PATIENCE_S)
        try:
            self._socket.sendall(wire.encode(message))
        except ValueError as error:
            raise ProtocolMismatch(f"the daemon cannot be asked: {error}") from None
        except OSError as error:
            raise DaemonUnreachable(f"the daemon does not take a message: {error}") from None

    def receive(self, patience_s: float = wire.PATIENCE_S) -> dict[str, Any]:
        """Return the next message. Raises DaemonUnreachable on silence, ProtocolMismatch."""
        deadline = time.monotonic() + patience_s
        while b"\n" not in self._buffer:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise DaemonUnreachable(f"the daemon did not answer within {patience_s:g} s")
            self._socket.settimeout(left_s)
            try:
                piece = self._socket.recv(65536)
            except TimeoutError:
                continue
            except OSError as error:
                raise DaemonUnreachable(f"the connection to the daemon broke: {error}") from None
            if not piece:
                raise DaemonUnreachable("the daemon closed the connection")
            self._buffer += piece
            if len(self._buffer) > wire.MAX_LINE_BYTES and b"\n" not in self._buffer:
                raise ProtocolMismatch("the daemon sent an endless line")
        return self.next_buffered() or {}

    def next_buffered(self) -> dict[str, Any] | None:
        """Return a message that has arrived already; None when there is none."""
        line, newline, rest = self._buffer.partition(b"\n")
        if not newline:
            return None
        self._buffer = rest
        try:
            return wire.decode(line)
        except ValueError as error:
            raise ProtocolMismatch(f"the daemon talks garbage: {error}") from None

    def fill(self) -> bool:
        """Take in what has arrived, without waiting; False when the daemon closed."""
        self._socket.settimeout(0)
        try:
            piece = self._socket.recv(65536)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        self._buffer += piece
        return bool(piece)

    def ask(
        self,
        message: dict[str, Any],
        on_wait: Callable[[str, float], None] | None = None,
        patience_s: float = wire.PATIENCE_S,
        on_say: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """Send a request and return its reply, however many `wait`s and `say`s precede it.

        Raises DaemonRefused when the reply is an error, DaemonUnreachable, ProtocolMismatch.
        """
        self.send(message)
        while True:
            reply = self.receive(patience_s)
            if reply["type"] == "wait":
                self.has_waited = True
                if on_wait:
                    on_wait(str(reply.get("reason", "")), _seconds(reply.get("since_s")))
                continue
            if reply["type"] == "say":
                if on_say:
                    on_say(str(reply.get("line", "")))
                continue
            if reply["type"] == "error":
                raise DaemonRefused(
                    str(reply.get("message")),
                    hint=reply.get("hint"),
                    refusal=str(reply.get("slug", "")),
                )
            return reply

    def close(self) -> None:
        """Give everything back."""
        self._socket.close()


def _seconds(value: object) -> float:
    if isinstance(value, int | float) and 0 <= value < LONGEST_S:
        return float(value)
    return 0.0


def connect(env: Mapping[str, str]) -> Connection:
    """Connect to a daemon that runs. Raises DaemonUnreachable, StateDirUnsafe, ConfigInvalid."""
    path = paths.socket_path(env)
    if len(os.fsencode(path)) > paths.SOCKET_PATH_LIMIT:
        raise ConfigInvalid(
            f"the socket's path is too long: {path}", hint="set FORGE_STATE_DIR to a short one"
        )
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(wire.PATIENCE_S)
    try:
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise DaemonUnreachable(
            f"no daemon answers on {path}: {error.strerror or error}",
            hint="start it with `forge daemon start`",
        ) from None
    uid = peer_uid(sock)
    if uid != os.getuid():
        sock.close()
        raise StateDirUnsafe(f"{path} belongs to user {uid}, not to {os.getuid()}")
    return Connection(sock)


def connect_or_start(env: Mapping[str, str]) -> Connection:
    """Connect to the daemon, starting it first if none answers. Raises DaemonUnreachable.

    Of many clients that ask at once, one holds the start lock and starts it; the others find it
    running when their turn comes.
    """
    try:
        return connect(env)
    except DaemonUnreachable:
        pass
    private_dir(paths.state_dir(env))
    deadline = time.monotonic() + START_PATIENCE_S
    lock_path = os.path.join(paths.state_dir(env), paths.START_LOCK_NAME)
    try:
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DaemonUnreachable(f"{lock_path}: {error.strerror}") from None
    try:
        return _start_locked(env, lock, deadline)
    finally:
        os.close(lock)


def _start_locked(env: Mapping[str, str], lock: int, deadline: float) -> Connection:
    while not _try_lock(lock):
        if time.monotonic() > deadline:
            raise DaemonUnreachable("another client could not start the daemon in time")
        time.sleep(POLL_S)
    process = None
    while True:
        try:
            return connect(env)
        except DaemonUnreachable:
            if process is None:
                process = start_daemon(env)
            elif not _runs(process):
                raise DaemonUnreachable(
                    "the daemon ended while starting",
                    hint="`forge daemon run` shows why, `forge daemon logs` what came before",
                ) from None
        if time.monotonic() > deadline:
            raise DaemonUnreachable(
                f"the daemon did not answer within {START_PATIENCE_S:g} s of its start",
                hint="`forge daemon run` shows what it does",
            )
        time.sleep(POLL_S)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def start_daemon(env: Mapping[str, str]) -> int:
    """Start `forged` detached, in a session of its own; return its pid.

    It says what it has to say in its log; standard error goes to a file for what precedes that.
    """
    errors = os.path.join(paths.state_dir(env), "forged.stderr")
    argv = list(DAEMON_COMMAND)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    ]
    env = {**env, "FORGE_STATE_DIR": paths.state_dir(env)}  # the daemon stands elsewhere
    clean = {k: v for k, v in env.items() if not k.startswith(("CARGO_MAKEFLAGS", "MAKEFLAGS"))}
    try:
        return os.posix_spawn(argv[0], argv, clean, file_actions=actions, setsid=True)
    except OSError as error:
        raise DaemonUnreachable(f"the daemon cannot be started: {error.strerror}") from None


def _runs(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False
