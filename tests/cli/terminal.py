"""A terminal for tests: runs a command on a pty and knows what its screen shows.

It understands what `forge.cli.top_screen` sends: a line at a place, the second screen, the cursor.
"""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from typing import Any

PATIENCE_S = 20.0


class Terminal:
    """`forge ARGS` on a pty of `columns` and `lines`."""

    def __init__(
        self, env: Mapping[str, str], *argv: str, columns: int = 80, lines: int = 24
    ) -> None:
        self._outer, self._inner = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self._inner)
        self.sent = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "forge.cli.main", *argv],
            env={"TERM": "xterm", **env}, stdin=self._inner, stdout=self._inner,
            stderr=self._inner, start_new_session=True, preexec_fn=self._take_terminal,
        )  # fmt: skip

    def _take_terminal(self) -> None:
        fcntl.ioctl(self._inner, termios.TIOCSCTTY, 0)  # so that Ctrl-C is a signal

    def resize(self, columns: int, lines: int) -> None:
        """Change the size; the kernel tells the process."""
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._outer, termios.TIOCSWINSZ, size)

    def press(self, *pieces: bytes) -> None:
        """Type, piece by piece."""
        for piece in pieces:
            os.write(self._outer, piece)
            time.sleep(0.02)

    def expect(self, words: str) -> str:
        """Wait until the screen shows words; return the screen."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if words in (screen := self.screen()):
                return screen
            self._read()
        raise AssertionError(f"`{words}` was never shown, but:\n{self.screen()}\n{self.sent!r}")

    def screen(self) -> str:
        """Return what the screen shows now."""
        lines: dict[int, str] = {}
        at = 0
        text = self.sent.decode("utf-8", "replace").rpartition("\x1b[2J")[2]
        for part in text.split("\x1b[")[1:]:
            place = re.match(r"(\d+);1H(.*)", part, re.DOTALL)
            if place:
                at = int(place[1])
                lines[at] = place[2]
            elif lines:
                lines[at] += re.sub(r"^[0-9;]*m", "", part)
        return "\n".join(lines[number].rstrip() for number in sorted(lines))

    def end(self) -> int:
        """Wait until the process has ended; return its code."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read()
        self._read()
        code = self.process.poll()
        assert code is not None, f"it goes on:\n{self.screen()}"
        return code

    def ends_with(self, words: str) -> bool:
        """Say whether words are the last that is sent, line ends aside."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.sent.rstrip().endswith(words.encode()) and time.monotonic() < deadline:
            self._read()
        return self.sent.rstrip().endswith(words.encode())

    def modes(self) -> list[Any]:
        """Return the modes of the terminal, as stty would."""
        return termios.tcgetattr(self._inner)

    def close(self) -> None:
        """Take the terminal away."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._outer)
        os.close(self._inner)

    def _read(self) -> None:
        if select.select([self._outer], [], [], 0.05)[0]:
            self.sent += os.read(self._outer, 65536)


def on_a_terminal(argv: list[str], env: dict[str, str], answer: str) -> tuple[str, int]:
    """Run `forge` with a terminal, type an answer; return what was shown and the exit code."""
    terminal, inner = pty.openpty()
    command = [sys.executable, "-m", "forge.cli.main", *argv]
    with subprocess.Popen(command, env=env, stdin=inner, stdout=inner, stderr=inner) as process:
        os.close(inner)
        os.write(terminal, f"{answer}\n".encode())
        seen = b""
        with contextlib.suppress(OSError):  # EIO on Linux when the other end is closed
            while piece := os.read(terminal, 4096):
                seen += piece
        os.close(terminal)
        return seen.decode(), process.wait(20)
