"""`forge log`: what was decided and why, in sentences. Reads the file; needs no daemon."""

import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from forge import paths
from forge.cli.commands import Call, examples, pass_call
from forge.cli.decision_log import DecisionLog, Wanted, read_entry
from forge.cli.decisions import sentence
from forge.cli.questions import say
from forge.cli.render import console, plain
from forge.core.units import parse_duration_s

DEFAULT_LINES = 50
ALL_LINES = 1_000_000_000


@click.command(
    epilog=examples(
        "forge log",
        "forge log --follow",
        "forge log --build b12",
        "forge log --since 1h --json | jq .decision",
    )
)
@click.option("-n", "--lines", type=click.IntRange(0, ALL_LINES),
              help="How many lines to show; default: 50, and all with --since.")  # fmt: skip
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option("--build", metavar="ID", help="Only decisions about this build.")
@click.option("--since", metavar="DURATION",
              help="Only what is younger, as in 90s, 5m or 1h.")  # fmt: skip
@click.option("--json", "as_lines", is_flag=True, help="Print the lines as they are: JSON.")
@pass_call
def log(
    call: Call,
    lines: int | None,
    follow: bool,
    build: str | None,
    since: str | None,
    as_lines: bool,
) -> None:
    """Tell what was decided, and why, in sentences.

    One line for each decision, from the daemon's log. Works without a daemon. `forge daemon logs`
    shows the same log with all its fields.
    """
    wanted = _wanted(build, since)
    if lines is None:
        lines = ALL_LINES if since else DEFAULT_LINES
    path = os.path.join(paths.state_dir(call.env), paths.LOG_NAME)
    file = DecisionLog(path)
    try:
        if not file.exists and not follow:
            say(f"no log yet: {plain(path)}")
        _print(file.last(lines, wanted), as_lines=as_lines)
        if follow:
            _print(filter(wanted, file.follow()), as_lines=as_lines)
    finally:
        file.close()


def _wanted(build: str | None, since: str | None) -> Wanted:
    """Return what says of a line whether it was asked for."""
    after = None
    if since is not None:
        try:
            after = datetime.now(UTC) - timedelta(seconds=parse_duration_s(since))
        except (ValueError, OverflowError) as error:
            raise click.BadParameter(str(error), param_hint="--since") from None

    def wanted(line: bytes) -> bool:
        if build is None and after is None:
            return True
        entry = read_entry(line)
        if build is not None and entry.get("build") != build:
            return False
        at = _time_of(entry)
        return after is None or (at is not None and at >= after)

    return wanted


def _time_of(entry: dict[str, Any]) -> datetime | None:
    try:
        return datetime.fromisoformat(str(entry.get("at"))).astimezone()
    except ValueError:
        return None


def _print(lines: Iterable[bytes], *, as_lines: bool) -> None:
    out = console()
    for line in lines:
        if as_lines:
            click.echo(line, nl=False)
        else:
            _print_sentence(out, read_entry(line))


def _print_sentence(out: Console, entry: dict[str, Any]) -> None:
    at = _time_of(entry)
    shown = at.strftime("%Y-%m-%d %H:%M:%S") if at else " " * 19
    out.print(Text(f"{shown}  ", "dim").append_text(sentence(entry)), soft_wrap=True)
    sys.stdout.flush()
