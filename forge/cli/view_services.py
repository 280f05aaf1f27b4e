"""What `forge services status` shows: a table, and the same for programs."""

from collections.abc import Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from forge.cli.render import new_table, plain
from forge.client.services import Standing
from forge.core.units import show_bytes, show_duration

STYLES = {"well": "green", "down": "dim", "not ready": "yellow", "port taken": "bold red"}


def services_view(standings: Sequence[Standing], now_s: float) -> RenderableType:
    """Show services, one line each; `now_s` is seconds since the epoch."""
    table = new_table("service", "state", "pid", "up", "port", "memory", "version", "")
    for one in standings:
        report = report_of(one, now_s)
        uptime_s, used, planned = (
            report["uptime_s"],
            report["memory_bytes"],
            report["planned_bytes"],
        )
        memory = show_bytes(used) if used is not None else ""
        if planned:
            memory = f"{memory or '0 B'} of {show_bytes(planned)}"
        table.add_row(
            plain(one.service.name),
            Text(one.state, STYLES[one.state]),
            str(report["pid"] or ""),
            "" if uptime_s is None else show_duration(uptime_s),
            str(one.service.port or ""),
            memory,
            plain(one.version),
            plain(report["said"]),
        )
    return table


def report_of(one: Standing, now_s: float) -> dict[str, Any]:
    """Return one service as `--json` prints it. Times are seconds, sizes bytes."""
    service, found = one.service, one.found
    started_at = found.started_at if found else None
    said = f"port {service.port} is taken by {one.stranger}" if one.stranger else one.said
    return {
        "name": service.name,
        "title": service.title,
        "state": one.state,
        "ok": one.is_well,
        "runs": service.runs,
        "pid": found.pid if found else None,
        "uptime_s": None if started_at is None else max(0.0, round(now_s - started_at, 1)),
        "port": service.port,
        "ready": one.is_ready,
        "memory_bytes": one.memory_bytes,
        "planned_bytes": one.planned_bytes,
        "version": one.version,
        "said": said,
    }
