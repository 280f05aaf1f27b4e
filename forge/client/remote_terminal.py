"""Our terminal while something runs in one on the host, and its size.

Raw: every key goes to the host's terminal, which echoes, edits, and makes a signal of Ctrl-C.
"""

import contextlib
import os
import termios
import tty
from collections.abc import Iterator

from forge.client.talk import is_terminal

MOST = 10_000


def all_are_terminals() -> bool:
    """Say whether stdin, stdout and stderr are terminals."""
    return all(map(is_terminal, (0, 1, 2)))


def size_of_terminal() -> tuple[int, int] | None:
    """Return columns and rows of the terminal that stderr is, if it is one."""
    try:
        found = os.get_terminal_size(2)
    except OSError:
        return None
    return max(1, min(found.columns, MOST)), max(1, min(found.lines, MOST))


class RawTerminal:
    """Stdin as a raw terminal, between `enter` and `leave`."""

    def __init__(self) -> None:
        self._before: list[object] | None = None

    def enter(self) -> None:
        """Make it raw."""
        with contextlib.suppress(termios.error):
            self._before = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSADRAIN)

    def leave(self) -> None:
        """Give it back as it was found."""
        if self._before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]  # tcgetattr's
            self._before = None

    @contextlib.contextmanager
    def entered(self, wanted: bool) -> Iterator[None]:
        """Keep it raw meanwhile, if that is wanted."""
        if wanted:
            self.enter()
        try:
            yield
        finally:
            self.leave()
