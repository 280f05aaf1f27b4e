"""Lines for people on stderr during a build; hooks/shim/src/waitline.rs says the same natively.

How a wait is shown is recorded in tests/data/vectors/waits.json, which holds both together.
"""

import contextlib
import os
import re
import sys
import time
from collections.abc import Mapping

from forge.core.text import printable
from forge.core.units import show_duration

FIRST_ON_TERMINAL_S = 0.5
FIRST_ELSEWHERE_S = 1.0
AGAIN_ELSEWHERE_S = 30.0
TENTH_S = 0.1
"""To this the daemon rounds: 0.98 s are 1 s."""

KEPT_FREE = 3
"""Columns for the `^C` that a terminal echoes, and the last one: what wraps cannot be erased."""

WIDE_FROM = "\u1100"
"""From Hangul on characters may take two columns."""


def is_on(env: Mapping[str, str], name: str) -> bool:
    """Say whether a switch in the environment is on: set, and neither empty nor `0`."""
    return env.get(name, "") not in ("", "0")


def is_terminal(descriptor: int) -> bool:
    """Say whether a descriptor is open on a terminal."""
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def say(line: object) -> None:
    """Say one line to the person, unless FORGE_QUIET forbids it."""
    if not is_on(os.environ, "FORGE_QUIET"):
        report(line)


def report(line: object) -> None:
    """Say one line to a quiet person as well: nothing runs. A closed stderr is no failure."""
    if isinstance(line, str):
        _write(f"forge: {printable(line)}\n")


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return  # closed, or never opened


class WaitLine:
    """Why a build waits: one line that changes on a terminal, a line now and then elsewhere.

    Elsewhere another line follows only when the kind of the reason has changed, and not soon.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._is_terminal = is_terminal(2) and env.get("TERM") != "dumb"
        self._is_quiet = is_on(env, "FORGE_QUIET")
        self._began = time.monotonic()
        self._reason = ""
        self._since = self._began
        self._said_at = 0.0
        self._said_kind: str | None = None
        self._is_painted = False

    def waits(self, reason: str, since_s: float) -> None:
        """Take in why the build waits, and since how many seconds."""
        self._reason = printable(reason)
        self._since = time.monotonic() - since_s
        self.refresh()

    def refresh(self) -> None:
        """Say what is due; what a terminal shows may be old, gone, or too wide by now."""
        now = time.monotonic()
        if not self._reason or self._is_quiet or now < self._due_at():
            return
        line = f"forge: {self._reason}{since(now - self._since + TENTH_S)}"
        self._said_at, self._said_kind = now, kind_of(self._reason)
        if not self._is_terminal:
            _write(line + "\n")
            return
        self._is_painted = True
        _paint(f"\r{cut(line, _columns() - KEPT_FREE)}\x1b[K")

    def erase(self) -> None:
        """Leave the terminal as it was found."""
        if self._is_painted:
            self._is_painted = False
            _paint("\r\x1b[K")

    def _due_at(self) -> float:
        if self._said_kind is None:
            return self._began + (FIRST_ON_TERMINAL_S if self._is_terminal else FIRST_ELSEWHERE_S)
        if self._is_terminal:
            return self._said_at
        is_another = kind_of(self._reason) != self._said_kind
        return self._said_at + AGAIN_ELSEWHERE_S if is_another else float("inf")


def kind_of(reason: str) -> str:
    """Return the kind of a reason: its words before the first `:`, `;` or `(`, without numbers."""
    return re.sub("[0-9]", "", re.split("[:;(]", reason, maxsplit=1)[0])


def since(seconds: float) -> str:
    """Write since when: ` (12 s)`, ` (3 min 20 s)`; nothing below a second."""
    whole = int(seconds)
    if not whole:
        return ""
    return f" ({whole} s)" if whole < 60 else f" ({show_duration(whole)})"


def cut(text: str, columns: int) -> str:
    """Return what fits into so many columns."""
    used = 0
    for at, character in enumerate(text):
        used += 1 if character < WIDE_FROM else 2
        if used > columns:
            return text[:at]
    return text


def _columns() -> int:
    try:
        return os.get_terminal_size(2).columns or 80
    except OSError:
        return 80


def _paint(text: str) -> None:
    """Write in one piece and past any buffer: handlers of signals write as well."""
    with contextlib.suppress(OSError):
        os.write(2, text.encode(errors="replace"))
