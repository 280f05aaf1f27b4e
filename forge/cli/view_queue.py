"""What `forge queue` shows: who waits, in order, and what runs beside it."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from forge.cli.render import Report, new_table, plain, project_of
from forge.cli.view_status import held_line
from forge.core.builds import BuildPhase
from forge.core.units import plural, show_duration_short

FOR = {
    BuildPhase.QUEUED: "its turn",
    BuildPhase.WAITING_FOR_TARGET_DIR: "the target dir",
}
SHOWN_KEYS = (
    "id", "verb", "profile", "root", "cwd", "priority", "phase", "phase_s", "age_s", "queue",
)  # fmt: skip


def queue_report(status: Report) -> dict[str, Any]:
    """Pick what `forge queue --json` prints out of the status object."""
    builds = [{key: build.get(key) for key in SHOWN_KEYS} for build in status.get("builds") or ()]
    waiting = [build for build in builds if build["queue"]]
    return {
        "held": bool(status.get("held")),
        "held_s": status.get("held_s"),
        "limit": status.get("limit"),
        "waiting": sorted(waiting, key=lambda build: int(build["queue"]["position"])),
        "beside": [build for build in builds if not build["queue"]],
    }


def queue_view(queue: Report) -> RenderableType:
    """Show the queue."""
    waiting, beside = queue["waiting"], queue["beside"]
    parts: list[RenderableType] = [held_line(queue)] if queue["held"] else []
    if waiting:
        parts += [_waiting_table(waiting, is_held=queue["held"]), Text()]
    else:
        parts.append(Text("nobody waits"))
    count = plural(len(beside), "build") if beside else "no build"
    parts.append(Text(f"{count} at work, at most {queue.get('limit') or '?'} at once"))
    if beside:
        parts.append(_beside_table(beside))
    return Group(*parts)


def _waiting_table(waiting: list[Report], *, is_held: bool) -> RenderableType:
    table = new_table("", "build", "project", "verb", "priority", "since", "for", "ahead")
    for index in (0, 1, 4, 5):
        table.columns[index].no_wrap = True
    for build in waiting:
        queue = build["queue"]
        what = FOR.get(build["phase"], plain(build["phase"]))
        is_stopped = is_held and build["phase"] == BuildPhase.QUEUED
        table.add_row(
            str(queue["position"]),
            plain(build["id"]),
            project_of(build),
            plain(build.get("verb") or "-"),
            plain(build.get("priority") or "-"),
            f"{show_duration_short(float(queue['since_s']))} ago",
            "`forge resume`" if is_stopped else what,
            ", ".join(map(plain, queue["ahead"])) or "-",
        )
    return table


def _beside_table(builds: list[Report]) -> RenderableType:
    table = new_table("build", "project", "verb", "priority", "phase", "for")
    for build in builds:
        table.add_row(
            plain(build["id"]),
            project_of(build),
            plain(build.get("verb") or "-"),
            plain(build.get("priority") or "-"),
            plain(build["phase"]),
            show_duration_short(float(build.get("phase_s") or 0)),
        )
    return table
