"""Job tokens: how many bytes each build's jobserver has now, when several builds have one each.

Every build is granted enough tokens to use the whole machine alone. What its gates hold back costs
no core, whatever tokens its cargo holds for it. What is taken beyond that are *threads*: rustc's
code generation, make and ninja under build scripts, and whatever passes no gate. They start without
asking, so two things keep units and threads together within the capacity: units get the cores that
threads leave, and bytes that nobody has taken are withdrawn until only as many are left as cores.

A byte that is taken cannot be had back. A byte that is not taken may become a thread at any time.
So it is unused bytes alone that are counted and moved. Theory and figures: docs/design/tokens.md.

Owed: granted = withdrawn + in the FIFO + taken. Whatever makes that untrue is `lost_tokens.py`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from forge.core.lost_tokens import Losses
from forge.core.shares import Priority, split


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one build's tokens, all at one moment.

    `in_fifo` are the bytes that nobody has taken, `running` and `waiting` its units at gates.
    `holders` is the most that living processes can hold (`lost_tokens.most_held`); None: they were
    not counted.
    """

    in_fifo: int
    running: int = 0
    waiting: int = 0
    priority: Priority = Priority.BATCH
    holders: int | None = None


@dataclass(slots=True)
class Account:
    """One build's tokens. Invariant: 0 <= withdrawn <= granted."""

    granted: int
    withdrawn: int = 0

    def taken(self, in_fifo: int) -> int:
        """Return how many bytes processes hold; below 0 when there are more than were granted."""
        return self.granted - self.withdrawn - in_fifo

    def threads(self, seen: Seen) -> int:
        """Return what is taken beyond the units at gates. Cargo's first unit needs no token."""
        return max(0, self.taken(seen.in_fifo) - max(0, seen.running + seen.waiting - 1))


@dataclass(frozen=True, slots=True)
class Move:
    """Put `count` bytes into a build's FIFO, or take -`count` out.

    `heals`: the bytes make good what processes have lost or added, and nobody owes them.
    """

    build: str
    count: int
    heals: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What follows from a look: what to move, and how many threads each build has."""

    moves: tuple[Move, ...]
    threads: Mapping[str, int]


@dataclass(slots=True)
class Tokens:
    """The accounts of all builds that have a jobserver of ours. Invariant: see `Account`."""

    accounts: dict[str, Account] = field(default_factory=dict)
    losses: Losses = field(default_factory=Losses)

    def begin(self, build: str, granted: int) -> None:
        """Open an account. The FIFO has `granted` bytes, or had them when it was made."""
        self.accounts[build] = Account(max(0, granted))

    def end(self, build: str) -> None:
        """Close an account; its bytes go with its FIFO."""
        self.accounts.pop(build, None)
        self.losses.forget(build)

    def moved(self, move: Move) -> None:
        """Take note of what was moved in truth, which may be less than was planned."""
        account = self.accounts.get(move.build)
        if account is None or move.heals:
            return
        account.withdrawn -= move.count
        assert 0 <= account.withdrawn <= account.granted, f"{move.build} is owed {account}"

    def withdrawn(self) -> dict[str, int]:
        """Return what is owed to each FIFO: to be put back before the daemon lets go of them."""
        return {build: one.withdrawn for build, one in self.accounts.items() if one.withdrawn}

    def look(self, capacity: int, elsewhere: int, seen: Mapping[str, Seen], now_s: float) -> Plan:
        """Decide what to do about what was seen. `seen` without an account is passed over.

        `elsewhere` are cores in use by what has no account: tests, and what else asks the budget.
        """
        seen = {build: one for build, one in seen.items() if build in self.accounts}
        threads = {build: self.accounts[build].threads(one) for build, one in seen.items()}
        if self.is_alone(elsewhere):
            kept = {build: self.accounts[build].granted for build in seen}
        else:
            kept = self._keep(max(0, capacity - elsewhere), seen, threads)
        return Plan((*self._heal(seen, now_s), *self._share(seen, kept)), threads)

    def is_alone(self, elsewhere: int) -> bool:
        """Say whether one build has all cores: its own tokens then bound units and threads."""
        return len(self.accounts) < 2 and not elsewhere

    def to_count(self, threads: Mapping[str, int], now_s: float) -> tuple[str, ...]:
        """Return the builds whose holders the next look should count: a loss looks like threads."""
        return tuple(
            build
            for build in self.accounts
            if threads.get(build) and self.losses.is_due(build, now_s)
        )

    def _heal(self, seen: Mapping[str, Seen], now_s: float) -> list[Move]:
        found = []
        for build, one in seen.items():
            taken = self.accounts[build].taken(one.in_fifo)
            count = self.losses.look(build, taken, one.holders, now_s)
            if count:
                found.append(Move(build, count, heals=True))
        return found

    def _share(self, seen: Mapping[str, Seen], kept: Mapping[str, int]) -> list[Move]:
        """Move bytes so that each FIFO keeps what its build may take until the next look."""
        found = []
        for build, one in seen.items():
            account = self.accounts[build]
            owned = min(one.in_fifo, account.granted - account.withdrawn)
            count = min(account.withdrawn, kept[build] - owned)
            if count:
                found.append(Move(build, count))
        return found

    def _keep(
        self, capacity: int, seen: Mapping[str, Seen], threads: Mapping[str, int]
    ) -> dict[str, int]:
        """Return how many unused bytes each FIFO is to have.

        Free cores go to the builds that have emptied their FIFO; the others have shown that they
        want no more than what is left there.
        """
        used = sum(one.running + one.waiting for one in seen.values()) + sum(threads.values())
        wants = [
            (one.priority, one.in_fifo or self.accounts[build].withdrawn)
            for build, one in seen.items()
        ]
        parts = split(max(0, capacity - used), wants)
        probing = self._probing(capacity, seen, threads)
        return {
            build: max(math.ceil(part - 1e-6), int(build in probing))
            for build, part in zip(seen, parts, strict=True)
        }

    def _probing(
        self, capacity: int, seen: Mapping[str, Seen], threads: Mapping[str, int]
    ) -> set[str]:
        """Return the builds that keep one byte though no core is free.

        That is how a build shows that it wants more. When it has no threads the byte goes to a unit
        that then waits at its gate. When it has some, the byte is likely to become another, so it
        is kept only for a build with fewer cores than its share: others give way at their gates.
        """
        wants = [
            (
                one.priority,
                threads[build] + one.running + (one.waiting if one.in_fifo else capacity),
            )
            for build, one in seen.items()
        ]
        shares = split(capacity, wants)
        return {
            build
            for (build, one), share in zip(seen.items(), shares, strict=True)
            if not threads[build] or one.running + threads[build] < share
        }
