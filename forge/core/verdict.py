"""What a build was bound by, in one sentence for people."""

import os
from collections.abc import Iterable
from typing import Any

from forge.core.account import Account, Record, account, cores_busy, roots_behind
from forge.core.builds import PAUSED_PHASES, BuildPhase
from forge.core.outcome import Outcome
from forge.core.units import show_duration

MUCH = 1 / 3
"""What took more of a build than this is worth the sentence."""

MOST = 0.6
NEARLY_ALL_CORES = 0.7
NOTICED_S = 0.5
"""Nobody asks why that was spent."""

FORGES_WORK = {
    BuildPhase.WAITING_FOR_DISK: "the RAM disk to be mounted",
    BuildPhase.WAITING_FOR_SHIM: "the shim to be compiled",
    BuildPhase.RESOLVING: "its workspace to be found",
    BuildPhase.PREPARING: "its target dir to be made",
    BuildPhase.STARTING: "its jobserver to be made",
}
ENDED_BEFORE_CARGO = {
    Outcome.CANCELLED: "it was cancelled",
    Outcome.GAVE_UP: "it gave up",
    Outcome.LEFT: "its launcher went away",
}


def name_of(build: str, root: str | None) -> str:
    """Name a build as people are told: its id and project."""
    return f"{build} ({os.path.basename(root)})" if root else build


def verdict(record: Record) -> str:
    """Say what a build was bound by."""
    spent = account(record)
    return (
        _before_cargo(record, spent)
        or _others(record, spent)
        or _forge(record, spent)
        or _without_units(record)
        or _own(record, spent)
    )


def _before_cargo(record: Record, spent: Account) -> str | None:
    """Tell of a build whose cargo does not run, or never did."""
    waits = record.get("waits") or {}
    if set(waits) - set(FORGES_WORK) - PAUSED_PHASES:
        return None
    behind = f", behind {_names(record, list(spent.behind_s))}" if spent.behind_s else ""
    if record.get("running"):
        return str(record.get("wait") or "its cargo starts")
    outcome = record.get("outcome")
    ended = ENDED_BEFORE_CARGO.get(outcome or Outcome.LEFT, str(outcome))
    return f"cargo never ran: {ended} after {show_duration(spent.wall_s)}{behind}"


def _others(record: Record, spent: Account) -> str | None:
    if not _is_much(spent.for_others_s, spent.wall_s):
        return None
    took = f"waited {_of(spent.for_others_s, spent.wall_s)}"
    if not spent.behind_s:
        return f"{took} while the machine was held"
    mostly = spent.mostly_behind
    word = "mostly " if len(spent.behind_s) > 1 else ""
    return f"{took} for other builds, {word}{_names(record, [mostly] if mostly else [])}"


def _forge(record: Record, spent: Account) -> str | None:
    if not _is_much(spent.forge_s, spent.wall_s):
        return None
    waits = record.get("waits") or {}
    longest = max(FORGES_WORK, key=lambda phase: float(waits.get(phase, 0.0)))
    longest_s = float(waits.get(longest, 0.0))
    return f"waited {_of(longest_s, spent.wall_s)} for {FORGES_WORK[longest]}"


def _without_units(record: Record) -> str | None:
    if record.get("units") or record.get("tests"):
        return None if "critical_path" in record else "its units are forgotten: it is too long ago"
    if record.get("gated") is False:
        return "it ran without gates, so nothing is known of its units"
    if record.get("running"):
        return "none of its units has ended so far"
    if record.get("outcome") == Outcome.DONE:
        return "nothing was compiled: all was fresh, or it was cargo's own work"
    return "it ended before any of its units had"


def _own(record: Record, spent: Account) -> str:
    running_s = spent.running_s
    busy, cores = cores_busy(record), int(record.get("cores") or 0)
    if running_s > 0 and spent.path_s >= MOST * running_s:
        return f"bound by its critical path: {_of(spent.path_s, running_s)}{_longest(record)}"
    if cores and busy >= NEARLY_ALL_CORES * cores:
        return f"bound by cores: it kept {busy:.1f} of {cores} busy"
    if _is_much(spent.own_s, running_s):
        return f"bound by cores: its units waited {_of(spent.own_s, running_s)} for one another"
    if not record.get("runs_now") and _is_much(spent.cargo_s, running_s):
        took = _of(spent.cargo_s, running_s)
        return f"bound by cargo's own work, such as downloads and build scripts: {took}"
    return f"bound by no one thing; its critical path took {_of(spent.path_s, running_s)}"


def _longest(record: Record) -> str:
    path: Iterable[dict[str, Any]] = record.get("critical_path") or ()
    node = max(path, key=lambda one: float(one["run_s"]), default=None)
    if node is None:
        return ""
    return f", longest `{node['name']}` with {show_duration(float(node['run_s']))}"


def _is_much(part_s: float, whole_s: float) -> bool:
    return part_s >= NOTICED_S and part_s >= MUCH * whole_s


def _of(part_s: float, whole_s: float) -> str:
    return f"{show_duration(part_s)} of {show_duration(whole_s)}"


def _names(record: Record, builds: list[str]) -> str:
    roots = roots_behind(record)
    return ", ".join(name_of(build, roots.get(build)) for build in builds)
