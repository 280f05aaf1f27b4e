"""`forge doctor`: whether all that Forge depends on is as it should be."""

from dataclasses import asdict

import click
from rich.table import Table
from rich.text import Text

from forge.cli.commands import Call, examples, json_option, pass_call
from forge.cli.questions import say
from forge.cli.render import plain, print_json, print_lines
from forge.client.checks import ask_daemon, check_all
from forge.client.remedies import mend
from forge.core.checkup import Row, Verdict, has_failed

STYLES = {
    Verdict.OK: "green",
    Verdict.WARN: "yellow",
    Verdict.FAIL: "bold red",
    Verdict.UNKNOWN: "dim",
}
EXIT_FAILED = 1


@click.command(
    epilog=examples(
        "forge doctor",
        "forge doctor --fix",
        "forge doctor --json | jq '.rows[] | select(.verdict != \"ok\")'",
    )
)
@click.option("--fix", is_flag=True, help="Mend what can be mended without risk, then look again.")
@json_option
@pass_call
def doctor(call: Call, fix: bool) -> int:
    """Look at all that Forge depends on, and say what is not well.

    Each row is ok, warn (it works, and something is not guaranteed), fail or unknown, with what was
    found and the way out. Never starts a daemon: without one, what only a daemon can tell is
    unknown. Exits with 1 when a row fails.
    """
    rows = check_all(call.env)
    if fix:
        _, status = ask_daemon(call.env)
        for line in mend(rows, call.env, status):
            say(line)
        rows = check_all(call.env)
    failed = has_failed(rows)
    if call.as_json:
        print_json({"ok": not failed, "rows": [asdict(row) for row in rows]})
    else:
        print_lines(rows_view(rows))
    return EXIT_FAILED if failed else 0


def rows_view(rows: list[Row]) -> Table:
    """Show rows with their verdicts, and the way out below."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(Text(row.verdict, STYLES[row.verdict]), row.name, plain(row.finding))
        if row.hint:
            table.add_row("", "", f"-> {plain(row.hint)}")
    return table
