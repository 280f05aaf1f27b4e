"""`forge top`: what goes on, on the whole screen, as it changes."""

import os
import signal
import sys

import click

from forge.cli.commands import Call, examples, pass_call
from forge.errors import UsageMistake


@click.command(epilog=examples("forge top", "NO_COLOR=1 forge top"))
@pass_call
def top(call: Call) -> None:
    """Show builds as they go on, on the whole screen.

    The cores, the RAM disk, the memory, each build with its share, what runs at its gates and for
    how long, and the line. Keys select a build, cancel it, change its priority and hold the
    machine; `?` shows them. Never starts a daemon: while none answers, it says so and tries again
    each second.

    It needs a terminal that can move its cursor. Elsewhere, and with TERM=dumb, `forge status
    --watch` shows the same.
    """
    if not all(file and file.isatty() for file in (sys.stdin, sys.stdout)):
        raise UsageMistake(
            "`forge top` needs a terminal", hint="`forge status --json` is for programs"
        )
    if call.env.get("TERM", "dumb") in ("", "dumb"):
        raise UsageMistake(
            f"the terminal cannot move its cursor: TERM is `{call.env.get('TERM', '')}`",
            hint="`forge status --watch` shows it anew each second",
        )
    from forge.cli.top_loop import run  # termios and the rest are for those who look

    ending = run(call.env)
    if ending == signal.SIGINT:
        raise KeyboardInterrupt
    if ending is not None:
        signal.signal(ending, signal.SIG_DFL)
        os.kill(os.getpid(), ending)
