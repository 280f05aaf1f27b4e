"""In line: waiting for the daemon's word, with the reason shown meanwhile.

Nothing has been started yet, so a signal ends us as it would end any program, but for the line on
the terminal, which goes first.
"""

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

from forge.client.connection import Connection
from forge.client.ending import die_by
from forge.client.talk import WaitLine, say

ENDING = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def await_word(
    connection: Connection, begin: dict[str, Any], env: Mapping[str, str]
) -> dict[str, Any]:
    """Send `begin` and return the daemon's `go` or `end`; waits as long as it says that we should.

    Raises DaemonRefused, DaemonUnreachable, ProtocolMismatch.
    """
    line = WaitLine(env)

    def interrupt(text: str) -> None:
        line.erase()
        say(text)

    with _signals(line):
        try:
            return connection.ask(begin, on_wait=line.waits, on_say=interrupt)
        finally:
            line.erase()


@contextlib.contextmanager
def _signals(line: WaitLine) -> Iterator[None]:
    """Let no signal leave the line behind; those that are ignored stay ignored."""

    def end(number: int, _frame: FrameType | None) -> None:
        line.erase()
        die_by(number)

    def stop(_number: int, _frame: FrameType | None) -> None:
        line.erase()
        os.kill(os.getpid(), signal.SIGSTOP)
        line.refresh()

    def resize(_number: int, _frame: FrameType | None) -> None:
        line.refresh()

    wanted = {**dict.fromkeys(ENDING, end), signal.SIGTSTP: stop, signal.SIGWINCH: resize}
    before = {number: signal.getsignal(number) for number in wanted}
    caught = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in caught:
        signal.signal(number, wanted[number])
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, before[number])
