"""Where the time of a build went: an account whose parts add up to its wall time.

Before cargo started, the phases are known. After that the critical path tells: each of its units
began when the one before it was far enough, so what it waited and ran can be laid end to end. A
unit may begin while what it needs still runs (cargo pipelines); then it counts from where that
ended. What is left lies between the units of the path. How much of the time no unit stood at a gate
at all is told apart: that was cargo's own, fingerprints, downloads, build scripts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from forge.core.builds import PAUSED_PHASES, BuildPhase

Record = Mapping[str, Any]

FORGES_PHASES = tuple(
    phase for phase in BuildPhase if phase.is_before_cargo and phase not in PAUSED_PHASES
)
"""What Forge itself takes before cargo starts."""


@dataclass(slots=True)
class Account:
    """Seconds of one build. Invariant: `wall_s` is the sum of the parts, which are those below it.

    `in_line_s` before cargo, for other builds; `forge_s` before cargo, for Forge itself. Along the
    critical path: `others_s` waiting while other builds had cores, `own_s` while only its own
    units had, `path_s` running, `between_s` neither. `cargo_s` is no part: it is how long nothing
    of the build stood at a gate while its cargo ran.
    """

    wall_s: float = 0.0
    in_line_s: float = 0.0
    forge_s: float = 0.0
    others_s: float = 0.0
    own_s: float = 0.0
    path_s: float = 0.0
    between_s: float = 0.0
    cargo_s: float = 0.0
    behind_s: dict[str, float] = field(default_factory=dict)

    @property
    def running_s(self) -> float:
        """Return how long cargo ran."""
        return max(0.0, self.wall_s - self.in_line_s - self.forge_s)

    @property
    def for_others_s(self) -> float:
        """Return how long it waited for other builds."""
        return self.in_line_s + self.others_s

    @property
    def mostly_behind(self) -> str | None:
        """Return the id of the build that it waited for longest."""
        return max(self.behind_s, key=lambda one: self.behind_s[one], default=None)


def account(record: Record) -> Account:
    """Account for the time of a build, of which `record` is what `forge explain --json` prints."""
    waits = record.get("waits") or {}
    found = Account(wall_s=float(record.get("wall_s") or 0.0))
    found.in_line_s = sum(waits.get(phase, 0.0) for phase in PAUSED_PHASES)
    found.forge_s = sum(waits.get(phase, 0.0) for phase in FORGES_PHASES)
    for one in record.get("waited_behind") or ():
        found.behind_s[one["build"]] = found.in_line_s
    at_s = found.in_line_s + found.forge_s
    for node in record.get("critical_path") or ():
        at_s = _add(found, node, at_s)
    on_path_s = found.others_s + found.own_s + found.path_s
    found.between_s = max(0.0, found.running_s - on_path_s)
    if "at_gates_s" in record:
        found.cargo_s = max(0.0, found.running_s - float(record["at_gates_s"]))
    return found


def cores_busy(record: Record) -> float:
    """Return how many cores a build kept busy on average while its cargo ran."""
    running_s = account(record).running_s
    return float(record.get("cpu_s") or 0.0) / running_s if running_s > 0 else 0.0


def roots_behind(record: Record) -> dict[str, str | None]:
    """Return the builds that a build waited for, with their workspace roots."""
    behind = [*(record.get("waited_behind") or ()), *(record.get("behind") or ())]
    return {one["build"]: one.get("root") for one in behind}


def _add(found: Account, node: Record, at_s: float) -> float:
    """Add what a unit took beyond `at_s`, up to which all is accounted for; return up to where."""
    started_s = float(node["started_s"])
    waited_s = max(0.0, started_s - max(at_s, started_s - float(node["wait_s"])))
    behind = node.get("behind") or ()
    if behind:
        found.others_s += waited_s
    else:
        found.own_s += waited_s
    for build in behind:
        found.behind_s[build] = found.behind_s.get(build, 0.0) + waited_s
    ended_s = started_s + float(node["run_s"])
    found.path_s += max(0.0, ended_s - max(at_s, started_s))
    return max(at_s, ended_s)
