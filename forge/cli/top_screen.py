"""The terminal of a full-screen view: taken, drawn on, and always given back as it was.

While it is taken, keys come one by one and are not shown, pasted text can be told from keys, and a
second screen is in use, so that what was there before comes back. Ctrl-C and Ctrl-Z still make
signals.
"""

import os
import termios
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

ENTER = "\x1b[?1049h\x1b[?2004h\x1b[?25l\x1b[2J"
LEAVE = "\x1b[0m\x1b[?25h\x1b[?2004l\x1b[?1049l"
FALLBACK_SIZE = (80, 24)

_INPUT_FLAGS, _LOCAL_FLAGS, _CONTROL_BYTES = 0, 3, 6


class Screen:
    """Invariant: while `_taken` is None the terminal is as we found it."""

    def __init__(self, keys: int, picture: int, encoding: str = "utf-8") -> None:
        self.keys = keys
        self._picture = picture
        self._encoding = encoding
        self._taken: list[object] | None = None
        self._shown: list[str] = []

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.give_back()

    def take(self) -> None:
        """Take the terminal."""
        found = termios.tcgetattr(self.keys)
        ours = termios.tcgetattr(self.keys)
        ours[_INPUT_FLAGS] &= ~termios.IXON  # a Ctrl-S would stop us in the middle of a picture
        ours[_LOCAL_FLAGS] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
        ours[_CONTROL_BYTES][termios.VMIN] = 1
        ours[_CONTROL_BYTES][termios.VTIME] = 0
        self._taken = found
        termios.tcsetattr(self.keys, termios.TCSANOW, ours)
        self._write(ENTER)
        self.forget()

    def give_back(self) -> None:
        """Put the terminal back as it was. One that has gone away wants nothing any more."""
        found, self._taken = self._taken, None
        if found is None:
            return
        with suppress(OSError, termios.error):  # TCSANOW: a stopped output must not stop us too
            termios.tcsetattr(self.keys, termios.TCSANOW, found)  # type: ignore[arg-type]
            termios.tcflush(self.keys, termios.TCIFLUSH)
        with suppress(OSError):
            self._write(LEAVE)

    def size(self) -> tuple[int, int]:
        """Return columns and lines as they are now; what the environment says may be outdated."""
        try:
            columns, lines = os.get_terminal_size(self._picture)
        except OSError:
            return FALLBACK_SIZE
        return columns or FALLBACK_SIZE[0], lines or FALLBACK_SIZE[1]

    def show(self, lines: Sequence[str]) -> None:
        """Draw lines as wide as the screen: those that have changed since the last time."""
        was = self._shown if len(self._shown) == len(lines) else [""] * len(lines)
        changed = [
            f"\x1b[{number};1H{line}\x1b[0m"
            for number, (line, old) in enumerate(zip(lines, was, strict=True), 1)
            if line != old
        ]
        self._shown = list(lines)
        if changed:
            self._write("".join(changed))

    def forget(self) -> None:
        """Take it that nothing of what we drew is there any more."""
        self._shown = []

    def _write(self, text: str) -> None:
        left = text.encode(self._encoding, "replace")
        while left:
            left = left[os.write(self._picture, left) :]
