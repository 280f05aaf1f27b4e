"""How target dirs and their parts are shown."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from forge.cli.render import new_table, plain
from forge.core.units import plural, show_bytes, show_duration

Report = dict[str, Any]


def target_dir_view(one: Report) -> RenderableType:
    """Show one target dir."""
    size = one.get("size_bytes")
    held = (
        "not measured" if size is None else f"{show_bytes(size)} in {plural(one['files'], 'file')}"
    )
    lines = [
        f"target dir   {one['path']}",
        f"project      {one.get('root') or 'unknown'}",
        f"mode         {one.get('mode')}",
        f"size         {held}",
        f"last used    {show_duration(float(one.get('age_s') or 0))} ago",
    ]
    last = one.get("last")
    if last:
        lines.append(
            f"by           {last['build']}, `cargo {last['verb']}` ({last['profile']}),"
            f" {last['priority']}, by {last['who']} through `{last['via']}`"
        )
    lines.append(f"builds       {one.get('builds')}")
    if one.get("in_use_by"):
        lines.append(f"in use by    {', '.join(one['in_use_by'])}")
    shown: list[RenderableType] = [Text(plain(line)) for line in lines]
    if one.get("parts"):
        shown += [Text(), parts_view(one["parts"])]
    if one.get("toolchains"):
        shown += [Text(), toolchains_view(one["toolchains"])]
    return Group(*shown)


def parts_view(parts: Sequence[Report]) -> RenderableType:
    """Show what takes the room in one target dir, the largest first."""
    table = new_table("profile", "part", "size", "files")
    for number in (2, 3):
        table.columns[number].justify = "right"
    for one in parts:
        cells = [plain(one["place"]) or "-", plain(one["kind"]), show_bytes(one["size_bytes"])]
        table.add_row(*cells, str(one["files"]))
    return table


def toolchains_view(toolchains: Sequence[Report]) -> RenderableType:
    """Show whose rustc made what, the one used last first."""
    table = new_table("rustc", "profile", "size", "units")
    for number in (2, 3):
        table.columns[number].justify = "right"
    for one in toolchains:
        name = one.get("version") or f"another ({one['rustc']})"
        table.add_row(
            plain(name), plain(one["place"]), show_bytes(one["size_bytes"]), str(one["units"])
        )
    return table


def sizes_view(target_dirs: Sequence[Report]) -> RenderableType:
    """Show the sizes of all target dirs, and their sum."""
    table = new_table("size", "files", "last used", "project")
    for number in (0, 1):
        table.columns[number].justify = "right"
    for one in target_dirs:
        size = one.get("size_bytes")
        table.add_row(
            "not measured" if size is None else show_bytes(size),
            str(one.get("files") or 0),
            f"{show_duration(float(one.get('age_s') or 0))} ago",
            plain(one.get("root") or one.get("path")),
        )
    total = sum(one.get("size_bytes") or 0 for one in target_dirs)
    files = sum(one.get("files") or 0 for one in target_dirs)
    told = f"{show_bytes(total)} in {plural(files, 'file')}"
    return Group(table, Text(f"{told} of {plural(len(target_dirs), 'target dir')}"))
