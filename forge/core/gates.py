"""What is behind gates: units, links, tests, commands, each as long as its connection lasts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from forge.core import messages
from forge.core.actions import Action, Send
from forge.core.behind import DOCTEST, Behind, Crowd, What, asking_link, asking_test, asking_unit
from forge.core.budget import Budget
from forge.core.builds import Build
from forge.core.history import Recorder
from forge.core.learned import Estimate, Learned, key_of_test
from forge.core.lent import Lent
from forge.core.memory_claims import (
    Claim,
    claim_of_heavy,
    claim_of_link,
    key_of_link,
    known_of_link,
)
from forge.core.memory_gate import MemoryGate, link_ended
from forge.core.moment import Moment
from forge.core.replies import error
from forge.core.reserved import granted_command, names_reservation
from forge.core.shares import Priority
from forge.core.units import plural
from forge.core.waits import Why

GO = {"type": "go"}
SHOWN_AHEAD = 3

WAIT_EVERY_S = 1.0
"""How often a waiting client hears from us; its patience is 2 s."""


@dataclass(slots=True)
class Gates:
    """All that is behind gates, by connection; recorders by build, for builds that are known.

    A unit or a test starts when the budget says so, or its lender's tests, and when the bytes that
    it is known to need are booked. A link asks for bytes alone: its rustc has a core already, and
    would keep it from its own linker for ever. A command asks for bytes first, then for cores.
    `kept_cores` are free and not for builds, which those that wait are told.
    Invariant: what runs on cores is a ticket of the budget or lent to, and what books bytes is in
    the reservations, under the number of its connection.
    """

    builds: Mapping[str, Build]
    budget: Budget
    memory: MemoryGate
    learned: Learned = field(default_factory=Learned)
    lent: Lent = field(default_factory=Lent)
    crowd: Crowd = field(default_factory=Crowd)
    recorders: dict[str, Recorder] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    kept_cores: int = 0
    _released_last: str = ""
    _released_s: float = 0.0

    @property
    def behind(self) -> dict[int, Behind]:
        """All that is behind gates, by connection."""
        return self.crowd.by_conn

    def begin(
        self, build: Build, cap: int | None, work_s: float | None, now: Moment
    ) -> list[Action]:
        """Begin to count a build, which may run `cap` units at once.

        `work_s` is what it is expected to cost, in core seconds; None: nothing is known.
        """
        self.recorders[build.id] = Recorder(build.began_steady_s, self.budget.capacity)
        if build.lender:
            return []
        granted = self.budget.join(
            build.id, priority=build.priority, cap=cap, work_s=work_s, now_s=now.steady_s
        )
        return self._let_in(granted, now)

    def finish(self, build_id: str, now: Moment) -> list[Action]:
        """Stop counting a build; units of it that are left keep what they have to their end."""
        self.recorders.pop(build_id, None)
        let_go = self.set_cap(build_id, None, now) if self.held.pop(build_id, None) else []
        return let_go + self._let_in(self.budget.leave(build_id, now_s=now.steady_s), now)

    def unit(self, conn: int, message: messages.Unit, now: Moment) -> list[Action]:
        """Let a rustc start, or wait for a core."""
        one = asking_unit(conn, message, now.steady_s)
        build = self.builds.get(message.build)
        if build and names_reservation(one.lender):
            one.lender = build.lender  # the reservation was over, or without cores, when it began
        return self._ask(one, message.running, now)

    def test(self, conn: int, message: messages.Test, now: Moment) -> list[Action]:
        """Let a test binary start, or wait for as many cores as it will keep busy."""
        build = self.builds.get(message.build)
        lender = build.lender if build else None
        one = asking_test(conn, message, now.steady_s, self._cores_of(message), lender)
        return self._ask(one, message.running, now)

    def link(self, conn: int, message: messages.Link, now: Moment) -> list[Action]:
        """Let a linker start."""
        if conn in self.behind:
            return [_taken(conn)]
        one = asking_link(conn, message, now.steady_s)
        self.crowd.add(one)
        build = self.builds.get(message.build)
        profile = build.args.profile if build else "dev"
        one.key = key_of_link(message, profile, is_test=self.crowd.is_test(one))
        known = known_of_link(message, self.learned, self._root_of(one.build), one.key)
        claim = claim_of_link(message, known)
        one.is_learned = claim.is_learned
        if message.running or (build and build.lender):
            self.memory.adopt(one, claim, now.steady_s)
            return self._start([conn], now)
        beside = self.crowd.of(one.build)
        actions = self._start(self.memory.ask(one, claim, beside, now.steady_s), now)
        return actions + ([self._say_wait(one, now)] if not one.runs else [])

    def command(
        self, one: Behind, claim: Claim, priority: Priority, runs: bool, now: Moment
    ) -> list[Action]:
        """Let a command start that people reserve for, or wait for bytes, then for cores."""
        self.crowd.add(one)
        if one.cores:
            self.budget.join(one.build, priority=priority, work_s=0.0, now_s=now.steady_s)
        if runs or one.lender:
            self.memory.adopt(one, claim, now.steady_s)
            if one.cores:
                self.budget.adopt(one.build, one.conn, cores=one.cores, now_s=now.steady_s)
            one.has_core = True
            return self._start([one.conn], now)
        actions = self._start(self.memory.ask(one, claim, (), now.steady_s), now)
        return actions + ([self._say_wait(one, now)] if not one.runs else [])

    def ended(self, conn: int, message: messages.UnitEnded, now: Moment) -> list[Action]:
        """Take note of what something has cost, and give its cores to the next."""
        one = self.behind.get(conn)
        is_command = isinstance(message, messages.ReserveEnded)
        if one is None or one.started_s is None or is_command != (one.what is What.COMMAND):
            return [error(conn, "protocol-mismatch", f"`{message.type_name}` without a start")]
        self.crowd.drop(one)
        if one.build in self.recorders:
            self.recorders[one.build].ended(one, message, now.steady_s)
        log = [link_ended(one, message)] if one.what is What.LINK else []
        return [*log, *self._release(one, now)]

    def closed(self, conn: int, now: Moment) -> list[Action]:
        """Take back what a gate held, or waited for, that is gone without a word."""
        one = self.behind.get(conn)
        if one is None:
            return []
        self.crowd.drop(one)
        if one.build in self.recorders:
            self.recorders[one.build].tally.lost += 1
        return self._release(one, now)

    def cancelled(self, conn: int, message: messages.Cancelled, now: Moment) -> list[Action]:
        """Take note that a link was cancelled as asked: it waits again, at the place it had."""
        one = self.behind.get(conn)
        if one is None or one.what is not What.LINK or not one.runs:
            return [error(conn, "protocol-mismatch", "`cancelled` without a link that runs")]
        one.is_cancelled = False
        self.crowd.wait_again(one, now.steady_s)
        started = self._start(self.memory.undo(one), now)
        return started + ([self._say_wait(one, now)] if not one.runs else [])

    def measured(
        self, available_bytes: int | None, used_bytes: Mapping[int, int], now: Moment
    ) -> list[Action]:
        """Take in what memory is available, and what holders of bytes use, at one moment."""
        granted = self.memory.reservations.measure(available_bytes, used_bytes)
        return self._start(granted, now)

    def shut_memory(self, on: bool, reason: str, now: Moment) -> list[Action]:
        """Let nothing that books bytes start, for a reason, or go on."""
        self.memory.why_shut = reason
        return self._start(self.memory.reservations.shut(on), now)

    def start_one(self, available_bytes: int, now: Moment) -> list[Action]:
        """Let one that waits for bytes start though memory is short, if nothing has booked any."""
        return self._start(self.memory.reservations.grant_one(available_bytes), now)

    def set_buffer(self, buffer_bytes: int, now: Moment) -> list[Action]:
        """Plan with another linker buffer from now on."""
        return self._start(self.memory.set_buffer(buffer_bytes), now)

    def set_capacity(self, cores: int, now: Moment) -> list[Action]:
        """Plan with another number of cores from now on."""
        if cores == self.budget.capacity:
            return []
        return self._let_in(self.budget.set_capacity(cores, now_s=now.steady_s), now)

    def set_priority(self, build: Build, now: Moment) -> list[Action]:
        """Let a build's units overtake, or be overtaken, from now on."""
        return self._let_in(
            self.budget.set_priority(build.id, build.priority, now_s=now.steady_s), now
        )

    def hold(self, on: bool, now: Moment) -> list[Action]:
        """Let nothing start, or go on. What runs, and what lives on lent cores, is not held."""
        actions = self._let_in(self.budget.hold(on, now_s=now.steady_s), now)
        held = [conn for conn, one in self.behind.items() if self._is_held_up(one)]
        return actions + self._start([] if on else held, now)

    def set_cap(self, build_id: str, cap: int | None, now: Moment) -> list[Action]:
        """Let a build run so many units at once from now on."""
        return self._let_in(self.budget.join(build_id, cap=cap, now_s=now.steady_s), now)

    def end(self, build_id: str) -> list[Action]:
        """Tell all gates of a build to end what is behind them."""
        return [Send(one.conn, {"type": "end"}) for one in self.crowd.of(build_id)]

    def tick(self, now: Moment) -> list[Action]:
        """Give away cores that were kept long enough."""
        return self._let_in(self.budget.tick(now_s=now.steady_s), now)

    def say_wait(self, now: Moment) -> list[Action]:
        """Tell all that wait what for, unless they were told within the last second."""
        due = self.crowd.to_tell(now.steady_s - WAIT_EVERY_S)
        return [self._say_wait(one, now) for one in due]

    def of(self, build_id: str, what: What, *, running: bool) -> list[Behind]:
        """Return what of one build runs, or waits, behind its gates."""
        return [one for one in self.crowd.of(build_id) if one.what is what and one.runs == running]

    def is_at_work(self, build_id: str) -> bool:
        """Say whether anything of a build is behind gates now, waiting or running."""
        return build_id in self.crowd.by_build

    def why_waits(self, one: Behind, now: Moment) -> str:
        """Say what something waits for, in a line for people."""
        if one.lender:
            whose = one.lender if names_reservation(one.lender) else f"the tests of {one.lender}"
            return f"waiting for a core of {whose}"
        if self.memory.waits(one):
            return self.memory.why_waits(one, now.steady_s)
        if self._is_held_up(one):
            return "waiting: the machine is held"
        if one.build in self.held:
            return self.held[one.build]
        wait = self.budget.waiting(one.conn, now_s=now.steady_s)
        assert wait, f"{one.conn} waits and the budget does not know"
        is_kept = self.kept_cores and wait.why in (Why.CORES, Why.ROOM)
        kept = f"; {plural(self.kept_cores, 'core')} kept for inference" if is_kept else ""
        return wait.text + kept

    def check(self) -> None:
        """Assert the invariants."""
        self.budget.check()
        self.lent.check()
        self.crowd.check()
        self.memory.reservations.check()
        has_core = {
            conn for conn, one in self.behind.items() if one.has_core or (one.runs and one.cores)
        }
        held = set(self.budget.running()) | self.lent.running()
        assert has_core == held, "a unit runs that has no core, or a core is lost"
        for conn, one in self.behind.items():
            waits = self.memory.waits(one)
            assert not (one.runs and waits), f"{conn} runs and waits for memory"
            assert waits or not one.has_core, f"{conn} has a core and waits for it"

    def _ask(self, one: Behind, runs: bool, now: Moment) -> list[Action]:
        if one.conn in self.behind:
            return [_taken(one.conn)]
        if runs:
            return self._adopt(one, now)
        self.crowd.add(one)
        if one.lender:
            granted = self.lent.ask(one.lender, one.conn, self._lent_cores(one.lender))
        else:
            granted = self._ask_budget(one, now)
        actions = self._let_in(granted, now)
        return actions + ([self._say_wait(one, now)] if one.started_s is None else [])

    def _ask_budget(self, one: Behind, now: Moment) -> list[int]:
        self._note_ahead(one, self.crowd.beside(one.build, SHOWN_AHEAD))
        known = self._known(one)
        return self.budget.ask(
            one.build,
            one.conn,
            expected_s=known.run_s if known else None,
            rank_s=known.rank_s if known else None,
            cores=one.cores,
            now_s=now.steady_s,
        )

    def _note_ahead(self, one: Behind, builds: Iterable[str]) -> None:
        """Keep for later who had cores while something waited."""
        for build in builds:
            if build != one.build and not one.lender:
                one.ahead.setdefault(build, self._root_of(build))  # it may be over by now

    def _known(self, one: Behind) -> Estimate | None:
        return self.learned.estimate(self._root_of(one.build), one.key) if one.key else None

    def _root_of(self, build_id: str) -> str | None:
        build = self.builds.get(build_id)
        return build.root if build else None

    def _adopt(self, one: Behind, now: Moment) -> list[Action]:
        """Count what runs already, started by an earlier daemon."""
        one.started_s = now.steady_s
        self.crowd.add(one)
        if one.lender:
            self.lent.adopt(one.lender, one.conn)
        else:
            self.budget.adopt(one.build, one.conn, cores=one.cores, now_s=now.steady_s)
            self.memory.adopt(one, claim_of_heavy(self._known(one)), now.steady_s)
        return [Send(one.conn, {"type": "go"}), *self._lend(one, now)]

    def _release(self, one: Behind, now: Moment) -> list[Action]:
        actions = self._start(self.memory.release(one), now)
        if one.lender:
            cores = self._lent_cores(one.lender)
            return actions + self._let_in(self.lent.release(one.lender, one.conn, cores), now)
        self._released_last, self._released_s = one.build, now.steady_s
        is_command = one.what is What.COMMAND
        granted = self.budget.release(one.conn, now_s=now.steady_s, is_charged=not is_command)
        if is_command:
            granted += self.budget.leave(one.build, now_s=now.steady_s)
        return actions + self._let_in(granted, now)

    def _cores_of(self, message: messages.Test) -> int:
        """Return how many cores a test binary is to have: as many as it kept busy before, else as
        it is told, else half of all.
        """
        capacity = max(1, self.budget.capacity)
        key = key_of_test(message.name, message.threads)
        known = self.learned.estimate(self._root_of(message.build), key)
        if message.name == DOCTEST:
            return 1
        cores = round(known.cores) if known else message.threads or (capacity + 1) // 2
        return min(capacity, max(1, cores))

    def _lent_cores(self, lender: str) -> int:
        what = What.COMMAND if names_reservation(lender) else What.TEST
        return sum(one.cores for one in self.of(lender, what, running=True))

    def _is_held_up(self, one: Behind) -> bool:
        """Say whether a command has its bytes, wants no cores, and waits as the machine is held."""
        is_free = one.what is What.COMMAND and one.started_s is None and not one.cores
        return is_free and not self.memory.waits(one)

    def _let_in(self, granted: list[int], now: Moment) -> list[Action]:
        """Start what has got its core, if the bytes that it needs are there as well."""
        actions: list[Action] = []
        for conn in granted:
            one = self.behind[conn]
            if one.lender:
                actions += self._start([conn], now)
                continue
            one.has_core = True
            if one.what is What.COMMAND:
                actions += self._start([conn], now)
                continue
            claim = claim_of_heavy(self._known(one))
            may_start = self.memory.ask(one, claim, (), now.steady_s)
            actions += self._start(may_start, now)
            if one.has_core:
                actions.append(self._say_wait(one, now))
        return actions

    def _start(self, conns: list[int], now: Moment) -> list[Action]:
        actions: list[Action] = []
        for conn in conns:
            one = self.behind[conn]
            if one.what is What.COMMAND and not one.has_core and (one.cores or self.budget.is_held):
                actions += self._let_in(self._ask_budget(one, now) if one.cores else [], now)
                continue
            one.has_core = False
            if now.steady_s > one.asked_s:
                self._note_ahead(one, self.crowd.beside(one.build, SHOWN_AHEAD))
            if self._released_s > one.asked_s:
                self._note_ahead(one, (self._released_last,))
            self.crowd.start(one, now.steady_s)
            if one.build in self.recorders:
                self.recorders[one.build].started(one, now.steady_s)
            actions += granted_command(one) if one.what is What.COMMAND else [Send(conn, GO)]
            actions += self._lend(one, now)
            if one.what is What.COMMAND:  # it has what it will ever ask for
                actions += self._let_in(self.budget.leave(one.build, now_s=now.steady_s), now)
        return actions

    def _lend(self, one: Behind, now: Moment) -> list[Action]:
        """Let builds inside use the cores of a test or a command from now on."""
        if one.what not in (What.TEST, What.COMMAND):
            return []
        return self._let_in(self.lent.grant(one.build, self._lent_cores(one.build)), now)

    def _say_wait(self, one: Behind, now: Moment) -> Send:
        self.crowd.tell(one, now.steady_s)
        since_s = round(now.steady_s - one.asked_s, 1)
        reason = self.why_waits(one, now)
        return Send(one.conn, {"type": "wait", "reason": reason, "since_s": since_s})


def _taken(conn: int) -> Action:
    return error(conn, "protocol-mismatch", "this connection already carries a unit")
