"""What `forge services status` shows: a table, and the same for programs."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from forge.cli.render import new_table, plain
from forge.client.services import Standing
from forge.core.units import plural, show_bytes, show_duration

STYLES = {"well": "green", "down": "dim", "not ready": "yellow", "port taken": "bold red"}

Report = Mapping[str, Any]


def services_view(reports: Sequence[Report], now_s: float) -> RenderableType:
    """Show reports of services, one line each; `now_s` is seconds since the epoch."""
    table = new_table("service", "state", "pid", "up", "port", "memory", "version", "last error")
    for one in reports:
        uptime_s = one["uptime_s"]
        table.add_row(
            plain(one["name"]),
            Text(one["state"], STYLES[one["state"]]),
            str(one["pid"] or ""),
            "" if uptime_s is None else show_duration(uptime_s),
            str(one["port"] or ""),
            _memory(one),
            plain(one["version"]),
            plain(_trouble(one, now_s)),
        )
    return table


def report_of(one: Standing, record: Report | None, now_s: float) -> dict[str, Any]:
    """Return one service as `--json` prints it. Times are seconds, sizes bytes.

    `record` is what the daemon knows of it.
    """
    service, found, error = one.service, one.found, one.last_error
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
        "last_error": {"at": error.at, "what": error.what} if error else None,
        "health": (record or {}).get("health"),
        "deaths": (record or {}).get("deaths"),
        "again_in_s": (record or {}).get("again_in_s"),
    }


def _memory(one: Report) -> str:
    used, planned = one["memory_bytes"], one["planned_bytes"]
    held = show_bytes(used) if used is not None else ""
    return f"{held or '0 B'} of {show_bytes(planned)}" if planned else held


def _trouble(one: Report, now_s: float) -> str:
    """Say what is wrong now, what is done about it, and what went wrong last."""
    parts = [one["said"]] if one["said"] else []
    if not one["ok"] and one["health"] == "given up":
        parts.append(f"left alone after {plural(one['deaths'], 'death')}")
    elif not one["ok"] and one["again_in_s"] is not None:
        parts.append(f"started again in {show_duration(one['again_in_s'])}")
    if error := one["last_error"]:
        ago_s = max(0.0, now_s - error["at"])
        parts.append(f"{show_duration(ago_s)} ago: {error['what']}")
    return "; ".join(parts)
