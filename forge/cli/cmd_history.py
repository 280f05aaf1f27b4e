"""`forge history`: builds that are over, what each of them cost, and how to have that forgotten."""

import os
import sys
from datetime import datetime
from typing import Any

import click

from forge.cli.commands import SETTINGS_OF_CLICK, Call, examples, json_option, pass_call
from forge.cli.questions import ask, ask_where
from forge.cli.render import plain, print_json, print_lines
from forge.cli.view_history import history_view
from forge.core.units import plural
from forge.errors import UsageMistake

MAX_LIMIT = 500


@click.group(
    invoke_without_command=True,
    subcommand_metavar="[forget]",
    context_settings=SETTINGS_OF_CLICK,
    epilog=examples(
        "forge history",
        "forge history --project . --failed",
        "forge history --limit 100 --json | jq -r '.[] | [.id, .wall_s] | @tsv'",
        "forge history forget",
    ),
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
    if click.get_current_context().invoked_subcommand:
        return
    root = None if project is None else _root_of(call, project, "`--project DIR`")
    request = {"type": "history", "limit": limit, "root": root, "failed": failed}
    builds = ask(call, request).get("builds") or []
    if call.as_json:
        print_json(builds)
    else:
        print_lines(history_view(builds, datetime.now()))  # noqa: DTZ005  # as people's clocks


@history.command(
    epilog=examples(
        "forge history forget",
        "forge history forget ~/src/ripgrep --builds",
        "forge history forget --all --dry-run",
    )
)
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path())
@click.option("--all", "all_", is_flag=True, help="Of all projects.")
@click.option("--builds", is_flag=True, help="Past builds as well.")
@click.option("--yes", is_flag=True, help="Do not ask before it is forgotten.")
@click.option("--dry-run", is_flag=True, help="Say how much it is, and forget nothing.")
@json_option
@pass_call
def forget(
    call: Call, directory: str | None, all_: bool, builds: bool, yes: bool, dry_run: bool
) -> None:
    """Forget what builds of a project have cost.

    It is the project in DIR, by default the one here. A cost is what a unit, a link, a test or a
    build took and needed the last times: time, CPU, memory. The next build books links by the size
    of their inputs again, or by what other projects know of the same crates. Past builds stay
    unless `--builds` is given. A build that is under way teaches what it cost when it ends. Starts
    a daemon where none runs.
    """
    if all_ and directory is not None:
        raise UsageMistake("`--all` takes no DIR besides", hint="leave one of them out")
    named = "`forge history forget DIR`"
    root = None if all_ else _root_of(call, directory or ".", named, start=True)
    request = {"type": "forget", "root": root, "builds": builds}
    found = ask(call, {**request, "dry_run": True}, start=True)
    is_something = bool(found["costs"] or found["builds"])
    if is_something and not dry_run:
        if not yes:
            _confirm(_amount(found), root)
        found = ask(call, {**request, "dry_run": False}, start=True)
    if call.as_json:
        told = {"root": root, "costs": found["costs"], "builds": found["builds"]}
        print_json({**told, "dry_run": dry_run})
    elif is_something:
        said = "would be forgotten" if dry_run else "forgotten"
        click.echo(f"{said} of {_whose(root)}: {_amount(found)}")
    else:
        click.echo(f"nothing is known of {_whose(root)}")


def _amount(found: dict[str, Any]) -> str:
    builds = f" and {plural(found['builds'], 'past build')}" if found["builds"] else ""
    return plural(found["costs"], "learned cost") + builds


def _whose(root: str | None) -> str:
    return "all projects" if root is None else plain(root)


def _confirm(amount: str, root: str | None) -> None:
    if not (sys.stdin and sys.stdin.isatty()):
        raise UsageMistake(
            f"nobody can be asked whether to forget {amount}", hint="`--yes` does not ask"
        )
    click.confirm(f"forget {amount} of {_whose(root)}?", abort=True, err=True)


def _root_of(call: Call, project: str, named: str, *, start: bool = False) -> str:
    """Return the workspace root of a directory; of one that is gone, the directory itself."""
    root = ask_where(call, project, start=start).get("root")
    if root:
        return str(root)
    place = os.path.abspath(project)
    if os.path.isdir(place):
        raise UsageMistake(f"there is no cargo project in {place}", hint=f"{named} names one")
    return place
