"""What `forge history` shows: past builds, one a line."""

import signal
from collections.abc import Sequence
from datetime import datetime

from rich.console import RenderableType
from rich.text import Text

from forge.cli.render import Report, new_table, plain, project_of
from forge.core.outcome import Outcome
from forge.core.shares import Priority
from forge.core.units import show_bytes, show_duration_short

PRIORITIES = {Priority.INTERACTIVE: "inter", Priority.BATCH: "batch"}
"""A table of 80 columns has no room for more."""

STYLES: dict[str, str] = {
    Outcome.DONE: "green",
    Outcome.CANCELLED: "yellow",
    Outcome.REQUEUED: "yellow",
    Outcome.GAVE_UP: "yellow",
}


def history_view(builds: Sequence[Report], now: datetime) -> RenderableType:
    """Show past builds; those of the day of `now` with their time, others with their date."""
    if not builds:
        return Text("no such build is remembered")
    heads = ("build", "when", "project", "verb", "profile", "prio", "wait", "wall", "units", "peak")
    table = new_table(*heads, "end")
    table.padding = (0, 1, 0, 0)
    for column in table.columns:
        column.no_wrap = column.header not in ("project", "profile", "verb")
    for index in (6, 7, 8, 9):
        table.columns[index].justify = "right"
    for build in builds:
        table.add_row(
            plain(build.get("id")),
            when(build.get("began_at"), now),
            project_of(build),
            plain(build.get("verb") or "-"),
            plain(build.get("profile") or "-"),
            PRIORITIES.get(build.get("priority"), "-"),  # type: ignore[arg-type]  # or "-"
            show_duration_short(float(build.get("wait_s") or 0)),
            show_duration_short(float(build.get("wall_s") or 0)),
            str(build.get("units") or 0),
            show_peak(build.get("peak_kib")),
            Text(show_end(build), STYLES.get(outcome_of(build), "red")),
        )
    return table


def when(began_at: object, now: datetime) -> str:
    """Show local time: `14:03` for today, `Nov 25`, or `2025-11-25` for another year."""
    if not isinstance(began_at, int | float):
        return "-"
    then = datetime.fromtimestamp(began_at)  # noqa: DTZ006  # people want their local time
    if then.date() == now.date():
        return then.strftime("%H:%M")
    return then.strftime("%b %d" if then.year == now.year else "%Y-%m-%d")


def show_peak(peak_kib: object) -> str:
    """Show the largest resident set; `-` when nothing was measured."""
    if not isinstance(peak_kib, int) or not peak_kib:
        return "-"
    return show_bytes(peak_kib * 1024).replace(" ", "")


def show_end(build: Report) -> str:
    """Say in a word or two how a build ended."""
    outcome = outcome_of(build)
    if outcome == Outcome.FAILED:
        return f"exit {build.get('exit')}"
    if outcome == Outcome.SIGNAL:
        return _signal_name(build.get("signal"))
    return plain(outcome)


def outcome_of(build: Report) -> str:
    """Return what became of a build, also of one that an earlier Forge has recorded."""
    if build.get("outcome"):
        return str(build["outcome"])
    if build.get("cancelled"):
        return Outcome.CANCELLED
    if build.get("exit") is not None:
        return Outcome.FAILED if build["exit"] else Outcome.DONE
    return Outcome.UNKNOWN if build.get("signal") is None else Outcome.SIGNAL


def _signal_name(number: object) -> str:
    try:
        return signal.Signals(number).name  # type: ignore[arg-type]  # anything else is refused
    except ValueError:
        return f"signal {plain(number)}"
