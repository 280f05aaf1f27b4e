"""The jobservers of all builds: when they are looked at, and what follows from a look.

A look reads how many bytes nobody has taken; `tokens.py` says what follows. What processes hold is
counted only where something is missing, since that takes a walk through the process table.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from forge.core import events
from forge.core.actions import Action, CountHolders, Log, LookAtTokens, MoveTokens
from forge.core.builds import Build
from forge.core.moment import Moment
from forge.core.tokens import Plan, Seen, Tokens

if TYPE_CHECKING:
    from forge.core.state import State

LOOK_EVERY_S = 0.1
"""How often to look while builds share the cores. Measured in docs/design/tokens.md#how-often."""

LOOK_ALONE_EVERY_S = 2.0
"""How often to look at a build that has all cores: only for what it may have lost."""

LOOK_AGAIN_S = 0.02
"""When cores have become free since the last look, the next one is due so soon after it."""

LOST_LOOK_S = 5.0
"""An answer that is missing for so long will not come."""


class Jobservers:
    """Looks at the FIFOs, and keeps units and threads together within the cores.

    Invariant: while one build has all cores, units may use all of them, and nothing is withdrawn
    for longer than a look takes.
    """

    def __init__(self, state: "State") -> None:
        self._state = state
        self.tokens = Tokens()
        self.in_fifo: dict[str, int] = {}
        self.threads: Mapping[str, int] = {}
        self._before: Mapping[str, int] = {}
        self._holders: Mapping[str, int] = {}
        self._looked_s = float("-inf")
        self._busy_then = 0
        self._is_short = False
        self._asked_s: float | None = None

    def begin(self, build: Build, granted: int | None, now: Moment) -> list[Action]:
        """Open the account of a build whose FIFO was made with `granted` tokens."""
        if build.jobserver is None or granted is None:
            return []
        self.tokens.begin(build.id, granted)
        return self._look(now)

    def end(self, build_id: str, now: Moment) -> list[Action]:
        """Close an account; what it had goes to the others at the next look, which is now."""
        if build_id not in self.tokens.accounts:
            return []
        self.tokens.end(build_id)
        return [*self._set_capacity(now), *self._look(now)]

    def is_short(self, on: bool, now: Moment) -> list[Action]:
        """Let no further unit start while memory is short: one runs on. Or go on."""
        if on is self._is_short:
            return []
        self._is_short = on
        return self._set_capacity(now)

    def set_cores(self, now: Moment) -> list[Action]:
        """Plan with as many cores as the settings give from now on."""
        return self._set_capacity(now)

    def tick(self, now: Moment) -> list[Action]:
        """Look, if it is time."""
        due_s = self.due_s
        return self._look(now) if due_s is not None and now.steady_s >= due_s else []

    @property
    def due_s(self) -> float | None:
        """When the next look is due, by the steady clock; None when there is nothing to see."""
        if not self.tokens.accounts:
            return None
        if self._asked_s is not None:
            return self._asked_s + LOST_LOOK_S
        return self._looked_s + self._every_s()

    def _every_s(self) -> float:
        if not self.tokens.withdrawn():
            return LOOK_ALONE_EVERY_S if self._is_alone() else LOOK_EVERY_S
        is_less_busy = self._state.gates.budget.running_cores < self._busy_then
        return LOOK_AGAIN_S if is_less_busy else LOOK_EVERY_S

    def counted(self, event: events.HoldersCounted, now: Moment) -> list[Action]:
        """Take in the most that processes can hold, and look what is missing beyond that."""
        self._holders = event.holders
        return [LookAtTokens(tuple(self.tokens.accounts))]

    def seen(self, event: events.TokensSeen, now: Moment) -> list[Action]:
        """Decide what follows from a look."""
        self._asked_s, self._looked_s = None, now.steady_s
        self._busy_then = self._state.gates.budget.running_cores
        units = self._units()
        seen = {
            build: Seen(
                in_fifo, *units.get(build, (0, 0)), self._state.builds[build].priority,
                self._holders.get(build),
            )
            for build, in_fifo in event.in_fifo.items()
            if build in self.tokens.accounts
        }  # fmt: skip
        self._holders = {}
        plan = self.tokens.look(self._cores(), self._elsewhere(units), seen, now.steady_s)
        self.in_fifo = {build: one.in_fifo for build, one in seen.items()}
        self.threads, self._before = plan.threads, self.threads
        actions: list[Action] = [*_logs(plan, self.in_fifo)]
        if plan.moves:
            actions.append(MoveTokens(plan.moves))
        return [*actions, *self._set_capacity(now)]

    def moved(self, event: events.TokensMoved, now: Moment) -> list[Action]:
        """Take note of what was moved."""
        for move in event.moves:
            self.tokens.moved(move)
            if move.build in self.in_fifo:
                self.in_fifo[move.build] += move.count
        return []

    def report(self, build_id: str) -> dict[str, int] | None:
        """Tell of a build's tokens, as of the last look; None when it has no jobserver of ours."""
        account = self.tokens.accounts.get(build_id)
        if account is None:
            return None
        in_fifo = self.in_fifo.get(build_id, account.granted)
        return {
            "granted": account.granted,
            "withdrawn": account.withdrawn,
            "unused": in_fifo,
            "used": max(0, account.taken(in_fifo)),
            "threads": self.threads.get(build_id, 0),
        }

    def check(self) -> None:
        """Assert the invariants."""
        accounts, builds = self.tokens.accounts, self._state.builds
        assert accounts.keys() <= builds.keys(), "tokens of a build that is over"
        for build, one in accounts.items():
            assert 0 <= one.withdrawn <= one.granted, f"{build} is owed {one}"
        assert self._state.gates.budget.capacity >= 1 or not self._cores()

    def _look(self, now: Moment) -> list[Action]:
        if not self.tokens.accounts:
            return []
        self._asked_s = now.steady_s
        suspects = self.tokens.to_count(self.threads, now.steady_s)
        cargos = {build: self._state.builds[build].cargo_key for build in suspects}
        if cargos:
            return [CountHolders(cargos)]
        return [LookAtTokens(tuple(self.tokens.accounts))]

    def _set_capacity(self, now: Moment) -> list[Action]:
        """Give units the cores that threads leave: those threads that two looks agree on.

        Between the end of a unit and cargo's notice of it, its token looks like a thread.
        """
        cores = self._cores()
        kept = self._state.gates.kept_cores = self._state.inference.kept_cores
        cores = max(1, cores - kept) if cores else 0
        threads = sum(
            min(count, self._before.get(build, 0))
            for build, count in self.threads.items()
            if build in self.tokens.accounts
        )
        if threads and not self._is_alone():
            cores = max(1, cores - threads)
        return self._state.gates.set_capacity(cores, now)

    def _cores(self) -> int:
        return 0 if self._is_short else self._state.settings.cores

    def _units(self) -> dict[str, tuple[int, int]]:
        """Return how many units of each build run and wait at gates."""
        builds = self._state.gates.crowd.by_build
        return {build: (one.units_running, one.units_waiting) for build, one in builds.items()}

    def _is_alone(self) -> bool:
        """Say whether one build has all cores; asked after each event, so that few look further."""
        if len(self.tokens.accounts) > 1:
            return False
        return self.tokens.is_alone(self._elsewhere(self._units()))

    def _elsewhere(self, units: Mapping[str, tuple[int, int]]) -> int:
        """Return the cores that are used by what has no account, or kept for a server."""
        own = sum(
            running
            for build, (running, _) in units.items()
            if build in self.tokens.accounts and not self._state.builds[build].lender
        )
        others = max(0, self._state.gates.budget.running_cores - own)
        return others + self._state.inference.kept_cores


def _logs(plan: Plan, in_fifo: Mapping[str, int]) -> list[Action]:
    """Tell of tokens that were lost, or are too many."""

    def fields(build: str, count: int) -> dict[str, Any]:
        return {"build": build, "tokens": count, "in_fifo": in_fifo[build]}

    return [
        Log("jobserver.healed", fields(move.build, move.count)) for move in plan.moves if move.heals
    ]
