"""What each rung of the ladder does to builds, and how it is undone.

Victims are the youngest of their kind, batch before a person's; a build of a person's is never
ended. One unit always runs on: whatever is stopped or kept from starting, something gets on.
"""

from typing import TYPE_CHECKING

from forge.core.actions import Action, Log, Send
from forge.core.behind import Behind, What
from forge.core.memory_gate import ALONE_AFTER, MEMORY_IS_SHORT, MODEL_LOADS
from forge.core.moment import Moment
from forge.core.pressure import Change, Rung
from forge.core.requeue import Requeues
from forge.core.shares import Priority

if TYPE_CHECKING:
    from forge.core.state import State


class Relief:
    """Carries out what the ladder says. Invariant: nothing is paused below `STOP_UNITS`."""

    def __init__(self, state: "State") -> None:
        self._state = state
        self._requeues = Requeues(state)

    def has_more(self, rung: Rung) -> bool:
        """Say whether there is something left that this rung may take."""
        match rung:
            case Rung.CANCEL_LINKS:
                return self._youngest_link() is not None
            case Rung.STOP_UNITS:
                return self._youngest_unit() is not None
            case Rung.END_BUILDS:
                return self._requeues.youngest() is not None
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
        if change.takes and change.rung is Rung.END_BUILDS:
            actions += self._requeues.end_youngest()
        return actions

    def keep_going(self, available_bytes: int, now: Moment) -> list[Action]:
        """Let one get on when nothing does: what is stopped, or waits, frees no memory.

        The oldest that is paused comes first; then what waits for bytes and fits into what is left,
        the low water included: a rustc that sleeps until it is linked keeps what it has.
        """
        behind = self._state.gates.behind.values()
        if any(self._gets_on(one) for one in behind):
            return []
        paused = [one for one in behind if one.is_paused]
        if paused:
            return self._resume(min(paused, key=self._youth))
        return self._state.gates.start_one(available_bytes, now)

    def _gets_on(self, one: Behind) -> bool:
        return one.started_s is not None and not one.is_paused and not self._is_asleep(one)

    def _is_asleep(self, rustc: Behind) -> bool:
        """Say whether a rustc has called its linker, and does nothing until that is done."""
        return rustc.what is What.UNIT and any(
            one.what is What.LINK and one.build == rustc.build and one.crate == rustc.crate
            for one in self._state.gates.behind.values()
        )

    def shut_links(self, now: Moment) -> list[Action]:
        """Let nothing that books bytes start while memory is short or a model loads; or go on."""
        watch = self._state.memory
        is_short = watch.ladder.rung >= Rung.SHUT_LINKS
        reason = MEMORY_IS_SHORT if is_short else MODEL_LOADS
        return self._state.gates.shut_memory(watch.shuts_links, reason, now)

    def _stand(self, change: Change, now: Moment) -> list[Action]:
        rung, state = change.rung, self._state
        actions = state.line.is_short(rung >= Rung.HOLD_ADMISSION, now)
        actions += state.jobservers.is_short(rung >= Rung.SHUT_UNITS, now)
        actions += self.shut_links(now)
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
        paused = [one for one in self._state.gates.behind.values() if one.is_paused]
        return [action for one in paused for action in self._resume(one)]

    def _resume(self, one: Behind) -> list[Action]:
        one.is_paused = False
        fields = {"build": one.build, "unit": one.name}
        return [Log("unit.resumed", fields), Send(one.conn, {"type": "resume"})]

    def _youngest_link(self) -> Behind | None:
        """Return the link to be cancelled next; one that was cancelled often is left in peace."""
        links = [
            one
            for one in self._running(What.LINK)
            if not one.is_cancelled and one.undone < ALONE_AFTER
        ]
        return max(links, key=self._youth, default=None)

    def _youngest_unit(self) -> Behind | None:
        """Return the batch unit to be stopped next, as long as another one runs on.

        One that sleeps until its linker is done takes no more memory, and is left alone.
        """
        running = [one for one in self._running(What.UNIT) if self._gets_on(one)]
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
