"""`--watch`: shows something anew each second, until Ctrl-C."""

import time
from collections.abc import Callable

from forge.cli.commands import Call
from forge.cli.render import console

WATCH_EVERY_S = 1.0


def watch(call: Call, show: Callable[[], None]) -> None:
    """Show it for ever: in place on a terminal, one after the other elsewhere and as JSON."""
    while True:
        out = console()
        if not call.as_json and out.is_terminal:
            out.clear()
        show()
        out.file.flush()
        time.sleep(WATCH_EVERY_S)
