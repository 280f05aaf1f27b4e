"""Units and links behind their gates, each for as long as its gate's connection lasts."""

from dataclasses import dataclass, replace

from forge.core import messages
from forge.core.actions import Action, Send
from forge.core.budget import Budget
from forge.core.builds import Build
from forge.core.moment import Moment
from forge.core.priority import priority_of
from forge.core.replies import error


@dataclass(frozen=True, slots=True)
class Running:
    """A unit or a link that was let through its gate."""

    build: str
    what: str
    is_link: bool
    since_s: float


@dataclass(slots=True)
class Tally:
    """What the gates have seen of one build so far. Seconds are sums over its units."""

    units: int = 0
    links: int = 0
    lost: int = 0
    cpu_s: float = 0.0
    waited_s: float = 0.0
    unit_peak_kib: int = 0
    link_peak_kib: int = 0


class Gates:
    """All that is behind gates, by connection; tallies by build, for builds that are known.

    A unit starts when the budget says so. A link starts at once: its rustc has a core already, and
    would keep it from its own linker for ever. Invariant: what waits or runs as a unit is a ticket
    of the budget, under the number of its connection.
    """

    def __init__(self, cores: int) -> None:
        self.budget = Budget(cores)
        self.running: dict[int, Running] = {}
        self.waiting: dict[int, Running] = {}
        self.tallies: dict[str, Tally] = {}

    def begin(self, build: Build, cap: int | None, now: Moment) -> list[Action]:
        """Begin to count a build, which may run `cap` units at once."""
        self.tallies[build.id] = Tally()
        priority = priority_of(build)
        return self._let_in(
            self.budget.join(build.id, priority=priority, cap=cap, now_s=now.steady_s), now
        )

    def finish(self, build_id: str, now: Moment) -> list[Action]:
        """Stop counting a build; units of it that are left keep what they have to their end."""
        self.tallies.pop(build_id, None)
        return self._let_in(self.budget.leave(build_id, now_s=now.steady_s), now)

    def unit(self, conn: int, message: messages.Unit, now: Moment) -> list[Action]:
        """Let a rustc start, or wait for a core."""
        if conn in self.running or conn in self.waiting:
            return [error(conn, "protocol-mismatch", "this connection already carries a unit")]
        self.waiting[conn] = Running(message.build, message.crate, False, now.steady_s)
        actions = self._let_in(self.budget.ask(message.build, conn, now_s=now.steady_s), now)
        return actions + (self._say_wait(conn, now) if conn in self.waiting else [])

    def link(self, conn: int, message: messages.Link, now: Moment) -> list[Action]:
        """Let a linker start."""
        if conn in self.running or conn in self.waiting:
            return [error(conn, "protocol-mismatch", "this connection already carries a unit")]
        what = message.output or message.crate or "?"
        self.running[conn] = Running(message.build, what, True, now.steady_s)
        return [Send(conn, {"type": "go"})]

    def ended(self, conn: int, message: messages.UnitEnded, now: Moment) -> list[Action]:
        """Take note of what a unit or a link has cost, and give its core to the next."""
        running = self.running.pop(conn, None)
        if running is None:
            return [error(conn, "protocol-mismatch", f"`{message.type_name}` without a start")]
        tally = self.tallies.get(running.build)
        if tally:
            tally.cpu_s += message.user_s + message.system_s
            if running.is_link:
                tally.links += 1
                tally.link_peak_kib = max(tally.link_peak_kib, message.peak_kib)
            else:
                tally.units += 1
                tally.unit_peak_kib = max(tally.unit_peak_kib, message.peak_kib)
        return self._let_in(self.budget.release(conn, now_s=now.steady_s), now)

    def closed(self, conn: int, now: Moment) -> list[Action]:
        """Take back what a gate held, or waited for, that is gone without a word."""
        running = self.running.pop(conn, None) or self.waiting.pop(conn, None)
        if running is None:
            return []
        if running.build in self.tallies:
            self.tallies[running.build].lost += 1
        return self._let_in(self.budget.release(conn, now_s=now.steady_s), now)

    def set_cores(self, cores: int, now: Moment) -> list[Action]:
        """Plan with another number of cores from now on."""
        return self._let_in(self.budget.set_capacity(cores, now_s=now.steady_s), now)

    def tick(self, now: Moment) -> list[Action]:
        """Give away cores that were kept long enough."""
        return self._let_in(self.budget.tick(now_s=now.steady_s), now)

    def say_wait(self, now: Moment) -> list[Action]:
        """Tell all units that wait what for."""
        return [action for conn in self.waiting for action in self._say_wait(conn, now)]

    def running_of(self, build_id: str) -> list[Running]:
        """Return what of one build is behind its gates now."""
        return [one for one in self.running.values() if one.build == build_id]

    def waiting_of(self, build_id: str) -> list[Running]:
        """Return what of one build waits for a core."""
        return [one for one in self.waiting.values() if one.build == build_id]

    def check(self) -> None:
        """Assert the invariants."""
        self.budget.check()
        units = {conn for conn, one in self.running.items() if not one.is_link}
        assert units == set(self.budget.running()), (
            "a unit runs that has no core, or a core is lost"
        )

    def _let_in(self, granted: list[int], now: Moment) -> list[Action]:
        actions: list[Action] = []
        for conn in granted:
            waited = self.waiting.pop(conn)
            self.running[conn] = replace(waited, since_s=now.steady_s)
            if waited.build in self.tallies:
                self.tallies[waited.build].waited_s += now.steady_s - waited.since_s
            actions.append(Send(conn, {"type": "go"}))
        return actions

    def _say_wait(self, conn: int, now: Moment) -> list[Action]:
        wait = self.budget.waiting(conn, now_s=now.steady_s)
        assert wait, f"{conn} waits and the budget does not know"
        since_s = round(wait.since_s, 1)
        return [Send(conn, {"type": "wait", "reason": wait.text, "since_s": since_s})]
