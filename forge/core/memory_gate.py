"""Bytes before a link, a heavy unit or a heavy test starts.

The order is: a core, then bytes. Whoever holds bytes runs, and waits for neither. So bytes come
back whatever happens, and whatever waits for them may hold a core meanwhile. Three things would
break that, because they hold bytes while something inside them asks for more:

- A rustc whose linker asks. Its own booking is given up at that moment: what it still has in memory
  is seen by every measurement, and it will take no more before its linker is done.
- A test in which builds run. What they link books beyond the buffer, and at once.
- What an earlier daemon started. It is counted, and not asked.

A command that people reserve for has it the other way round, bytes and then cores: it may wait for
bytes for hours, and would keep cores idle as long. Nothing waits for its bytes (`Reservations`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from forge.core import messages
from forge.core.actions import Log
from forge.core.behind import Behind, What
from forge.core.memory_claims import Claim
from forge.core.reservations import Reservations, Shortage
from forge.core.units import show_bytes, show_duration

ALONE_AFTER = 3
"""A link that was cancelled so often runs alone the next time, and is left in peace."""

PASSING_SHARE = 1.0
"""Small links may overtake one that does not fit by so much of the buffer, all in all."""

MEMORY_IS_SHORT = "memory is short, so nothing heavy starts"
MODEL_LOADS = "a model is being loaded, so nothing heavy starts"


@dataclass(slots=True)
class MemoryGate:
    """The reservations, by the connection of the gate that holds or wants them."""

    reservations: Reservations
    why_shut: str = MEMORY_IS_SHORT

    @classmethod
    def of_buffer(cls, buffer_bytes: int) -> "MemoryGate":
        """Make one for a linker buffer of that size."""
        return cls(Reservations(buffer_bytes, int(PASSING_SHARE * buffer_bytes)))

    def ask(self, one: Behind, claim: Claim, behind: Iterable[Behind], now_s: float) -> list[int]:
        """Book what a link, a unit or a test wants; return the connections that may start now."""
        one.want_bytes = claim.want_bytes
        if not one.want_bytes:
            return [one.conn]
        freed = self._give_up_rustcs(one, behind) if one.what is What.LINK else []
        is_beside = one.what is What.COMMAND
        return freed + self.reservations.ask(
            one.conn, one.want_bytes, now_s=now_s, is_beside=is_beside
        )

    def adopt(self, one: Behind, claim: Claim, now_s: float) -> None:
        """Count what runs already, or must not wait."""
        one.want_bytes = claim.want_bytes
        if one.want_bytes:
            is_beside = one.what is What.COMMAND
            self.reservations.adopt(one.conn, one.want_bytes, now_s=now_s, is_beside=is_beside)

    def release(self, one: Behind) -> list[int]:
        """Give back what something held, or take it out of the line."""
        return self.reservations.release(one.conn) if one.want_bytes else []

    def undo(self, one: Behind) -> list[int]:
        """Let a link whose work was undone wait again; after some times it must run alone."""
        one.undone += 1
        is_alone = one.undone >= ALONE_AFTER
        return self.reservations.wait_again(one.conn, want_bytes=one.want_bytes, is_alone=is_alone)

    def waits(self, one: Behind) -> bool:
        """Say whether something waits for bytes."""
        return self.reservations.waiting(one.conn, now_s=0.0) is not None

    def why_waits(self, one: Behind, now_s: float) -> str:
        """Say what something waits for, in a line for people."""
        shortage = self.reservations.waiting(one.conn, now_s=now_s)
        assert shortage, f"{one.conn} waits for no memory"
        return shortage_text(shortage, one.what, self.why_shut)

    def set_buffer(self, buffer_bytes: int) -> list[int]:
        """Plan with another buffer from now on."""
        return self.reservations.set_buffer(buffer_bytes, int(PASSING_SHARE * buffer_bytes))

    def _give_up_rustcs(self, link: Behind, behind: Iterable[Behind]) -> list[int]:
        freed: list[int] = []
        for one in behind:
            is_its_rustc = one.build == link.build and one.crate == link.crate
            if is_its_rustc and one.what is What.UNIT and self.reservations.holds(one.conn):
                freed += self.reservations.release(one.conn)
        return freed


def shortage_text(shortage: Shortage, what: What, why_shut: str = MEMORY_IS_SHORT) -> str:
    """Say why something waits for bytes, in a line for people."""
    since = f"for {show_duration(shortage.since_s)}"
    ahead = f", {shortage.ahead} ahead" if shortage.ahead else ""
    need = f"this {what} needs {show_bytes(shortage.want_bytes)}"
    if shortage.is_shut:
        return f"waiting: {why_shut}; {need}{ahead} ({since})"
    if shortage.is_alone:
        return (
            f"waiting to run alone: {need} of {show_bytes(shortage.buffer_bytes)}{ahead} ({since})"
        )
    free = show_bytes(max(0, shortage.room_bytes))
    return f"waiting for memory: {free} free, {need}{ahead} ({since})"


def link_ended(one: Behind, message: messages.UnitEnded) -> Log:
    """Tell what a link had booked, and what it needed: whether estimates are any good."""
    fields = {
        "build": one.build,
        "link": one.name,
        "booked": one.want_bytes,
        "learned": one.is_learned,
        "peak": message.peak_kib * 1024,
    }
    return Log("link.ended", fields)
