"""Memory promised to linkers and other heavy work before it starts.

A linker's appetite is known only after the fact, so an estimate is booked and held until the holder
ends. Booked memory that is not yet touched still looks free to the kernel. So there are two bounds:
all bookings together stay within the buffer, and what is booked and not yet touched stays within
what is measured to be available. While it runs, what a holder really uses corrects its booking.

Who waits is served in order of arrival. Small requests may overtake a large one that does not fit,
but by no more than `passing_bytes` in all; then nothing starts before it does. Nothing overtakes
one that must run alone.

Whoever holds bytes of the buffer runs and waits for nothing else. So these always come back, and
whatever waits for them may hold a core meanwhile: docs/design/reservations.md.

What people reserve for a command stands *beside* the buffer, in a line of its own: only what is
available bounds it, since it may be larger than the buffer and last for hours. Nothing in the
buffer ever waits for such a command to end; it may only be slowed down to let one start.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Booking:
    """One request, waiting or granted. `used_bytes` is what it was last seen to use.

    `is_alone`: it starts when nothing else is booked in the buffer, and nothing starts beside it.
    `is_beside`: it is bounded by what is available, and not by the buffer.
    """

    ticket: int
    want_bytes: int
    order: int
    asked_s: float
    is_alone: bool = False
    is_beside: bool = False
    is_granted: bool = False
    used_bytes: int = 0
    passed_bytes: int = 0

    @property
    def untouched_bytes(self) -> int:
        """Return what is booked and still looks free to the kernel."""
        return max(0, self.want_bytes - self.used_bytes)


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a request waits: what it needs, what there is, and who is ahead.

    `room_bytes` may be below 0: less is available than was promised already.
    """

    want_bytes: int
    room_bytes: int
    buffer_bytes: int
    booked_bytes: int
    since_s: float
    ahead: int
    is_shut: bool
    is_alone: bool


@dataclass(slots=True)
class Reservations:
    """The buffer, what stands beside it, and the lines of those that wait.

    Invariants: bookings in the buffer exceed it only by one that was granted while no other was
    there, by what was adopted, by what holders really use, and by a buffer that became smaller.
    Unless it is shut, nothing waits for the buffer while nothing is booked in it.
    """

    buffer_bytes: int
    passing_bytes: int = 0
    available_bytes: int | None = None
    is_shut: bool = False
    _granted: dict[int, Booking] = field(default_factory=dict)
    _line: dict[int, Booking] = field(default_factory=dict)
    _arrivals: int = 0

    def ask(
        self,
        ticket: int,
        want_bytes: int,
        *,
        now_s: float,
        is_alone: bool = False,
        is_beside: bool = False,
    ) -> list[int]:
        """Ask for bytes; return the tickets granted now. A ticket that is known changes nothing."""
        if ticket in self._granted or ticket in self._line:
            return []
        one = self._new(ticket, want_bytes, now_s)
        one.is_alone, one.is_beside = is_alone, is_beside
        self._line[ticket] = one
        return self._grant()  # fmt: skip

    def adopt(self, ticket: int, want_bytes: int, *, now_s: float, is_beside: bool = False) -> None:
        """Count what runs already, beyond the bounds if need be. A known ticket stays."""
        if ticket not in self._granted and ticket not in self._line:
            one = self._granted[ticket] = self._new(ticket, want_bytes, now_s)
            one.is_granted, one.is_beside = True, is_beside

    def release(self, ticket: int) -> list[int]:
        """Give back what a ticket holds, or take it out of the line; a second time does nothing."""
        self._granted.pop(ticket, None)
        self._line.pop(ticket, None)
        return self._grant()

    def wait_again(self, ticket: int, *, want_bytes: int, is_alone: bool) -> list[int]:
        """Put a holder whose work was undone back into the line, at the place it had."""
        one = self._granted.pop(ticket, None)
        if one is None:
            return []
        one.want_bytes, one.is_alone = max(0, want_bytes), is_alone
        one.is_granted, one.used_bytes = False, 0
        self._line[ticket] = one
        self._line = dict(sorted(self._line.items(), key=lambda item: item[1].order))
        return self._grant()

    def measure(
        self, available_bytes: int | None, used_bytes: Mapping[int, int] | None = None
    ) -> list[int]:
        """Take in how much memory is available, and what holders use at the same moment.

        One that outgrows its booking books what it has, before others are granted.
        `available_bytes` None: it cannot be measured, and the buffer alone decides.
        """
        for ticket, used in (used_bytes or {}).items():
            one = self._granted.get(ticket)
            if one is not None:
                one.used_bytes = max(0, used)
                one.want_bytes = max(one.want_bytes, used)
        self.available_bytes = available_bytes
        return self._grant()

    def set_buffer(self, buffer_bytes: int, passing_bytes: int) -> list[int]:
        """Plan with another buffer from now on."""
        self.buffer_bytes, self.passing_bytes = max(0, buffer_bytes), max(0, passing_bytes)
        return self._grant()

    def shut(self, on: bool) -> list[int]:
        """Grant nothing, or go on."""
        self.is_shut = on
        return self._grant()

    def grant_one(self, available_bytes: int) -> list[int]:
        """Grant the first that fits into so much, though it is shut, if nothing is booked."""
        fitting = [] if self._granted else self._line.values()
        one = next((one for one in fitting if one.want_bytes <= available_bytes), None)
        return [self._take(one)] if one else []

    @property
    def booked_bytes(self) -> int:
        """Return what is booked in the buffer."""
        return sum(one.want_bytes for one in self._granted.values() if not one.is_beside)

    @property
    def beside_bytes(self) -> int:
        """Return what is booked beside the buffer."""
        return sum(one.want_bytes for one in self._granted.values() if one.is_beside)

    @property
    def untouched_bytes(self) -> int:
        """Return what is booked and still looks free to the kernel."""
        return sum(one.untouched_bytes for one in self._granted.values())

    @property
    def room_bytes(self) -> int:
        """Return what the buffer has left; below 0 when there is less than was promised."""
        in_buffer = self.buffer_bytes - self.booked_bytes
        if self.available_bytes is None:
            return in_buffer
        return min(in_buffer, self.available_bytes - self.untouched_bytes)

    @property
    def room_beside_bytes(self) -> int:
        """Return what may still be booked beside the buffer.

        Where memory cannot be measured, the size of the buffer must do.
        """
        if self.available_bytes is None:
            return self.buffer_bytes - self.booked_bytes - self.beside_bytes
        return self.available_bytes - self.untouched_bytes

    def holders(self) -> list[Booking]:
        """Return what is granted, the oldest first."""
        return sorted(self._granted.values(), key=lambda one: one.order)

    def holds(self, ticket: int) -> bool:
        """Say whether a ticket was granted."""
        return ticket in self._granted

    @property
    def waiting_count(self) -> int:
        """Return how many wait for the buffer."""
        return len(self._in_line(is_beside=False))

    def waiting(self, ticket: int, *, now_s: float) -> Shortage | None:
        """Tell why a ticket waits; None when it does not."""
        one = self._line.get(ticket)
        if one is None:
            return None
        return Shortage(
            want_bytes=one.want_bytes,
            room_bytes=self.room_beside_bytes if one.is_beside else self.room_bytes,
            buffer_bytes=self.buffer_bytes,
            booked_bytes=self.booked_bytes,
            since_s=max(0.0, now_s - one.asked_s),
            ahead=self._in_line(is_beside=one.is_beside).index(one),
            is_shut=self.is_shut,
            is_alone=self._is_alone(one),
        )

    def check(self) -> None:
        """Assert the invariants."""
        assert not self._granted.keys() & self._line.keys(), "a ticket holds and waits"
        waits = bool(self._in_line(is_beside=False))
        assert self._in_buffer() or not waits or self.is_shut, "all wait and nothing is booked"
        for one in (*self._granted.values(), *self._line.values()):
            assert one.is_granted == (one.ticket in self._granted), f"{one.ticket} is misfiled"
            assert one.want_bytes >= one.used_bytes >= 0, f"{one.ticket} uses what is not booked"
        orders = [one.order for one in self._line.values()]
        assert orders == sorted(orders), "the line is out of order"

    def _new(self, ticket: int, want_bytes: int, now_s: float) -> Booking:
        self._arrivals += 1
        return Booking(ticket, max(0, want_bytes), self._arrivals, now_s)

    def _in_line(self, *, is_beside: bool) -> list[Booking]:
        return [one for one in self._line.values() if one.is_beside == is_beside]

    def _in_buffer(self) -> list[Booking]:
        return [one for one in self._granted.values() if not one.is_beside]

    def _is_alone(self, one: Booking) -> bool:
        return one.is_alone or (not one.is_beside and one.want_bytes > self.buffer_bytes)

    def _fits(self, one: Booking) -> bool:
        if not one.is_beside and not self._in_buffer():
            return True  # refusing would stop a build that could finish
        if self._is_alone(one) or any(other.is_alone for other in self._granted.values()):
            return False
        return one.want_bytes <= (self.room_beside_bytes if one.is_beside else self.room_bytes)

    def _grant(self) -> list[int]:
        granted: list[int] = []
        while not self.is_shut:
            one = self._next()
            if one is None:
                break
            granted.append(self._take(one))
        return granted

    def _take(self, one: Booking) -> int:
        """Move a request out of the line to those that are granted."""
        del self._line[one.ticket]
        one.is_granted = True
        self._granted[one.ticket] = one
        return one.ticket

    def _next(self) -> Booking | None:
        """Return who starts now: beside the buffer, else in it."""
        beside = self._in_line(is_beside=True)
        one = self._next_of(beside)
        if one is None:
            first = beside[0] if beside and self._is_held_up(beside[0]) else None
            one = self._next_of(self._in_line(is_beside=False), held_up=first)
        return one

    def _next_of(self, line: list[Booking], held_up: Booking | None = None) -> Booking | None:
        """Return the first in a line, or one that may overtake it; `held_up` is passed as well."""
        if not line:
            return None
        first = line[0]
        for one in line:
            passed = [] if one is first else [first]
            if held_up and self._in_buffer():
                passed.append(held_up)
            if self._fits(one) and all(self._may_pass(one, other) for other in passed):
                for other in passed:
                    other.passed_bytes += one.want_bytes
                return one
        return None

    def _may_pass(self, one: Booking, other: Booking) -> bool:
        """Say whether one may start before another that waits.

        Nobody passes one that must run alone: it starts when all have ended.
        """
        fits = other.passed_bytes + one.want_bytes <= self.passing_bytes
        return fits and not self._is_alone(other)

    def _is_held_up(self, one: Booking) -> bool:
        """Say whether what waits beside the buffer would fit if the buffer were empty."""
        return one.want_bytes <= self.room_beside_bytes + self.booked_bytes
