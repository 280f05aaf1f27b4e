"""How the kernel ranks builds and servers: who runs first, and who ends when memory does.

Builds step back for a server. Where their cgroup has a weight, that is lowered while a server
works, holds for what runs already, and is raised again. Elsewhere what starts while a server is
there gets a lower priority, and what runs is lowered once: raising it again takes root. A server is
protected only where the user agrees.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from forge.core import events
from forge.core.actions import Action, Log
from forge.core.inference_actions import LowerBuilds, ProtectServer, WeighBuilds
from forge.core.inference_server import Server
from forge.core.moment import Moment

if TYPE_CHECKING:
    from forge.core.state import State

USUAL_WEIGHT = 100
LEAST_WEIGHT = 1
LEAST_SHARES = 2
NICE_STEP = 1.25
"""The kernel gives a process of one nice more so much less of a core."""


def weight_of(nice: int) -> int:
    """Return the weight of a cgroup that is to step back as a process of that nice does."""
    return max(LEAST_WEIGHT, round(USUAL_WEIGHT / NICE_STEP**nice))


class Ranking:
    """What was asked of the kernel. `nice` is what builds that start now are given."""

    def __init__(self, state: "State") -> None:
        self._state = state
        self.nice = 0
        self.weight: int | None = None
        self.protected: dict[str, str] = {}
        self._asked: dict[str, tuple[int, float, bool]] = {}
        self._weighed: int | None = None
        self._is_refused = False

    @property
    def launch_nice(self) -> int:
        """How far a build that starts now is to step back by itself; 0 where a weight does it."""
        return 0 if self._has_weight else self.nice

    def apply(self, here: Sequence[Server], now: Moment) -> list[Action]:
        """Let builds step back for servers, and no longer."""
        was, self.nice = self.nice, self._state.settings.inference.build_nice if here else 0
        cgroup = self._state.cgroup.cgroup
        if cgroup and cgroup.cpu_file and self._has_weight:
            is_at_work = any(one.wants_cores(now.steady_s) for one in here)
            weight = weight_of(self.nice) if is_at_work else USUAL_WEIGHT
            if weight == (self._weighed or USUAL_WEIGHT):
                return []
            self._weighed = weight
            value = max(LEAST_SHARES, cgroup.cpu_usual * weight // USUAL_WEIGHT)
            return [WeighBuilds(cgroup.cpu_file, value, weight)]
        if self.nice <= was:
            return []
        running = [one.cargo_key for one in self._state.builds.values() if one.cargo_pid]
        return [LowerBuilds(tuple(running), self.nice)] if running else []

    def weighed(self, event: events.BuildsWeighed, now: Moment) -> list[Action]:
        """Take note of the weight that builds have now."""
        if event.reason:
            self._is_refused = True
            return [Log("cgroup.unweighed", {"reason": event.reason})]
        self.weight = event.weight
        return [Log("cgroup.weighed", {"weight": event.weight})]

    def seen(self, here: Sequence[Server], now: Moment) -> list[Action]:
        """Protect each process once, where that is wanted."""
        if not self._state.settings.inference.protect:
            return []
        actions: list[Action] = []
        for one in here:
            process = one.process
            if process is None or not one.served:
                continue
            need_bytes = one.need.resident_bytes if one.need else one.residency.expected_bytes
            key = (process.pid, process.started_s, bool(need_bytes))
            if self._asked.get(one.name) != key:
                self._asked[one.name] = key
                actions.append(ProtectServer(one.name, process.pid, process.started_s, need_bytes))
        return actions

    def has_protected(self, event: events.ServerProtected, now: Moment) -> list[Action]:
        """Take note of what was done for a server, and what the system refused."""
        self.protected[event.name] = "; ".join((*event.done, *event.refused))
        fields = {"server": event.name, "done": list(event.done), "refused": list(event.refused)}
        return [Log("inference.protected", fields)]

    @property
    def _has_weight(self) -> bool:
        cgroup = self._state.cgroup.cgroup
        return bool(cgroup and cgroup.cpu_file) and not self._is_refused
