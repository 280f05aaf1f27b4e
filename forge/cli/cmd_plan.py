"""`forge plan`: who gets how much of the memory, and what is used of it now."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from forge import paths
from forge.cli.commands import Call, examples, json_option, pass_call
from forge.cli.questions import ask_status, say
from forge.cli.render import console, plain, print_json, print_lines
from forge.cli.view_plan import plan_view
from forge.client import inference, this_machine
from forge.config import Config, load, memory_map
from forge.core.disk import DiskKind
from forge.core.memory_map import MemoryMap, Row, Tenancy
from forge.core.memory_watch import proposed_low_water_bytes
from forge.core.plan import MachineUse, Plan, TenantUse
from forge.core.units import MIB
from forge.errors import ConfigInvalid, DaemonUnreachable


@click.command(
    epilog=examples(
        "forge plan",
        "forge plan --host docs/examples/reference-host.toml",
        "forge plan --json | jq .left_bytes",
    )
)
@click.option(
    "--host", "file", metavar="FILE", help="Plan for the machine that FILE, a forge.toml, tells of."
)
@json_option
@pass_call
def plan(call: Call, file: str | None) -> None:
    """Show who gets how much memory, and who has it.

    The memory map, and beside it what is used now, what is promised and not yet touched, and what
    is left above the low water. Never starts a daemon: when none runs, there is the map alone, of
    forge.toml and of what this machine has.

    FILE must set host.memory; no daemon is asked about it.
    """
    found, why_not = _of_host(file) if file else _of_this_machine(call)
    warning = "" if file else _warning(call, found.memory_map)
    if call.as_json:
        print_json({**_as_json(found, why_not, file), "warning": warning or None})
    else:
        title = plain(file) if file else "this machine"
        print_lines(plan_view(found, title, plain(why_not or ""), console().width))
        if warning:
            say(f"warning: {warning}")


def _warning(call: Call, memory_map: MemoryMap) -> str:
    """Say what the map does not know of the configured models."""
    try:
        return inference.found(load(Path(paths.config_file(call.env)))).warning_beside(memory_map)
    except ConfigInvalid as error:
        return error.message  # a daemon keeps the map that held before


def _of_host(file: str) -> tuple[Plan, str | None]:
    place = Path(file)
    if not place.exists():
        raise ConfigInvalid(f"{file}: there is no such file")
    cfg = load(place)
    total_mib = cfg["host.memory"]
    if total_mib is None:
        raise ConfigInvalid(
            f"{file}: it does not set `host.memory`",
            hint='write how much that machine has, such as memory = "64GiB" below [host]',
        )
    return _planned(cfg, total_mib, file), f"{file} tells of another machine"


def _of_this_machine(call: Call) -> tuple[Plan, str | None]:
    """Return the daemon's plan, or else that of forge.toml, and why nothing was measured."""
    try:
        report = ask_status(call)
    except DaemonUnreachable as error:
        file = paths.config_file(call.env)
        cfg = load(Path(file))
        total_mib = cfg["host.memory"] or this_machine.memory_mib()
        hint = f" ({error.hint})" if error.hint else ""
        found_mib = inference.found(cfg).mib
        return _planned(cfg, total_mib, file, found_mib), error.message + hint
    finally:
        call.failure_fields = {}
    found = plan_of(report)
    if found.use:
        return found, None
    return found, (report.get("memory") or {}).get("failure") or "the daemon has not measured yet"


def _planned(
    cfg: Config, total_mib: int, file: str, found_mib: Mapping[str, int] | None = None
) -> Plan:
    rows = memory_map(cfg, total_mib, file, found_mib)
    low_water_mib = cfg["host.low_water"]
    if low_water_mib is None:
        return Plan(rows, proposed_low_water_bytes(total_mib * MIB))
    return Plan(rows, low_water_mib * MIB)


def plan_of(report: Mapping[str, Any]) -> Plan:
    """Read a plan from the status of a daemon."""
    told, memory = report["memory_map"], report.get("memory") or {}
    rows = MemoryMap(
        told["total_mib"],
        tuple(
            Row(row["key"], row["tenant"], row["size_mib"], Tenancy(row["kind"]))
            for row in told["rows"]
        ),
    )
    low_water_bytes = memory.get("low_water_bytes")
    if low_water_bytes is None:
        low_water_bytes = proposed_low_water_bytes(rows.total_mib * MIB)
    if memory.get("total_bytes") is None:
        return Plan(rows, low_water_bytes)
    buffer = memory["buffer"]
    untouched_bytes = buffer["untouched_bytes"]
    use = MachineUse(
        memory["total_bytes"],
        memory["available_bytes"],
        _disk_use(report.get("disk") or {}),
        TenantUse(max(0, buffer["booked_bytes"] - untouched_bytes), untouched_bytes),
        *_inference_use(report.get("inference") or {}),
    )
    return Plan(rows, low_water_bytes, use)


def _inference_use(inference: Mapping[str, Any]) -> tuple[TenantUse | None, TenantUse | None]:
    """Return what models have, drafts among them, and what their servers have beside that."""
    here = [one for one in inference.get("servers") or () if one.get("expected_bytes")]
    if not here:
        return None, None
    model_bytes = sum(one["expected_bytes"] for one in here)
    context_bytes = sum(one.get("anonymous_bytes") or 0 for one in here)
    return TenantUse(model_bytes), TenantUse(context_bytes, inference.get("promised_bytes") or 0)


def _disk_use(disk: Mapping[str, Any]) -> TenantUse:
    """Return what the RAM disk takes of the memory: a directory on the SSD takes none."""
    if disk.get("kind") in (None, DiskKind.DIRECTORY) or not disk.get("total_bytes"):
        return TenantUse(0)
    used_bytes = disk.get("used_bytes") or 0
    return TenantUse(used_bytes, max(0, disk["total_bytes"] - used_bytes))


def _as_json(found: Plan, why_not: str | None, file: str | None) -> dict[str, Any]:
    use = found.use
    return {
        "host_file": file,
        "total_mib": found.memory_map.total_mib,
        "rows": [
            {
                "key": row.key,
                "tenant": row.tenant,
                "kind": row.kind,
                "size_mib": row.size_mib,
                "setting": row.setting,
                "used_bytes": tenant.used_bytes if tenant else None,
                "promised_bytes": tenant.promised_bytes if tenant else None,
            }
            for row, tenant in found.rows()
        ],
        "low_water_bytes": found.low_water_bytes,
        "total_bytes": use.total_bytes if use else None,
        "available_bytes": use.available_bytes if use else None,
        "promised_bytes": use.promised_bytes if use else None,
        "left_bytes": use.left_bytes(found.low_water_bytes) if use else None,
        "not_measured": why_not,
    }
