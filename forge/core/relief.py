"""What each rung of the ladder does to builds, and how it is undone.

Victims are the youngest of their kind, batch before a person's; a build of a person's is never
ended. One unit always runs on: whatever is stopped or kept from starting, something gets on.
"""

from typing import TYPE_CHECKING

from forge.core.actions import Action, Log, Send
from forge.core.behind import Behind, What
from forge.core.memory_gate import ALONE_AFTER
from forge.core.moment import Moment
from forge.core.pressure import Change, Rung
from forge.core.shares import Priority

if TYPE_CHECKING:
    from forge.core.state import State


class Relief:
    """Carries out what the ladder says. Invariant: nothing is paused below `STOP_UNITS`."""

    def __init__(self, state: "State") -> None:
        self._state = state

    def has_more(self, rung: Rung) -> bool:
        """Say whether there is something left that this rung may take."""
        match rung:
            case Rung.CANCEL_LINKS:
                return self._youngest_link() is not None
            case Rung.STOP_UNITS:
                return self._youngest_unit() is not None
            case _:
                return False

    def follow(self, change: Change, now: Moment) -> list[Action]:
        """Do what the step from one rung to the next one means, and take what it takes."""
        actions: list[Action] = []
        if change.is_new:
            actions += self._stand(change, now)
        if change.takes and change.rung is Rung.CANCEL_LINKS:
            actions += self._cancel_link()
        if change.takes and change.rung is Rung.STOP_UNITS:
            actions += self._pause_unit()
        return actions

    def _stand(self, change: Change, now: Moment) -> list[Action]:
        rung, state = change.rung, self._state
        actions = state.line.is_short(rung >= Rung.HOLD_ADMISSION, now)
        actions += state.jobservers.is_short(rung >= Rung.SHUT_UNITS, now)
        actions += state.gates.shut_memory(rung >= Rung.SHUT_LINKS, now)
        if rung < Rung.STOP_UNITS <= change.was:
            actions += self._resume_units()
        return actions

    def _cancel_link(self) -> list[Action]:
        link = self._youngest_link()
        if link is None:
            return []
        link.is_cancelled = True
        fields = {"build": link.build, "link": link.name, "booked": link.want_bytes}
        return [Log("link.cancelled", fields), Send(link.conn, {"type": "cancel"})]

    def _pause_unit(self) -> list[Action]:
        unit = self._youngest_unit()
        if unit is None:
            return []
        unit.is_paused = True
        fields = {"build": unit.build, "unit": unit.name}
        return [Log("unit.paused", fields), Send(unit.conn, {"type": "pause"})]

    def _resume_units(self) -> list[Action]:
        actions: list[Action] = []
        for one in self._state.gates.behind.values():
            if one.is_paused:
                one.is_paused = False
                fields = {"build": one.build, "unit": one.name}
                actions += [Log("unit.resumed", fields), Send(one.conn, {"type": "resume"})]
        return actions

    def _youngest_link(self) -> Behind | None:
        """Return the link to be cancelled next; one that was cancelled often is left in peace."""
        links = [
            one
            for one in self._running(What.LINK)
            if not one.is_cancelled and one.undone < ALONE_AFTER
        ]
        return max(links, key=self._youth, default=None)

    def _youngest_unit(self) -> Behind | None:
        """Return the batch unit to be stopped next, as long as another one runs on."""
        running = [one for one in self._running(What.UNIT) if not one.is_paused]
        if len(running) < 2:
            return None
        batch = [one for one in running if self._is_batch(one)]
        return max(batch, key=self._youth, default=None)

    def _running(self, what: What) -> list[Behind]:
        behind = self._state.gates.behind.values()
        return [one for one in behind if one.what is what and one.started_s is not None]

    def _youth(self, one: Behind) -> tuple[bool, float, int]:
        return self._is_batch(one), one.started_s or 0.0, one.conn

    def _is_batch(self, one: Behind) -> bool:
        build = self._state.builds.get(one.build)
        return build is None or build.priority is Priority.BATCH
