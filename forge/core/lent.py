"""Cores that a test binary, or a command, lends to the builds that it starts itself.

A test binary holds cores of the budget. A build inside it (trybuild runs cargo, for one) must not
ask the budget as well: the test would wait for it, and it for the test. So its units use the cores
of the test, as many at once as the tests of the outer build hold, and always one. It is the same
with a command that holds cores (`reserved.py`): the lender is its reservation then.
"""

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Account:
    running: set[int] = field(default_factory=set)
    waiting: deque[int] = field(default_factory=deque)


@dataclass(slots=True)
class Lent:
    """Tickets that run or wait on lent cores, by the build or the reservation that lends."""

    _accounts: dict[str, _Account] = field(default_factory=dict)

    def ask(self, lender: str, ticket: int, cores: int) -> list[int]:
        """Let a ticket start, or wait; return the tickets that start now."""
        self._accounts.setdefault(lender, _Account()).waiting.append(ticket)
        return self.grant(lender, cores)

    def adopt(self, lender: str, ticket: int) -> None:
        """Count a ticket that runs already."""
        self._accounts.setdefault(lender, _Account()).running.add(ticket)

    def release(self, lender: str, ticket: int, cores: int) -> list[int]:
        """Give back what a ticket holds, or take it out of the line."""
        account = self._accounts.get(lender)
        if account is None:
            return []
        account.running.discard(ticket)
        if ticket in account.waiting:
            account.waiting.remove(ticket)
        if not account.running and not account.waiting:
            del self._accounts[lender]
        return self.grant(lender, cores)

    def grant(self, lender: str, cores: int) -> list[int]:
        """Start what fits into `cores`, of which there is always one."""
        account = self._accounts.get(lender)
        started: list[int] = []
        while account and account.waiting and len(account.running) < max(1, cores):
            ticket = account.waiting.popleft()
            account.running.add(ticket)
            started.append(ticket)
        return started

    def running(self) -> set[int]:
        """Return the tickets that run on lent cores."""
        return {ticket for account in self._accounts.values() for ticket in account.running}

    def waiting(self) -> set[int]:
        """Return the tickets that wait for lent cores."""
        return {ticket for account in self._accounts.values() for ticket in account.waiting}

    def check(self) -> None:
        """Assert that nothing waits while nothing runs."""
        for lender, account in self._accounts.items():
            assert account.running or not account.waiting, f"units wait inside {lender}"
