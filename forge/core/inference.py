"""Inference servers beside the builds: when they are looked at, and what builds give up for them.

What follows from a look: cores are kept free while a server works; what it may still grow by, and
what the kernel could take from it, is not given to links; nothing heavy starts while it loads; and
while it loses what it needs, the ladder is climbed (docs/design/inference.md).
"""

from typing import TYPE_CHECKING, Any

from forge.core import events
from forge.core.actions import Action, Log
from forge.core.inference_actions import LookAtInference
from forge.core.inference_claim import Claim, is_below
from forge.core.inference_day import Favour, InferenceDay
from forge.core.inference_ranking import Ranking
from forge.core.inference_seen import ServerSeen
from forge.core.inference_server import Server, ServerState, cores_of
from forge.core.inference_squeezes import Squeezes
from forge.core.memory import Reading
from forge.core.moment import Moment
from forge.core.units import show_bytes

if TYPE_CHECKING:
    from forge.core.state import State

BESIDE_BUILDS_S = 0.25
"""How often to look while something is built: cores are given back within 1 s."""

ABSENT_S = 1.0
"""How often to look for a server that is not there, while something is built."""

IDLE_S = 5.0
"""How often to look while nothing is: nothing hangs on it, and it costs a core under 0.1 %."""

DEEP_S = 10.0
DEEP_IDLE_S = 30.0
DEEP_SHORT_S = 1.0
"""How often to look at a server's memory: beside builds, without any, and while memory is short."""

LOST_ANSWER_S = 60.0
"""An answer that is missing for so long will not come. A look has deadlines of its own."""

LOADING_HOLD_S = 600.0
"""So long at most heavy units wait for a model that is loaded."""


class Inference:
    """All servers by name. Invariant: as many cores are kept as the servers at work are left."""

    def __init__(self, state: "State") -> None:
        self._state = state
        self.servers: dict[str, Server] = {}
        self.day = InferenceDay()
        self.squeezes = Squeezes(state)
        self.ranking = Ranking(state)
        self.failure: str | None = None
        self.kept_cores = 0
        self.is_loading = False
        self._places: dict[str, str] = {}
        self._kept_since_s = 0.0
        self._looked_s = self._deep_s = float("-inf")
        self._asked_s: float | None = None
        self._asked_deep = False

    @property
    def here(self) -> list[Server]:
        """The servers that are there."""
        return [one for one in self.servers.values() if one.is_here]

    @property
    def due_s(self) -> float | None:
        """When the next look is due, by the steady clock; None where there is nothing to see."""
        if not self._state.settings.inference.servers:
            return None
        if self._asked_s is not None:
            return self._asked_s + LOST_ANSWER_S
        return self._looked_s + self._interval_s()

    def tick(self, now: Moment) -> list[Action]:
        """Look, if it is time."""
        due_s = self.due_s
        return self.ask(now) if due_s is not None and now.steady_s >= due_s else []

    def ask(self, now: Moment) -> list[Action]:
        """Look now; at the servers' memory as well, if that is due."""
        self._asked_s = now.steady_s
        self._asked_deep = now.steady_s - self._deep_s >= self._deep_interval_s()
        return [LookAtInference(self._state.settings.inference.servers, self._asked_deep)]

    def set_servers(self, now: Moment) -> list[Action]:
        """Take new settings: servers that are no longer named are forgotten."""
        named = {one.name for one in self._state.settings.inference.servers}
        self.servers = {name: one for name, one in self.servers.items() if name in named}
        self._looked_s = self._deep_s = float("-inf")
        return self._apply(now)

    def unseen(self, event: events.InferenceUnseen, now: Moment) -> list[Action]:
        """Go on with what was seen last, as nothing can be seen."""
        self._asked_s, self._looked_s = None, now.steady_s
        is_news, self.failure = event.reason != self.failure, event.reason
        log: list[Action] = [Log("inference.unseen", {"reason": event.reason})] if is_news else []
        return [*log, *self._apply(now)]

    def seen(self, event: events.InferenceSeen, now: Moment) -> list[Action]:
        """Take a look in: tell what has changed, and do what follows."""
        self._asked_s, self._looked_s, self.failure = None, now.steady_s, None
        if self._asked_deep:
            self._deep_s = now.steady_s
        self._places.update(event.places)
        named = {one.name for one in self._state.settings.inference.servers}
        actions: list[Action] = []
        for seen in event.seen:
            if seen.name in named:
                actions += self._look(seen, now)
        return [*actions, *self._apply(now), *self.ranking.seen(self.here, now)]

    def claims(self) -> list[Claim]:
        """Return what the kernel calls available and servers need."""
        found = []
        for one in self.here:
            residency, place = one.residency, self._places.get(one.name)
            if one.process is None and one.need:  # not ours to inspect: nobody knows what is locked
                found.append(Claim(one.need.models_bytes, 0, place))
            elif residency.expected_bytes:
                found.append(Claim(residency.evictable_bytes, residency.missing_bytes, place))
        return found

    def held_bytes(self, reading: Reading) -> int:
        """Return what servers have or are to have of the memory that `reading` tells of.

        That is the tightest limit's, where there is one: a server beside it takes nothing of it.
        """
        limit = min(reading.limits, key=lambda one: one.limit_bytes, default=None)
        if limit and limit.limit_bytes >= reading.machine_total_bytes:
            limit = None
        return sum(
            one.residency.expected_bytes + (one.process.anonymous_bytes or 0)
            for one in self.here
            if one.process and (limit is None or is_below(self._places.get(one.name), limit.place))
        )

    @property
    def promised_bytes(self) -> int:
        """Return what servers may still grow by."""
        return sum(one.promised_bytes for one in self.here)

    def squeezed_sign(self, headroom_bytes: int, now_s: float) -> str | None:
        """Say why builds are to give way for a server that is squeezed; None when they need not.

        When nothing more is lost and there is room for all of it to come back, builds have done
        their part: an idle server reads its pages again with its next request, and not before.
        `headroom_bytes` counts what is missing as taken already.
        """
        for one in self.here:
            residency = one.residency
            if one.state is not ServerState.SQUEEZED:
                continue
            if residency.is_losing(now_s) or headroom_bytes < 0:
                missing = show_bytes(residency.missing_bytes)
                return f"{missing} of the model at {one.url} not in memory"
        return None

    def check(self) -> None:
        """Assert the invariants."""
        assert 0 <= self.kept_cores <= max(0, self._state.settings.cores - 1), "no core is left"
        for one in self.servers.values():
            assert one.is_here or one.process is None, f"{one.name} is absent, and has a process"
            assert one.promised_bytes >= 0 and one.residency.missing_bytes >= 0

    def _look(self, seen: ServerSeen, now: Moment) -> list[Action]:
        one = self.servers.get(seen.name)
        if one is None:
            one = self.servers[seen.name] = Server(seen.name, seen.url, since_s=now.steady_s)
        was, was_slow, was_model = one.state, one.slow_since_s, one.model_path
        one.look(seen, now.steady_s)
        actions: list[Action] = []
        is_other = was_model is not None and one.model_path not in (None, was_model)
        if one.state is not was or is_other:
            self._deep_s = float("-inf")  # what it has now is another question
            actions.append(self._changed(one, was, now))
        if (one.slow_since_s is None) is not (was_slow is None):
            actions.append(_slow(one, was_slow, now))
        if one.state is ServerState.SQUEEZED and was is not ServerState.SQUEEZED:
            self.day.add(Favour.SQUEEZES, now.wall_s)
            actions += self._state.memory.ask(now)
        return [*actions, *self.squeezes.follow(one, now)]

    def _changed(self, one: Server, was: ServerState, now: Moment) -> Log:
        residency = one.residency
        fields: dict[str, Any] = {
            "server": one.name, "url": one.url, "state": one.state, "was": was,
            "model": one.model_path, "pid": one.process.pid if one.process else None,
            "reason": one.reason,
        }  # fmt: skip
        if one.state is ServerState.SQUEEZED or was is ServerState.SQUEEZED:
            fields["missing"] = residency.missing_bytes
            fields["expected"] = residency.expected_bytes
            fields["read_back"] = residency.read_back_bytes
        return Log("inference.changed", fields)

    def _apply(self, now: Moment) -> list[Action]:
        """Bring builds in line with what servers want now."""
        was_loading, self.is_loading = self.is_loading, self._is_loading(now.steady_s)
        actions = self._keep(self._wanted_cores(now.steady_s), now)
        if self.is_loading is not was_loading:
            if self.is_loading:
                self.day.add(Favour.HELD_LOADS, now.wall_s)
            actions += self._state.memory.relief.shut_links(now)
        return [*actions, *self.ranking.apply(self.here, now)]

    def _keep(self, cores: int, now: Moment) -> list[Action]:
        self.day.add_core_seconds(self.kept_cores, self._kept_since_s, now)
        self._kept_since_s = now.steady_s
        if cores == self.kept_cores:
            return []
        was, self.kept_cores = self.kept_cores, cores
        log = Log("inference.kept_cores", {"kept": cores, "was": was})
        return [log, *self._state.jobservers.set_cores(now)]

    def _wanted_cores(self, now_s: float) -> int:
        settings = self._state.settings
        working = [one for one in self.here if one.wants_cores(now_s)]
        if not working:
            return 0
        if settings.inference.cores is not None:
            wanted = settings.inference.cores
        else:
            wanted = sum(cores_of(one, settings.cores) for one in working)
        return max(0, min(wanted, settings.cores - 1))

    def _is_loading(self, now_s: float) -> bool:
        return any(
            one.activity is ServerState.LOADING and now_s - one.since_s < LOADING_HOLD_S
            for one in self.here
        )

    def _interval_s(self) -> float:
        if not self._is_building():
            return IDLE_S
        return BESIDE_BUILDS_S if self.here else ABSENT_S

    def _deep_interval_s(self) -> float:
        memory = self._state.memory
        is_short = any(one.residency.is_short for one in self.here)
        headroom_bytes = memory.headroom_bytes
        is_near = headroom_bytes is not None and headroom_bytes < memory.low_water_bytes
        if is_short or memory.ladder.rung or is_near:
            return DEEP_SHORT_S
        return DEEP_S if self._is_building() else DEEP_IDLE_S

    def _is_building(self) -> bool:
        return bool(self._state.builds or self._state.reserved.by_id)


def _slow(one: Server, was_s: float | None, now: Moment) -> Log:
    if was_s is None:
        return Log("inference.slow", {"server": one.name, "url": one.url, "state": one.state})
    took_s = round(now.steady_s - was_s, 1)
    return Log("inference.answers", {"server": one.name, "url": one.url, "after_s": took_s})
