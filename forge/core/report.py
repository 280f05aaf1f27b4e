"""The status object: what `forge status --json` prints and the CLI renders."""

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from forge.core.gates import Tally
from forge.core.moment import Moment
from forge.core.priority import priority_of
from forge.core.start import without_secrets
from forge.core.waits import Standing

if TYPE_CHECKING:
    from forge.core.state import State


def status_report(state: "State", now: Moment) -> dict[str, Any]:
    """Build the status object. Sizes are bytes unless named `_mib`, times seconds."""
    users: dict[str, list[str]] = {}
    standings = {one.build: one for one in state.gates.budget.report()}
    for build in state.builds.values():
        if build.target_dir:
            users.setdefault(build.target_dir, []).append(build.id)
    started = state.started_at or now
    return {
        "uptime_s": round(now.steady_s - started.steady_s, 1),
        "stopping": state.stopping,
        "config_file": state.settings.config_file,
        "cores": state.settings.cores,
        "memory_map": {
            "total_mib": state.settings.memory_map.total_mib,
            "rows": [
                {"key": row.key, "tenant": row.tenant, "size_mib": row.size_mib, "kind": row.kind}
                for row in state.settings.memory_map.rows
            ],
        },
        "disk": disk_report(state),
        "shim": {
            "phase": state.shim.phase,
            "key": state.shim.shim.key if state.shim.shim else None,
            "failure": state.shim.failure,
        },
        "target_dirs": [
            {
                "path": one.path,
                "project": os.path.basename(one.root) if one.root else None,
                "root": one.root,
                "size_bytes": one.size_bytes,
                "files": one.files,
                "created_at": one.created_at,
                "last_used_at": one.last_used_at,
                "age_s": max(0.0, round(now.wall_s - one.last_used_at, 1)),
                "builds": one.builds,
                "in_use_by": users.get(one.path, []),
            }
            for one in sorted(state.target_dirs.values(), key=lambda one: -one.last_used_at)
        ],
        "builds": [
            {
                "id": build.id,
                "phase": build.phase,
                "phase_s": round(now.steady_s - build.since, 1),
                "verb": build.args.verb,
                "argv": without_secrets(build.args.argv),
                "cwd": build.cwd,
                "root": build.root,
                "target_dir": build.target_dir,
                "pid": build.pid,
                "cargo_pid": build.cargo_pid,
                "via": build.via,
                "interactive": build.interactive,
                "parent": build.parent,
                "began_at": build.began_at,
                "priority": priority_of(build),
                "share_cores": _share(standings.get(build.id)),
                "gates": _gates_report(state, build.id),
            }
            for build in state.builds.values()
        ],
    }


def disk_report(state: "State") -> dict[str, Any]:
    """Build the part of the status that tells of the disk."""
    life, spec = state.disk, state.settings.disk
    disk, usage = life.disk, life.usage
    return {
        "phase": life.phase if spec or disk else "off",
        "kind": disk.kind if disk else None,
        "mount_point": disk.mount_point if disk else (spec.mount_point if spec else None),
        "node": disk.node if disk else None,
        "adopted": disk.adopted if disk else False,
        "wanted_mib": spec.size_mib if spec else None,
        "size_mib": disk.size_mib if disk else None,
        "total_bytes": usage.total_bytes if usage else None,
        "used_bytes": usage.used_bytes if usage else None,
        "free_bytes": usage.free_bytes if usage else None,
        "total_files": usage.total_files if usage else None,
        "used_files": usage.used_files if usage else None,
        "caveats": list(disk.caveats) if disk else [],
        "failure": life.failure,
        "hint": life.hint,
    }


def _share(standing: Standing | None) -> float | None:
    return round(standing.share_cores, 2) if standing else None


def _gates_report(state: "State", build_id: str) -> dict[str, Any]:
    running = state.gates.running_of(build_id)
    tally = state.gates.tallies.get(build_id, Tally())
    return {
        "units_running": [one.what for one in running if not one.is_link],
        "units_waiting": [one.what for one in state.gates.waiting_of(build_id)],
        "links_running": [one.what for one in running if one.is_link],
        **asdict(tally),
    }
