"""The lists of `forge top`: builds, what is at their gates, and the line they wait in.

Each list gets a number of lines, its head included, and uses no more: what does not fit is counted.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from forge.cli.render import plain
from forge.cli.top_choice import Report, project_of

HEAD_STYLE = "reverse"
SELECTED_STYLE = "bold"
MARK = "> "
TOLD_FROM = 3
"""Rows from which a list that is cut says so in a line of its own."""

WIDE = 100
"""Columns from which words are not shortened."""

_NEEDLESS = ("waiting for ", "waiting: ", "waiting ")


@dataclass(frozen=True, slots=True)
class Column:
    """One column, for screens of `from_width` to `below_width`. `ratio`: it takes what is left."""

    head: str
    cell: Callable[[Report], str]
    from_width: int = 0
    below_width: int = 1_000_000
    ratio: int = 0
    max_width: int | None = None
    is_number: bool = False


def page_of(count: int, lines: int, at: int = 0) -> range:
    """Choose the rows for a list of `lines` lines, its head included, so that row `at` is seen.

    Where not all fit and there is room for it, a line is left to say so.
    """
    room = max(0, lines - 1)
    if count <= room:
        return range(count)
    if room >= TOLD_FROM:
        room -= 1
    start = min(at // max(1, room) * room, count - room)
    return range(start, start + room)


def builds_table(
    builds: Sequence[Report], selected: str | None, width: int, lines: int
) -> RenderableType:
    """Show the builds, the selected one with a mark."""
    at = next((n for n, one in enumerate(builds) if one.get("id") == selected), 0)
    table = _table(BUILD_COLUMNS, width)
    rows = page_of(len(builds), lines, at)
    for build in builds[rows.start : rows.stop]:
        style = SELECTED_STYLE if build.get("id") == selected else ""
        table.add_row(*_cells(BUILD_COLUMNS, {**build, "selected": selected}, width), style=style)
    return _with_rest(table, rows, len(builds), lines)


def gates_table(builds: Sequence[Report], width: int, lines: int) -> RenderableType:
    """Show what runs and waits at the gates of some builds: what runs longest comes first."""
    shown = [
        {**one, "build": build.get("id")}
        for build in builds
        for one in (build.get("at_gates") or {}).get("shown") or ()
    ]
    shown.sort(key=lambda one: (not one.get("running"), -float(one.get("since_s") or 0)))
    table = _table(GATE_COLUMNS, width)
    rows = page_of(len(shown), lines)
    for one in shown[rows.start : rows.stop]:
        table.add_row(*_cells(GATE_COLUMNS, one, width))
    return _with_rest(table, rows, sum(_count_at_gates(build) for build in builds), lines)


def line_table(builds: Sequence[Report], width: int, lines: int) -> RenderableType:
    """Show the builds that wait in line, why, and since when."""
    table = _table(LINE_COLUMNS, width)
    rows = page_of(len(builds), lines)
    for build in builds[rows.start : rows.stop]:
        table.add_row(*_cells(LINE_COLUMNS, build, width))
    return _with_rest(table, rows, len(builds), lines)


def short_duration(seconds: float) -> str:
    """Write a duration in at most six characters: `12s`, `3m20s`, `2h05m`, `4d03h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def _mark(build: Report) -> str:
    mark = MARK if build["id"] == build["selected"] else " " * len(MARK)
    return f"{mark}{build['id']}"


def _share(build: Report) -> str:
    share = build.get("share_cores")
    return "-" if share is None else f"{share:.1f}"


def _priority(build: Report) -> str:
    return str(build.get("priority") or "-")


def _tests(build: Report) -> str:
    gates = build.get("gates") or {}
    ended, running = gates.get("tests") or 0, len(gates.get("tests_running") or ())
    return (f"{ended}" if ended else "") + (f"+{running}" if running else "") or "-"


def _count_at_gates(build: Report) -> int:
    at_gates = build.get("at_gates") or {}
    return int(at_gates.get("running") or 0) + int(at_gates.get("waiting") or 0)


def _at_gates(key: str) -> Callable[[Report], str]:
    return lambda build: str((build.get("at_gates") or {}).get(key) or "-")


def _waits_for(build: Report) -> str:
    """Say what a build waits for, or where it stands when that is not at work."""
    if build.get("cancelled"):
        return "cancelled: its end"
    queue = build.get("queue")
    if queue:
        return f"its turn: {queue.get('position')} in line"
    return _short_reason(build.get("wait") or build.get("unit_wait")) or _stands(build)


def _stands(build: Report) -> str:
    return "-" if build.get("phase") == "running" else str(build.get("phase") or "-")


def _short_reason(reason: object) -> str:
    """Return a reason without the words that the head of the column says."""
    text = str(reason or "")
    for needless in _NEEDLESS:
        text = text.removeprefix(needless)
    return text


def _queue(key: str) -> Callable[[Report], Any]:
    return lambda build: (build.get("queue") or {}).get(key)


def _since(report: Report, key: str = "since_s") -> str:
    return short_duration(float(report.get(key) or 0))


BUILD_COLUMNS = (
    Column("  build", _mark),
    Column("project", project_of, ratio=2),
    Column("verb", lambda build: str(build.get("verb") or "-")),
    Column("prio", lambda build: _priority(build)[:5], 70, WIDE),
    Column("priority", lambda build: _priority(build), WIDE),
    Column("share", _share, 70, is_number=True),
    Column("runs", _at_gates("running"), is_number=True),
    Column("waits", _at_gates("waiting"), 50, is_number=True),
    Column("tests", _tests, 60, is_number=True),
    Column("age", lambda build: _since(build, "age_s"), is_number=True),
    Column("waits for", _waits_for, 60, ratio=3),
)
GATE_COLUMNS = (
    Column("  build", lambda one: f"  {one['build']}"),
    Column("at its gates", lambda one: os.path.basename(str(one.get("name") or "?")), ratio=1),
    Column("kind", lambda one: str(one.get("kind") or "-")),
    Column("cores", lambda one: str(one.get("cores") or "-"), 60, is_number=True),
    Column("is", lambda one: "running" if one.get("running") else "waiting", 40),
    Column("for", _since, is_number=True),
)
LINE_COLUMNS = (
    Column("  in line", lambda build: f"  {build['id']}"),
    Column("project", project_of, 70, max_width=24),
    Column(
        "since", lambda build: short_duration(float(_queue("since_s")(build) or 0)), is_number=True
    ),
    Column("waits for", lambda build: _short_reason(_queue("reason")(build)), ratio=1),
)


def _table(columns: Sequence[Column], width: int) -> Table:
    table = Table(
        box=None, expand=True, pad_edge=False, padding=(0, 1, 0, 0), header_style=HEAD_STYLE
    )
    for column in _columns(columns, width):
        table.add_column(
            column.head,
            ratio=column.ratio or None,
            max_width=column.max_width,
            justify="right" if column.is_number else "left",
            no_wrap=True,
            overflow="ellipsis",
        )
    return table


def _columns(columns: Sequence[Column], width: int) -> list[Column]:
    return [one for one in columns if one.from_width <= width < one.below_width]


def _cells(columns: Sequence[Column], row: Report, width: int) -> list[Text]:
    return [Text(plain(one.cell(row))) for one in _columns(columns, width)]


def _with_rest(table: Table, rows: range, count: int, lines: int) -> RenderableType:
    """Add a line that says which rows are shown, where there are more."""
    if len(rows) == count or len(rows) + 1 >= lines:
        return table
    return Group(table, Text(f"  {rows.start + 1}-{rows.stop} of {count}", "dim"))
