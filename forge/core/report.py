"""The status object: what `forge status --json` prints and the CLI renders."""

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from forge.core.behind import Behind, What
from forge.core.builds import Build
from forge.core.history import Tally
from forge.core.inference_report import inference_report
from forge.core.moment import Moment
from forge.core.start import without_secrets
from forge.core.target_dirs import TargetDir
from forge.core.waits import Standing

if TYPE_CHECKING:
    from forge.core.state import State

SHOWN_AT_GATES = 50
"""So much of what stands at one build's gates is told one by one; the rest is counted."""


def status_report(state: "State", now: Moment) -> dict[str, Any]:
    """Build the status object. Sizes are bytes unless named `_mib`, times seconds."""
    users: dict[str, list[str]] = {}
    standings = {one.build: one for one in state.gates.budget.report()}
    behind = _behind_by_build(state)
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
        "memory": memory_report(state),
        "cgroup": state.cgroup.report(),
        "inference": inference_report(state, now),
        "disk": disk_report(state),
        "shim": {
            "phase": state.shim.phase,
            "key": state.shim.shim.key if state.shim.shim else None,
            "failure": state.shim.failure,
        },
        "target_dirs": [
            target_dir_report(one, users.get(one.path, []), now)
            for one in sorted(state.target_dirs.values(), key=lambda one: -one.last_used_at)
        ],
        "spilled": state.spills.report(),
        "held": state.steering.held_since_s is not None,
        "held_s": _since(state.steering.held_since_s, now),
        "limit": state.line.admission.limit,
        "budget": _budget_report(state),
        "reservations": state.reserved.report(now),
        "services": state.services.report(now),
        "builds": [
            _build_report(state, build, standings.get(build.id), behind.get(build.id, []), now)
            for build in state.builds.values()
        ],
    }


def target_dir_report(one: TargetDir, users: list[str], now: Moment) -> dict[str, Any]:
    """Build what is told of one target dir; `users` are the builds that are at work in it."""
    return {
        "path": one.path,
        "project": os.path.basename(one.root) if one.root else None,
        "root": one.root,
        "size_bytes": one.size_bytes,
        "files": one.files,
        "created_at": one.created_at,
        "last_used_at": one.last_used_at,
        "age_s": max(0.0, round(now.wall_s - one.last_used_at, 1)),
        "builds": one.builds,
        "in_use_by": users,
    }


def memory_report(state: "State") -> dict[str, Any]:
    """Build the part of the status that tells of memory: measured, booked, and where we stand."""
    watch, reservations = state.memory, state.gates.memory.reservations
    reading, inference = watch.reading, state.inference
    return {
        "total_bytes": reading.total_bytes if reading else None,
        "available_bytes": watch.beside.available_bytes if watch.beside else None,
        "claimed_bytes": sum(claim.total_bytes for claim in inference.claims()),
        "promised_bytes": inference.promised_bytes,
        "low_water_bytes": watch.low_water_bytes,
        "falling_bytes_per_s": round(watch.fall_bytes_per_s),
        "swap_used_bytes": reading.swap.used_bytes if reading else None,
        "swapped_out_since_mount_bytes": watch.swapped.since_mount_bytes,
        "rung": watch.ladder.rung.title,
        "signs": list(watch.tightness.signs.values()),
        "missing": [f"{one.what}: {one.reason}" for one in reading.missing] if reading else [],
        "failure": watch.failure,
        "buffer": {
            "size_bytes": reservations.buffer_bytes,
            "booked_bytes": reservations.booked_bytes,
            "untouched_bytes": reservations.untouched_bytes,
            "room_bytes": max(0, reservations.room_bytes),
            "holders": sum(not one.is_beside for one in reservations.holders()),
            "waiting": reservations.waiting_count,
        },
        "beside_buffer_bytes": reservations.beside_bytes,
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
        "high_water_bytes": state.bloat.high_water_bytes,
        "bloated": state.bloat.is_bloated,
        "read_only": life.is_read_only,
        "caveats": list(disk.caveats) if disk else [],
        "failure": life.failure,
        "hint": life.hint,
    }


def _budget_report(state: "State") -> dict[str, Any]:
    budget = state.gates.budget
    return {
        "capacity": budget.capacity,
        "running_cores": budget.running_cores,
        "waiting": sum(one.started_s is None for one in state.gates.behind.values()),
        "threads": sum(state.jobservers.threads.values()),
    }


def _behind_by_build(state: "State") -> dict[str, list[Behind]]:
    found: dict[str, list[Behind]] = {}
    for one in state.gates.behind.values():
        found.setdefault(one.build, []).append(one)
    return found


def _build_report(
    state: "State", build: Build, standing: Standing | None, behind: list[Behind], now: Moment
) -> dict[str, Any]:
    return {
        "id": build.id,
        "phase": build.phase,
        "phase_s": round(now.steady_s - build.since, 1),
        "age_s": round(now.steady_s - build.began_steady_s, 1),
        "verb": build.args.verb,
        "profile": build.args.profile,
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
        "priority": build.priority,
        "client": build.client,
        "cancelled": build.is_cancelled,
        "in_cgroup": build.is_in_cgroup,
        "own_limit": build.own_limit,
        "share_cores": round(standing.share_cores, 2) if standing else None,
        "queue": _queue_report(state, build, now),
        "wait": state.launches.wait_reason(build, now),
        "unit_wait": _unit_wait(state, behind, now),
        "at_gates": _at_gates_report(behind, now),
        "gates": _gates_report(state, build.id, behind),
        "tokens": state.jobservers.report(build.id),
    }


def _queue_report(state: "State", build: Build, now: Moment) -> dict[str, Any] | None:
    line = state.line.in_order()
    if build not in line:
        return None
    return {
        "position": line.index(build) + 1,
        "reason": state.line.reason(build, now),
        "since_s": round(now.steady_s - build.since, 1),
        "ahead": list(state.line.ahead(build)),
    }


def _unit_wait(state: "State", behind: list[Behind], now: Moment) -> str | None:
    waiting = next((one for one in behind if one.started_s is None), None)
    return state.gates.why_waits(waiting, now) if waiting else None


def _since(since_s: float | None, now: Moment) -> float | None:
    return None if since_s is None else round(now.steady_s - since_s, 1)


def _at_gates_report(behind: list[Behind], now: Moment) -> dict[str, Any]:
    """Tell what runs and what waits, each since when: what runs first, and the oldest first."""
    running = [(one, one.started_s) for one in behind if one.started_s is not None]
    waiting = [(one, one.asked_s) for one in behind if one.started_s is None]
    in_order = [*sorted(running, key=_age), *sorted(waiting, key=_age)]
    return {
        "running": len(running),
        "waiting": len(waiting),
        "shown": [
            {
                "name": one.name,
                "id": one.unit_id,
                "kind": one.what,
                "running": one.started_s is not None,
                "since_s": _since(since_s, now),
                "cores": one.cores,
            }
            for one, since_s in in_order[:SHOWN_AT_GATES]
        ],
    }


def _age(one: tuple[Behind, float]) -> float:
    return one[1]


def _gates_report(state: "State", build_id: str, behind: list[Behind]) -> dict[str, Any]:
    recorder = state.gates.recorders.get(build_id)

    def names(what: What, *, running: bool) -> list[str]:
        return [
            one.name
            for one in behind
            if one.what is what and (one.started_s is not None) == running
        ]

    return {
        "units_running": names(What.UNIT, running=True),
        "units_waiting": names(What.UNIT, running=False),
        "links_running": names(What.LINK, running=True),
        "tests_running": names(What.TEST, running=True),
        "tests_waiting": names(What.TEST, running=False),
        **asdict(recorder.tally if recorder else Tally()),
    }
