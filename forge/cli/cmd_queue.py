"""`forge queue`: who waits to build, in order, and for what."""

from typing import Any

import click

from forge.cli.commands import Call, examples, json_option, pass_call
from forge.cli.questions import ask_status
from forge.cli.render import print_json, print_lines
from forge.cli.view_queue import queue_report, queue_view
from forge.cli.watching import watch as watch_it


@click.command(
    epilog=examples(
        "forge queue",
        "forge queue --watch",
        "forge queue --json | jq -r '.waiting[].queue.reason'",
    )
)
@click.option("-w", "--watch", is_flag=True, help="Show it anew each second, until Ctrl-C.")
@json_option
@pass_call
def queue(call: Call, watch: bool) -> None:
    """Show which builds wait, in order, and for what.

    Those that are next come first; `ahead` are the builds that go before. What runs beside them is
    there too. Never starts a daemon.
    """
    if watch:
        watch_it(call, lambda: ask_status(call), lambda status: _show(call, status))
    _show(call, ask_status(call))


def _show(call: Call, status: dict[str, Any]) -> None:
    report = queue_report(status)
    if call.as_json:
        print_json(report)
    else:
        print_lines(queue_view(report))
