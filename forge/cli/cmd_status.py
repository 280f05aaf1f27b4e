"""`forge status`: what is going on, asked of the daemon that runs."""

from typing import Any

import click

from forge.cli.commands import Call, examples, json_option, pass_call
from forge.cli.questions import ask_status
from forge.cli.render import print_json, print_lines
from forge.cli.view_status import status_view
from forge.cli.watching import watch as watch_it


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

    The memory and the daemon are there too. `share` is how many cores a build may count on,
    `tokens` how many job tokens it uses of those it was granted. Never starts a daemon: when none
    runs, it says so and exits with 69.
    """
    if watch:
        watch_it(call, lambda: ask_status(call), lambda report: _show(call, report))
    _show(call, ask_status(call))


def _show(call: Call, report: dict[str, Any]) -> None:
    if call.as_json:
        print_json(report)
    else:
        print_lines(status_view(report))
