"""`forge status`: what is going on, asked of the daemon that runs."""

import time

import click

from forge.cli.commands import Call, examples, json_option, pass_call
from forge.cli.questions import ask_status
from forge.cli.render import console, print_json, print_lines, status_view

WATCH_EVERY_S = 1.0


@click.command(
    epilog=examples(
        "forge status",
        "forge status --watch",
        "forge status --json | jq .disk.used_bytes",
    )
)
@click.option("-w", "--watch", is_flag=True, help="Show it anew each second, until Ctrl-C.")
@json_option
@pass_call
def status(call: Call, watch: bool) -> None:
    """Show the RAM disk, builds and target dirs.

    The memory map and the daemon are there too. Never starts a daemon: when none runs, it says so
    and exits with 69.
    """
    _show(call)
    while watch:
        time.sleep(WATCH_EVERY_S)
        out = console()
        if not call.as_json and out.is_terminal:
            out.clear()
        _show(call)
        out.file.flush()


def _show(call: Call) -> None:
    report = ask_status(call)
    if call.as_json:
        print_json(report)
    else:
        print_lines(status_view(report))
