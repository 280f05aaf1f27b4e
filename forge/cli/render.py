"""What people see: tables, bars and JSON. Decides nothing and asks nobody.

Colour repeats what words say and never says anything alone. On a terminal, long cells fold; where
the output is not a terminal, each row is one line however long, so that it can be searched.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from forge.core.units import plural, show_bytes, show_duration, show_mib

UNFOLDED_WIDTH = 100_000
BAR_CELLS = 20
NEARLY_FULL = 0.85
FULL = 0.97

Report = Mapping[str, Any]


def console() -> Console:
    """Return where data goes: stdout, with colours only on a terminal that wants them."""
    file = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # lives as long as we
    width = None if file.isatty() else UNFOLDED_WIDTH
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False)


def print_json(value: Any) -> None:
    """Print one JSON value."""
    click.echo(json.dumps(value, indent=2))


def print_lines(renderable: RenderableType, to: Console | None = None) -> None:
    """Print to stdout, without the blanks that tables end their lines with."""
    out = to or console()
    with out.capture() as captured:
        out.print(renderable)
    lines = captured.get().split("\n")
    out.file.write("\n".join(line.rstrip(" ") for line in lines))


def plain(text: object) -> str:
    """Make text harmless to a terminal: what does not print is shown as an escape."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in str(text)
    )


def project_of(build: Report) -> str:
    """Name the project that a build is of, and who has sent it from another machine."""
    name = plain(os.path.basename(str(build.get("root") or build.get("cwd") or "")) or "-")
    client = build.get("client")
    return f"{name}@{plain(client.get('key'))}" if client else name


def new_grid() -> Table:
    """Return a table of labels and values."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def new_table(*heads: str) -> Table:
    """Return a table whose long cells fold."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold")
    return table


def disk_view(disk: Report) -> RenderableType:
    """Show the disk: what and where it is, how full, and what its kind does not guarantee."""
    lines: list[Text] = [Text(_disk_line(disk))]
    if disk.get("total_bytes"):
        lines.append(use_bar(disk))
    if disk.get("high_water_bytes") is not None:
        lines.append(_high_water(disk))
    if disk.get("failure"):
        hint = f" ({plain(disk['hint'])})" if disk.get("hint") else ""
        what = "the last change failed" if disk.get("phase") == "mounted" else "failed"
        lines.append(Text(f"{what}: {plain(disk['failure'])}{hint}", "red"))
    if disk.get("read_only"):
        lines.append(Text("it is read-only: builds go to the SSD (`forge disk recreate`)", "red"))
    lines += [Text(f"note: {plain(caveat)}", "yellow") for caveat in disk.get("caveats") or ()]
    return Group(*lines)


def _high_water(disk: Report) -> Text:
    """Say how much memory a disk keeps that gives none back, and when that is much."""
    kept = f"it keeps the most that it held: {show_bytes(int(disk['high_water_bytes']))}"
    if not disk.get("bloated"):
        return Text(kept)
    return Text(f"{kept}; `forge disk recreate` gives that back, and empties it", "yellow")


def swap_view(cgroup: Report, memory: Report) -> RenderableType:
    """Show whether builds can be swapped out, and what has been since the disk was mounted."""
    if cgroup.get("directory"):
        ceiling = cgroup.get("ceiling_bytes")
        below = f", below a ceiling of {show_bytes(ceiling)}" if ceiling else ""
        state = "off" if cgroup.get("swap_off") else "on"
        lines = [Text(f"{state} for builds{below}")]
    else:
        reason = cgroup.get("failure") or "they have no cgroup"
        lines = [Text(f"builds can be swapped: {plain(reason)}")]
    swapped_bytes = memory.get("swapped_out_since_mount_bytes")
    if swapped_bytes is not None:
        since = f"{show_bytes(swapped_bytes)} of the machine since the RAM disk was mounted"
        lines.append(Text(f"swapped out: {since}", "yellow" if swapped_bytes else ""))
    lines += [Text(f"note: {plain(caveat)}", "yellow") for caveat in cgroup.get("caveats") or ()]
    return Group(*lines)


def use_bar(disk: Report) -> Text:
    """Show how full the disk is, as a bar, a share and bytes."""
    total, used = int(disk["total_bytes"]), int(disk.get("used_bytes") or 0)
    share = min(1.0, used / total)
    filled = round(share * BAR_CELLS)
    word, style = "", "green"
    if share >= FULL:
        word, style = ", full", "bold red"
    elif share >= NEARLY_FULL:
        word, style = ", nearly full", "yellow"
    line = Text("[")
    line.append("#" * filled, style).append("-" * (BAR_CELLS - filled), "dim").append("] ")
    free = show_bytes(int(disk.get("free_bytes") or 0))
    files = plural(int(disk.get("used_files") or 0), "file")
    line.append(f"{share:.0%} used{word}: {show_bytes(used)}, {free} free, {files}")
    return line


def target_dirs_view(target_dirs: Sequence[Report], *, paths: bool = False) -> RenderableType:
    """Show the target dirs, the one used last first; `paths` shows where each is."""
    if not target_dirs:
        return Text("no target dirs on the RAM disk")
    heads = ["project", "size", "last used", "in use by"] + (["target dir"] if paths else [])
    table = new_table(*heads)
    table.columns[1].justify = "right"
    for one in target_dirs:
        cells = [
            plain(one.get("root") or "unknown"),
            "not measured" if one.get("size_bytes") is None else show_bytes(one["size_bytes"]),
            f"{show_duration(float(one.get('age_s') or 0))} ago",
            ", ".join(plain(build) for build in one.get("in_use_by") or ()) or "-",
        ]
        table.add_row(*cells, *([plain(one.get("path"))] if paths else []))
    return table


def daemon_line(report: Report) -> str:
    """Say in one line who the daemon is."""
    parts = [
        f"pid {report.get('pid')}",
        f"up {show_duration(float(report.get('uptime_s') or 0))}",
        f"version {plain(report.get('version'))}",
    ]
    return ", ".join(parts + (["it is ending"] if report.get("stopping") else []))


def settings_view(rows: Iterable[tuple[str, str, str]]) -> RenderableType:
    """Show settings: key, value in force, and where that comes from."""
    table = new_table("setting", "value", "from")
    for key, value, source in rows:
        table.add_row(key, plain(value), plain(source))
    return table


def decision_line(entry: Mapping[str, Any]) -> Text:
    """Show one line of the decision log: time, decision, and the numbers behind it."""
    line = Text(_local_time(str(entry.get("at", ""))))
    line.append(f"  {plain(entry.get('decision', '?'))}", "bold")
    for name, value in entry.items():
        if name in ("at", "decision"):
            continue
        shown = value if isinstance(value, str) else json.dumps(value)
        if name == "traceback":
            line.append("\n" + str(value).rstrip())
            continue
        quoted = json.dumps(shown, ensure_ascii=False) if " " in shown or not shown else shown
        line.append(f"  {plain(name)}=", "dim").append(plain(quoted))
    return line


def _disk_line(disk: Report) -> str:
    phase = disk.get("phase")
    if phase == "off":
        return 'off: disk.kind is "none", or no memory is left for it'
    place = plain(disk.get("mount_point") or "?")
    if phase == "absent":
        return f"not mounted; the next build mounts it at {place}"
    kind = f", {disk['kind']}" if disk.get("kind") else ""
    size = f", {show_mib(disk['size_mib'])}" if disk.get("size_mib") else ""
    node = f" on {plain(disk['node'])}" if disk.get("node") else ""
    return f"{phase}{kind}{size} at {place}{node}"


def _local_time(at: str) -> str:
    try:
        return datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    except ValueError:
        return plain(at)
