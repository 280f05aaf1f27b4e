"""`forge history`: builds that are over, and what each of them cost."""

import os
from datetime import datetime

import click

from forge.cli.commands import Call, examples, json_option, pass_call
from forge.cli.questions import ask, ask_where
from forge.cli.render import print_json, print_lines
from forge.cli.view_history import history_view
from forge.errors import UsageMistake

MAX_LIMIT = 500


@click.command(
    epilog=examples(
        "forge history",
        "forge history --project . --failed",
        "forge history --limit 100 --json | jq -r '.[] | [.id, .wall_s] | @tsv'",
    )
)
@click.option(
    "-n", "--limit", metavar="N", default=20, show_default=True,
    type=click.IntRange(1, MAX_LIMIT), help="How many at most.",
)  # fmt: skip
@click.option(
    "--project", metavar="DIR", type=click.Path(), help="Only those of the project in DIR."
)
@click.option("--failed", is_flag=True, help="Only those that did not end well.")
@json_option
@pass_call
def history(call: Call, limit: int, project: str | None, failed: bool) -> None:
    """Show past builds, the newest first.

    `wait` is the time before cargo started, `wall` all of it, `units` how many rustcs ran, `peak`
    the most memory that one process had. `prio` is inter(active) or batch. A build that was
    cancelled in line, or left, is there too. Never starts a daemon.
    """
    root = None if project is None else _root_of(call, project)
    request = {"type": "history", "limit": limit, "root": root, "failed": failed}
    builds = ask(call, request).get("builds") or []
    if call.as_json:
        print_json(builds)
    else:
        print_lines(history_view(builds, datetime.now()))  # noqa: DTZ005  # as people's clocks


def _root_of(call: Call, project: str) -> str:
    """Return the workspace root of a directory; of one that is gone, the directory itself."""
    root = ask_where(call, project).get("root")
    if root:
        return str(root)
    place = os.path.abspath(project)
    if os.path.isdir(place):
        raise UsageMistake(
            f"there is no cargo project in {place}", hint="`--project DIR` names one"
        )
    return place
