"""`--watch`: shows something anew each second, until Ctrl-C."""

import time
from collections.abc import Callable
from typing import TypeVar

from forge.cli.commands import Call
from forge.cli.render import console

WATCH_EVERY_S = 1.0

Seen = TypeVar("Seen")


def watch(call: Call, look: Callable[[], Seen], show: Callable[[Seen], None]) -> None:
    """Show it for ever: in place on a terminal, one after the other elsewhere and as JSON.

    A look may take seconds; what was seen before stands until it has ended.
    """
    while True:
        seen = look()
        out = console()
        if not call.as_json and out.is_terminal:
            out.clear()
        show(seen)
        out.file.flush()
        time.sleep(WATCH_EVERY_S)
