"""A small daemon for tests of the shim: it grants what is asked, or misbehaves as told.

As a program (`fake_forged.py STATE_DIR`) it stands for the real one where the shim starts it.
"""

import atexit
import contextlib
import functools
import json
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forge.host.shim_build import Shim  # not on the path where this runs as a program

Answers = list[dict[str, Any] | bytes | float]
"""What to send: a message, raw bytes, or seconds to wait first."""


class FakeForged:
    """Listens on `forged.sock` of a state directory and keeps all that it hears."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.socket_path = state_dir / "forged.sock"
        self.heard: list[tuple[int, dict[str, Any]]] = []
        self.connections: dict[int, socket.socket] = {}
        self.closed: dict[int, float] = {}
        self.script: dict[str, Callable[[dict[str, Any]], Answers]] = {
            "begin": lambda begin: [go(begin)],
            "adopt": lambda adopt: [{"type": "adopted", "build": adopt["build"]}],
            "unit": lambda unit: [{"type": "go"}],
            "link": lambda link: [{"type": "go"}],
        }
        self._changed = threading.Condition()
        self._listener: socket.socket | None = None

    def start(self) -> "FakeForged":
        self.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.socket_path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket_path))
        self._listener.listen(128)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def stop(self) -> None:
        """End as a crash would: every connection breaks, the socket's name stays."""
        if self._listener is not None:
            # close alone would not wake a blocked accept
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for connection in list(self.connections.values()):
            with contextlib.suppress(OSError):  # the other end was faster
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def messages(self, kind: str) -> list[dict[str, Any]]:
        return [message for _, message in self.heard if message["type"] == kind]

    def wait_for(self, kind: str, count: int = 1, within_s: float = 20.0) -> dict[str, Any]:
        """Return the `count`th message of this kind, waiting for it."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.messages(kind)) >= count, within_s)
        assert arrived, f"no `{kind}` number {count}; heard {[m['type'] for _, m in self.heard]}"
        return self.messages(kind)[count - 1]

    def wait_closed(self, kind: str, within_s: float = 5.0) -> None:
        """Wait until the connection that brought the first message of this kind has ended."""
        number = next(number for number, message in self.heard if message["type"] == kind)
        with self._changed:
            assert self._changed.wait_for(lambda: number in self.closed, within_s), "still open"

    def send(self, kind: str, message: dict[str, Any]) -> None:
        """Send on the connection that brought the latest message of this kind."""
        number = [number for number, heard in self.heard if heard["type"] == kind][-1]
        self.connections[number].sendall(json.dumps(message).encode() + b"\n")

    def hang_up(self, kind: str) -> None:
        """Close the connection that brought the latest message of this kind."""
        number = [number for number, heard in self.heard if heard["type"] == kind][-1]
        self.connections[number].shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        number = 0
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # stopped
            number += 1
            self.connections[number] = connection
            threading.Thread(target=self._serve, args=(number, connection), daemon=True).start()

    def _serve(self, number: int, connection: socket.socket) -> None:
        for message in _lines(connection):
            with self._changed:
                self.heard.append((number, message))
                self._changed.notify_all()
            answers = self.script.get(message["type"], lambda _: [])(message)
            with contextlib.suppress(OSError):  # the other end has gone; what it said is to be read
                for answer in answers:
                    _answer(connection, answer)
        with self._changed:
            self.closed[number] = time.monotonic()
            self._changed.notify_all()


def _lines(connection: socket.socket) -> Iterator[dict[str, Any]]:
    rest = b""
    while True:
        try:
            block = connection.recv(65536)
        except OSError:
            return
        if not block:
            return
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield json.loads(line)


def _answer(connection: socket.socket, answer: dict[str, Any] | bytes | float) -> None:
    if isinstance(answer, dict):
        connection.sendall(json.dumps(answer).encode() + b"\n")
    elif isinstance(answer, bytes):
        connection.sendall(answer)
    else:
        time.sleep(answer)


def go(begin: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the plainest `go`: cargo as it was called."""
    plain = {
        "type": "go",
        "build": "7",
        "argv": begin["argv"],
        "env": {},
        "unset": [],
        "notes": [],
        "target_dir": None,
        "jobserver": None,
    }
    return {**plain, **changes}


@functools.cache
def built_shim() -> "Shim":
    """Compile the shim, once for each test run."""
    from forge.host.shim_build import build_shim

    cache_dir = Path(tempfile.mkdtemp(prefix="forge-shim-"))
    atexit.register(shutil.rmtree, cache_dir, ignore_errors=True)
    return build_shim(cache_dir, os.environ)


def program(path: Path, text: str) -> Path:
    """Write an executable script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def bare_env(home: Path, *path: Path | str) -> dict[str, str]:
    """Return an environment with nothing of Forge's or cargo's in it, and `path` as PATH."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FORGE_", "CARGO", "RUSTC", "MAKEFLAGS", "MFLAGS"))
    }
    real_home = Path(os.environ.get("HOME", "/"))
    return {
        **kept,
        "HOME": str(home),
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(real_home / ".rustup")),
        "FORGE_STATE_DIR": str(home / "state"),
        "PATH": os.pathsep.join(str(entry) for entry in path) if path else os.environ["PATH"],
    }


def has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


def main() -> None:
    daemon = FakeForged(Path(sys.argv[1]))
    (daemon.state_dir / "starts").open("a").write(f"{os.getpid()}\n")
    facts = {
        "cwd": os.getcwd(),
        "is_detached": os.getsid(0) != os.getpid() and not has_terminal(),
        "fds": sorted(os.listdir("/dev/fd")),
        "stdin": os.readlink("/proc/self/fd/0") if Path("/proc").exists() else "",
    }
    (daemon.state_dir / "facts.json").write_text(json.dumps(facts))
    daemon.start()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (daemon.state_dir / "stop").exists():
        time.sleep(0.05)


if __name__ == "__main__":
    main()
