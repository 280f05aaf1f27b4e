"""Commands for which people reserve bytes and cores: `forge reserve`.

A reservation is held by the connection of its `forge reserve`, and ends with it. It books its bytes
first, beside the linker buffer, and then asks for its cores as a build of its own would. The other
order, by which units and links go, would keep cores idle for as long as the bytes are not there,
which may be hours. This one cannot lock up: whatever runs on the cores that it waits for needs
bytes of the buffer at most, and no booking in the buffer ever waits for one beside it to end.

Builds inside the command live on what it holds: units on its cores, one by one (`lent.py`), links
beyond the buffer and at once. It is no build: relief never touches it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forge.core import messages
from forge.core.actions import Action, KeepNextBuild, Log, Send
from forge.core.behind import Behind, asking_command
from forge.core.memory_claims import claim_of_command
from forge.core.moment import Moment
from forge.core.replies import error
from forge.core.shares import Priority
from forge.core.units import MIB, show_duration, show_mib

if TYPE_CHECKING:
    from forge.core.state import State

PREFIX = "r"
EXIT_WAITED_TOO_LONG = 75
"""os.EX_TEMPFAIL: it may be tried again."""


@dataclass(slots=True, eq=False)
class Reservation:
    """What is held for one command, or asked for it; `behind` is the command at its gate.

    `patience_s`: how long it may wait; None: as long as it takes.
    """

    id: str
    behind: Behind
    memory_mib: int
    priority: Priority
    cwd: str
    argv0: str
    patience_s: float | None

    @property
    def runs(self) -> bool:
        """Say whether its command was told to start."""
        return self.behind.started_s is not None

    def numbers(self) -> dict[str, Any]:
        """Return what the decision log tells of it."""
        one = self.behind
        numbers = {"name": one.name, "memory_mib": self.memory_mib, "cores": one.cores}
        return {"reservation": self.id, **numbers}


class Reserved:
    """The reservations by id. Invariant: each is behind a gate, under its own connection."""

    def __init__(self, state: "State") -> None:
        self._state = state
        self.by_id: dict[str, Reservation] = {}

    def reserve(self, conn: int, message: messages.Reserve, now: Moment) -> list[Action]:
        """Let a command start when what it needs is there, or count one that runs already."""
        mistake = self._mistake(conn, message)
        if mistake:
            return [mistake]
        reservation_id, keep = self._take_id(message.reservation if message.running else None)
        cores = 0 if message.lender else min(message.cores, self._state.settings.cores)
        behind = asking_command(conn, message, now.steady_s, reservation_id, cores)
        one = self.by_id[reservation_id] = Reservation(
            reservation_id, behind, message.memory_mib, Priority(message.priority),
            message.cwd, message.argv0, message.wait_timeout_s,
        )  # fmt: skip
        claim = claim_of_command(message.memory_mib)
        asked = self._state.gates.command(behind, claim, one.priority, message.running, now)
        if one.runs:
            return [*keep, *asked]
        return [*keep, Log("reserve.waits", one.numbers()), *asked, *self._impatient(one, now)]

    def ended(self, conn: int, message: messages.ReserveEnded, now: Moment) -> list[Action]:
        """Take note of how a command ended and what it has cost."""
        actions = self._state.gates.ended(conn, message, now)
        one = self._on(conn)
        if one is None or not one.runs:
            return actions
        del self.by_id[one.id]
        cost = {
            "exit": message.exit, "signal": message.signal, "wall_s": round(message.wall_s, 3),
            "cpu_s": round(message.user_s + message.system_s, 3), "peak_kib": message.peak_kib,
        }  # fmt: skip
        return [Log("reserve.ended", {**one.numbers(), **cost}), *actions]

    def closed(self, conn: int) -> list[Action]:
        """Take note of a command whose `forge reserve` is gone without a word."""
        one = self._on(conn)
        if one is None:
            return []
        del self.by_id[one.id]
        return [Log("reserve.left", {**one.numbers(), "running": one.runs})]

    def cancel(self, one: Reservation, exit_code: int, now: Moment) -> list[Action]:
        """End a command, or the wait of one that has not started."""
        line = f"{one.id} was cancelled by `forge cancel`"
        log = Log("reserve.cancelled", {**one.numbers(), "running": one.runs})
        if not one.runs:
            return [log, *self._send_away(one, line, exit_code, now)]
        return [log, Send(one.behind.conn, {"type": "end", "line": line, "exit": exit_code})]

    def tick(self, now: Moment) -> list[Action]:
        """Send those away that have waited as long as they may."""
        waiting = [one for one in self.by_id.values() if not one.runs]
        return [action for one in waiting for action in self._impatient(one, now)]

    def lender_of(self, env: Mapping[str, str], parent: str | None) -> str | None:
        """Return on whose cores a build lives that starts there: a test's, a command's, its own.

        What a command has left running when it ended lives on its own again.
        """
        if parent and env.get("FORGE_TEST"):
            return env["FORGE_TEST"]
        one = self.by_id.get(env.get("FORGE_RESERVATION", ""))
        return one.id if one and one.behind.cores else None

    def report(self, now: Moment) -> list[dict[str, Any]]:
        """Tell of each: what it holds, what it uses, or what it waits for."""
        holders = self._state.gates.memory.reservations.holders()
        used_bytes = {booking.ticket: booking.used_bytes for booking in holders}
        return [
            {
                "id": one.id,
                "name": one.behind.name,
                "argv0": one.argv0,
                "cwd": one.cwd,
                "pid": one.behind.pid,
                "priority": one.priority,
                "memory_mib": one.memory_mib,
                "cores": one.behind.cores,
                "used_bytes": used_bytes.get(one.behind.conn, 0),
                "running": one.runs,
                "since_s": round(now.steady_s - (one.behind.started_s or one.behind.asked_s), 1),
                "wait": None if one.runs else self._state.gates.why_waits(one.behind, now),
                "lender": one.behind.lender,
            }
            for one in self.by_id.values()
        ]

    def check(self) -> None:
        """Assert the invariants."""
        behind = self._state.gates.behind
        for key, one in self.by_id.items():
            assert key == one.id == one.behind.build, f"{key} is misfiled"
            assert behind.get(one.behind.conn) is one.behind, f"{key} is held by nobody"

    def _on(self, conn: int) -> Reservation | None:
        return next((one for one in self.by_id.values() if one.behind.conn == conn), None)

    def _mistake(self, conn: int, message: messages.Reserve) -> Action | None:
        if conn in self._state.gates.behind or self._state.leases.on(conn):
            return error(conn, "protocol-mismatch", "this connection already carries something")
        if message.priority not in tuple(Priority):
            return error(conn, "usage-mistake", f"there is no priority `{message.priority[:40]}`")
        if message.memory_mib < 0 or message.cores < 0:
            asked = f"{message.memory_mib} MiB and {message.cores} cores"
            return error(conn, "usage-mistake", f"{asked} cannot be reserved")
        total_mib = self._state.settings.memory_map.total_mib
        if message.memory_mib > total_mib and not message.running:
            much = f"{show_mib(message.memory_mib)} cannot be reserved"
            has = f"this machine has {show_mib(total_mib)}"
            return error(conn, "usage-mistake", f"{much}: {has}")
        return None

    def _take_id(self, wanted: str | None) -> tuple[str, list[Action]]:
        """Return an id and, where numbers were used up, what keeps them: builds count with them.

        One that ran under an earlier daemon keeps its id, which is in its environment.
        """
        leases = self._state.leases
        number = reservation_number(wanted or "")
        if wanted is None or number is None or wanted in self.by_id:
            return f"{PREFIX}{leases.take_number()}", [KeepNextBuild(leases.next_build)]
        leases.next_build = max(leases.next_build, number + 1)
        return wanted, [KeepNextBuild(leases.next_build)]

    def _impatient(self, one: Reservation, now: Moment) -> list[Action]:
        """Send a command away that has waited long enough."""
        if one.patience_s is None or now.steady_s - one.behind.asked_s < one.patience_s:
            return []
        patience = f"after {show_duration(one.patience_s)}" if one.patience_s else "at once"
        line = f"gave up {patience}: {self._state.gates.why_waits(one.behind, now)}"
        log = Log("reserve.impatient", {**one.numbers(), "patience_s": one.patience_s})
        return [log, *self._send_away(one, line, EXIT_WAITED_TOO_LONG, now)]

    def _send_away(self, one: Reservation, line: str, exit_code: int, now: Moment) -> list[Action]:
        del self.by_id[one.id]
        told = Send(one.behind.conn, {"type": "end", "line": line, "exit": exit_code})
        return [told, *self._state.gates.closed(one.behind.conn, now)]


def granted_command(one: Behind) -> list[Action]:
    """Tell a command to start. What it starts finds its reservation in the environment.

    Inside a test or another command it finds that one's: it has no cores of its own to lend.
    """
    assert one.started_s is not None, f"{one.build} is granted and has not started"
    env = {} if one.lender else {"FORGE_RESERVATION": one.build}
    waited = {"wait_s": round(one.started_s - one.asked_s, 3)}
    numbers = {"name": one.name, "memory_mib": one.want_bytes // MIB, "cores": one.cores}
    return [
        Log("reserve.granted", {"reservation": one.build, **numbers, **waited}),
        Send(one.conn, {"type": "go", "reservation": one.build, "env": env}),
    ]


def names_reservation(lender: str | None) -> bool:
    """Say whether who lends is a command, and not the tests of a build."""
    return reservation_number(lender or "") is not None


def reservation_number(reservation_id: str) -> int | None:
    """Return the number in a reservation's id, `r17`; None when it is no id of ours."""
    digits = reservation_id.removeprefix(PREFIX)
    ours = reservation_id.startswith(PREFIX) and digits.isascii() and digits.isdigit()
    return int(digits) if ours and len(digits) < 16 else None
