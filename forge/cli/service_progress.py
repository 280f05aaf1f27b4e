"""Tells how a start or a stop goes on: a line that changes on a terminal, else one for each."""

import sys
from types import TracebackType
from typing import Self

from forge.core.service import Service
from forge.core.units import show_duration

LINE_EVERY_S = 30.0
ERASE = "\r\x1b[2K"


class ServiceProgress:
    """Use it as a context manager: what stands on the line at the end is taken away."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet or not sys.stderr
        self._is_terminal = bool(sys.stderr) and sys.stderr.isatty()
        self._next_s = LINE_EVERY_S
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._erase()

    def __call__(self, service: Service, what: str, waited_s: float) -> None:
        """Take a piece of news in."""
        if self._quiet:
            return
        is_wait = what.startswith("is not ready yet")
        after = f" ({show_duration(waited_s)})" if waited_s >= 0.05 else ""
        line = f"{service.name} {what}{after}"
        if is_wait and self._is_terminal:
            width = _columns()
            sys.stderr.write(f"{ERASE}{line[: width - 1]}")
            sys.stderr.flush()
            self._open = True
            return
        if is_wait:
            if waited_s < self._next_s:
                return
            self._next_s = waited_s + LINE_EVERY_S
        else:
            self._next_s = LINE_EVERY_S
        self._erase()
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def _erase(self) -> None:
        if self._open:
            sys.stderr.write(ERASE)
            sys.stderr.flush()
            self._open = False


def _columns() -> int:
    import shutil

    return max(20, shutil.get_terminal_size().columns)
