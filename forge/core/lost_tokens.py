"""Tokens that went with the process that held them, and tokens that nobody ever took.

A process that is killed with SIGKILL gives nothing back, and a build that has lost all its tokens
goes on with one unit at a time to its end. Nobody can ask a process how many tokens it holds, but
what it can hold at most is known: one for each thing that it does at once. What is missing beyond
the sum over all living processes is lost.

The bound and the missing bytes are not read at the same moment, so one look proves nothing. What
two looks agree on, `AGREE_AFTER_S` apart, is put back. A mistake would be a byte too many, and that
is seen when it comes back: there are more bytes than were granted, and they are taken out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from forge.core.process_tree import Member

AGREE_AFTER_S = 2.0
"""Far beyond the milliseconds in which a token is taken and its process not yet there."""

GATES = frozenset({"forge-shim", "rustc-gate", "test-gate"})
"""The shim: its program's name, and what it is called. It holds no token; what it starts may."""


def most_held(cargo: int, tree: Sequence[Member]) -> int:
    """Return the most tokens that `cargo` and all that is below it can hold.

    Cargo holds one for each job, and a job is a child. Others hold one for each thread that works
    (rustc) or each child (make, ninja), and one that they have taken and not used yet.
    """
    children: dict[int, int] = {}
    for one in tree:
        children[one.parent] = children.get(one.parent, 0) + 1
    others = [one for one in tree if one.name not in GATES]
    held = sum(max(one.threads, children.get(one.pid, 0)) + 1 for one in others)
    return children.get(cargo, 0) + held


@dataclass(slots=True)
class Losses:
    """What is suspected to be lost: by build, how much and since when."""

    suspected: dict[str, tuple[int, float]] = field(default_factory=dict)
    counted_s: dict[str, float] = field(default_factory=dict)

    def look(self, build: str, taken: int, holders: int | None, now_s: float) -> int:
        """Return how many bytes to put back (above 0) or to take out (below 0)."""
        if taken < 0:
            return taken
        if holders is None:
            return 0
        self.counted_s[build] = now_s
        lost = taken - holders
        before, since_s = self.suspected.pop(build, (lost, now_s))
        if lost <= 0:
            return 0
        if now_s - since_s >= AGREE_AFTER_S:
            return min(lost, before)
        self.suspected[build] = (min(lost, before), since_s)
        return 0

    def is_due(self, build: str, now_s: float) -> bool:
        """Say whether the holders of a build were last counted long enough ago."""
        return now_s - self.counted_s.get(build, float("-inf")) >= AGREE_AFTER_S

    def forget(self, build: str) -> None:
        """Forget a build that is over."""
        self.suspected.pop(build, None)
        self.counted_s.pop(build, None)
