"""How the status tells of memory: what is available, what is booked, and whether it is tight."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from forge.core.pressure import Rung
from forge.core.text import printable
from forge.core.units import plural, show_bytes, show_mib

Report = Mapping[str, Any]


def memory_view(report: Report) -> RenderableType:
    """Show the memory in a few lines, the plan last."""
    memory = report.get("memory") or {}
    lines = [Text(_available(memory))]
    if tight := tight_words(memory):
        signs = ", ".join(printable(sign) for sign in memory.get("signs") or ())
        lines.append(Text(tight + (f" ({signs})" if signs else ""), "bold red"))
    if memory.get("buffer"):
        lines.append(Text(_booked(memory["buffer"])))
    lines.append(Text(_planned(report.get("memory_map") or {})))
    return Group(*lines)


def tight_words(memory: Report) -> str:
    """Say which rung of the ladder holds; nothing when none does."""
    rung = memory.get("rung") or Rung.CALM.title
    return "" if rung == Rung.CALM.title else f"tight: {printable(rung)}"


def _available(memory: Report) -> str:
    low_water_bytes = memory.get("low_water_bytes")
    low_water = "" if low_water_bytes is None else f", low water {show_bytes(low_water_bytes)}"
    if memory.get("available_bytes") is None:
        failure = memory.get("failure")
        said = f"cannot be measured: {printable(failure)}" if failure else "not measured yet"
        return said + low_water
    total, available = show_bytes(memory["total_bytes"]), show_bytes(memory["available_bytes"])
    return f"{available} of {total} available{low_water}"


def _booked(buffer: Report) -> str:
    size = show_bytes(int(buffer.get("size_bytes") or 0))
    holders, waiting = int(buffer.get("holders") or 0), int(buffer.get("waiting") or 0)
    booked = "nothing"
    if holders:
        booked = show_bytes(int(buffer.get("booked_bytes") or 0))
    by = f" by {plural(holders, 'holder')}" if holders else ""
    line = f", {waiting} in line" if waiting else ""
    return f"linker buffer: {booked} of {size} booked{by}{line}"


def _planned(memory_map: Report) -> str:
    rows = [
        f"{printable(row['tenant'])} {show_mib(row['size_mib'])}"
        for row in memory_map.get("rows", ())
        if row["size_mib"]
    ]
    return f"planned: {', '.join(rows)}"
