"""A program on a pseudo terminal of its own, as a person would have it."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


class Terminal:
    """Runs `command` in a session of its own, with all three streams on the terminal."""

    def __init__(
        self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], columns: int = 80
    ) -> None:
        self.text = b""
        self._is_over = False
        go_reader, go_writer = os.pipe()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.read(go_reader, 1)  # until the terminal has its size
                os.chdir(cwd)
                os.execve(command[0], [*command], {"TERM": "xterm", **env})
            finally:
                os._exit(126)
        self.resize(columns)
        os.write(go_writer, b"g")
        os.close(go_reader)
        os.close(go_writer)

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def expect(self, wanted: bytes, within_s: float = 20.0) -> bytes:
        """Return what came before `wanted`, which is taken away as well."""
        deadline = time.monotonic() + within_s
        while wanted not in self.text:
            assert time.monotonic() < deadline, f"no {wanted!r} in {self.text!r}"
            assert self._read() or wanted in self.text, f"over: no {wanted!r} in {self.text!r}"
        before, _, self.text = self.text.partition(wanted)
        return before

    def wait(self, within_s: float = 20.0) -> int:
        """Return how it ended, as subprocess does; what it still wrote is in `text`."""
        deadline = time.monotonic() + within_s
        while self._read():
            assert time.monotonic() < deadline, f"not over: {self.text!r}"
        while not (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            assert time.monotonic() < deadline, f"not over: {self.text!r}"
            time.sleep(0.02)
        self._is_over = True
        return os.waitstatus_to_exitcode(ended[1])

    def close(self) -> None:
        if not self._is_over:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)

    def _read(self) -> bool:
        if not select.select([self.fd], [], [], 0.1)[0]:
            return True
        try:
            piece = os.read(self.fd, 4096)
        except OSError:  # EIO: nobody has the other end any more
            return False
        self.text += piece
        return bool(piece)


def screen(text: bytes, columns: int) -> list[str]:
    """Return the rows that a terminal shows after `text`; knows `\\r`, `\\n` and `ESC [ K`."""
    rows, at = [""], 0
    for piece in text.decode().replace("\x1b[K", "\0"):
        if piece == "\r":
            at = 0
        elif piece == "\n":
            rows.append("")
        elif piece == "\0":
            rows[-1] = rows[-1][:at]
        else:
            if at == columns:
                rows.append("")
                at = 0
            rows[-1] = rows[-1][:at] + piece + rows[-1][at + 1 :]
            at += 1
    return rows
