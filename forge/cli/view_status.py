"""What `forge status` shows."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from forge.cli.render import (
    Report,
    daemon_line,
    disk_view,
    new_grid,
    new_table,
    plain,
    project_of,
    swap_view,
    target_dirs_view,
)
from forge.cli.view_inference import inference_view
from forge.cli.view_memory import memory_view
from forge.core.units import plural, show_bytes, show_duration, show_duration_short, show_mib


def status_view(report: Report) -> RenderableType:
    """Show the whole status object."""
    head = new_grid()
    builds = report.get("builds") or ()
    inference = report.get("inference") or {}
    shown = [("inference", inference_view(inference))] if _has_inference(report) else []
    for label, value in (
        ("RAM disk", disk_view(report.get("disk") or {})),
        ("memory", memory_view(report)),
        *shown,
        ("swap", swap_view(report.get("cgroup") or {}, report.get("memory") or {})),
        ("cores", Text(_cores_line(report))),
        ("gates", Text(_gates_line(report.get("shim") or {}))),
        ("daemon", Text(daemon_line(report))),
    ):
        head.add_row(Text(label, "bold"), value)
    held = [held_line(report)] if report.get("held") else []
    return Group(
        head,
        Text(),
        *held,
        builds_view(builds),
        Text(),
        *reservations_view(report.get("reservations") or ()),
        target_dirs_view(report.get("target_dirs") or ()),
    )


def _has_inference(report: Report) -> bool:
    """Say whether there is a server, or a model that memory is planned for."""
    servers = (report.get("inference") or {}).get("servers") or ()
    rows = (report.get("memory_map") or {}).get("rows") or ()
    is_planned = any(row.get("key") == "model" and row.get("size_mib") for row in rows)
    return is_planned or any(one.get("state") != "absent" for one in servers)


def builds_view(builds: Sequence[Report]) -> RenderableType:
    """Show the builds that run or wait, and below them what each waits for and who sent it."""
    if not builds:
        return Text("no build is under way")
    table = new_table(
        "build", "verb", "project", "priority", "phase", "for", "share", "tokens", "at its gates"
    )
    for index in (0, 3, 5, 6, 7):
        table.columns[index].no_wrap = True
    for build in builds:
        share = build.get("share_cores")
        table.add_row(
            plain(build.get("id")),
            plain(build.get("verb") or "-"),
            project_of(build),
            plain(build.get("priority") or "-"),
            _phase(build),
            show_duration_short(float(build.get("phase_s") or 0)),
            "-" if share is None else f"{share:.1f}",
            _tokens(build.get("tokens")),
            _at_gates(build.get("gates") or {}),
        )
    waits = [line for build in builds for line in _waits(build)]
    return Group(table, *([Text(), *waits] if waits else []))


def reservations_view(reservations: Sequence[Report]) -> list[RenderableType]:
    """Show what is reserved for commands, or waited for; nothing when nothing is."""
    if not reservations:
        return []
    table = new_table("reservation", "name", "memory", "uses", "cores", "for", "waits for")
    for one in reservations:
        table.add_row(
            plain(one.get("id")),
            plain(one.get("name")),
            show_mib(int(one.get("memory_mib") or 0)),
            show_bytes(int(one["used_bytes"])) if one.get("used_bytes") else "-",
            str(one.get("cores") or "-"),
            show_duration(float(one.get("since_s") or 0)),
            plain(one.get("wait") or "-"),
        )
    return [table, Text()]


def held_line(report: Report) -> Text:
    """Say that the machine is held, and how it goes on."""
    since = show_duration(float(report.get("held_s") or 0))
    return Text(f"the machine is held (for {since}): `forge resume` lets builds go on", "yellow")


def _phase(build: Report) -> str:
    if build.get("cancelled"):
        return "being cancelled"
    queue = build.get("queue")
    place = f" ({queue['position']})" if queue else ""
    return plain(build.get("phase")) + place


def _tokens(tokens: Report | None) -> str:
    """Say how many job tokens a build uses of those that it was granted."""
    return f"{tokens['used']}/{tokens['granted']}" if tokens else "-"


def _at_gates(gates: Report) -> str:
    """Say what of a build is behind its gates now."""
    counts = [
        plural(len(gates.get(key) or ()), noun)
        for key, noun in (
            ("units_running", "unit"),
            ("links_running", "link"),
            ("tests_running", "test"),
        )
        if gates.get(key)
    ]
    waiting = _waiting(gates)
    return ", ".join(counts + ([f"{waiting} waiting"] if waiting else [])) or "-"


def _waiting(gates: Report) -> int:
    return len(gates.get("units_waiting") or ()) + len(gates.get("tests_waiting") or ())


def _waits(build: Report) -> list[Text]:
    name = plain(build.get("id"))
    lines = [Text(f"{name}: {plain(build['wait'])}")] if build.get("wait") else []
    if client := build.get("client"):
        lines.append(Text(f"{name}: sent by {plain(client['key'])} from {plain(client['from'])}"))
    if build.get("unit_wait"):
        gates = build.get("gates") or {}
        count = plural(max(1, _waiting(gates)), "unit")
        lines.append(Text(f"{name}: {count} {plain(build['unit_wait'])}"))
    return lines


def _cores_line(report: Report) -> str:
    budget = report.get("budget") or {}
    capacity = budget.get("capacity") or report.get("cores") or 0
    waiting = budget.get("waiting") or 0
    busy = f"{budget.get('running_cores') or 0} of {capacity} busy"
    return busy + (f", {plural(waiting, 'unit')} waiting" if waiting else "")


def _gates_line(shim: Report) -> str:
    phase = plain(shim.get("phase") or "unknown")
    if phase == "unknown":
        return "not needed yet"
    return f"{phase}: {plain(shim['failure'])}" if shim.get("failure") else phase
