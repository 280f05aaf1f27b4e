"""What people see of snapshots, and of target directories that could be moved."""

import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from forge.cli.render import Report, new_table, plain
from forge.client.adoptable import Adoptable
from forge.core.units import plural, show_bytes, show_duration


def snapshots_view(reply: Report) -> RenderableType:
    """Show the snapshots, newest first, and what they take together."""
    found = reply.get("results") or []
    where = Text(_summary(reply, len(found)))
    if not found:
        return where
    table = new_table("snapshot", "project", "saved", "size", "files", "on the SSD", "toolchain")
    for column in (3, 4, 5):
        table.columns[column].justify = "right"
    for one in found:
        table.add_row(
            plain(one["id"]),
            plain(one.get("root") or one["name"]),
            datetime.fromtimestamp(one["at"]).astimezone().strftime("%Y-%m-%d %H:%M"),
            show_bytes(one["size_bytes"]),
            str(one["files"]),
            show_bytes(one["base_bytes"] + one["own_bytes"]),
            plain(one.get("toolchain") or "-"),
        )
    return Group(table, where)


def _summary(reply: Report, count: int) -> str:
    together = show_bytes(int(reply.get("total_bytes") or 0))
    most = show_bytes(int(reply.get("most_bytes") or 0))
    how = "" if reply.get("by_itself") else "; none is saved by itself"
    where = plain(reply.get("directory") or "?")
    return f"{plural(count, 'snapshot')}, {together} of {most} in {where}{how}"


def adoptable_view(found: Sequence[Adoptable]) -> RenderableType:
    """Show target directories: where, how large, how old."""
    table = new_table("target directory", "size", "files", "last used")
    table.columns[1].justify = table.columns[2].justify = "right"
    for one in found:
        age = f"{show_duration(one.age_s)} ago"
        table.add_row(plain(one.path), show_bytes(one.size_bytes), str(one.files), age)
    return table


def result_line(result: dict[str, Any]) -> str:
    """Say what a task has done, in a line."""
    project = plain(result.get("root") or os.path.basename(str(result.get("target_dir"))))
    task, saved = result.get("task"), result.get("snapshot")
    size, took = show_bytes(int(result["size_bytes"])), show_duration(float(result["took_s"]))
    if task in ("save", "keep"):
        if saved is None:
            return f"{project}: nothing has changed since its newest snapshot"
        stored = show_bytes(saved["base_bytes"] + saved["own_bytes"])
        left_out = f"; {saved['left_out']} left out" if saved.get("left_out") else ""
        return f"{project}: snapshot {saved['id']}, {size} in {stored}, {took}{left_out}"
    if not result["size_bytes"]:
        return f"{project}: {plain(result.get('target_dir'))} is there already; nothing was done"
    done = {"restore": "restored to", "adopt": "moved to", "disown": "moved to"}[str(task)]
    place = result["source"] if task == "disown" else result["target_dir"]
    return f"{project}: {size} {done} {plain(place)}, {took}"
