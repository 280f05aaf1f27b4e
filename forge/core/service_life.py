"""Services as the daemon watches them: looked at now and then, and started again when they die.

Only those are looked at that somebody had started; what is not ours to restart is only told of.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from forge.core import service_actions
from forge.core.actions import Action, Log
from forge.core.moment import Moment
from forge.core.pressure import Rung
from forge.core.service import Runs, Service
from forge.core.service_actions import KeepLastError, LookAtServices, StartService
from forge.core.service_watch import Health, Record, judge_all

if TYPE_CHECKING:
    from forge.core.state import State

LOOK_EVERY_S = 2.0
LOST_LOOK_S = 60.0
"""A look that is missing for so long will not come."""


class ServiceLife:
    """What is known of the services, by name."""

    def __init__(self, state: "State") -> None:
        self._state = state
        self.records: dict[str, Record] = {}
        self._looked_s = float("-inf")
        self._asked_s: float | None = None

    @property
    def due_s(self) -> float | None:
        """When the next look is due, by the steady clock; None when nothing is looked at."""
        if not self._watched():
            return None
        if self._asked_s is not None:
            return self._asked_s + LOST_LOOK_S
        return self._looked_s + LOOK_EVERY_S

    def tick(self, now: Moment) -> list[Action]:
        """Look, if it is time."""
        due_s = self.due_s
        if due_s is None or now.steady_s < due_s:
            return []
        self._asked_s = now.steady_s
        return [LookAtServices(tuple(self._watched().values()))]

    def seen(self, event: service_actions.ServicesSeen, now: Moment) -> list[Action]:
        """Judge what was seen, and start again what is to be."""
        self._asked_s, self._looked_s = None, now.steady_s
        services = self._watched()
        looks = {name: look for name, look in event.looks.items() if name in services}
        may = event.watched and self._state.settings.watch_services
        verdicts = judge_all(
            self.records,
            looks,
            now.steady_s,
            restarts={name: may and services[name].restart for name in looks},
            is_tight=self._state.memory.ladder.rung > Rung.CALM,
        )
        actions: list[Action] = []
        for name, verdict in verdicts.items():
            self.records[name] = verdict.record
            if verdict.news:
                actions.append(Log("service.news", {"service": name, "what": verdict.news}))
            if verdict.is_death:
                reason = verdict.record.reason
                what = f"died: {reason}" if reason else "died"
                actions.append(KeepLastError(name, now.wall_s, what))
            if verdict.starts:
                actions.append(StartService(services[name]))
        return actions

    def not_started(self, event: service_actions.ServiceNotStarted, now: Moment) -> list[Action]:
        """Take note of a start that failed: the next look finds the service dead once more."""
        what = f"cannot be started: {event.reason}"
        return [
            Log("service.news", {"service": event.name, "what": what}),
            KeepLastError(event.name, now.wall_s, what),
        ]

    def report(self, now: Moment) -> list[dict[str, Any]]:
        """Build the part of the status that tells of services; times are seconds."""
        return [
            {
                "name": name,
                "health": record.health,
                "deaths": len(record.deaths),
                "reason": record.reason,
                "again_in_s": None
                if record.due_s is None
                else max(0.0, round(record.due_s - now.steady_s, 1)),
            }
            for name, record in self.records.items()
            if record.health is not Health.DOWN
        ]

    def _watched(self) -> Mapping[str, Service]:
        """Return the services that are looked at: the RAM disk has a life of its own."""
        services = self._state.settings.services
        return {one.name: one for one in services if one.runs is not Runs.RAM_DISK}
