"""The units of one build and what depends on what: chains that hang on a unit, the longest of all.

Ids come from rustc's command lines and may be missing, repeated, dangling or, from a broken client,
in a circle; a circle is cut where it closes.

What a build script does when it runs is no unit: cargo starts it, and asks nobody. It shows as the
time between the last of what a unit needs and the moment at which the unit asks. That is too long
where cargo had no token for the unit, and too short where something else was ready even later.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

SCRIPT_SHOWS_S = 0.05
"""Shorter times are cargo's own, between the end of a unit and the start of the next."""


@dataclass(frozen=True, slots=True)
class Node:
    """A unit that has run. Times are seconds since its build began.

    `needs` holds the ids of what it was compiled against, and of its package's build script, which
    is `script` as well.
    """

    id: str
    name: str
    key: str
    asked_s: float
    started_s: float
    ended_s: float
    cpu_s: float
    peak_kib: int
    needs: frozenset[str] = frozenset()
    script: str | None = None

    @property
    def run_s(self) -> float:
        """Return how long it ran."""
        return max(0.0, self.ended_s - self.started_s)


@dataclass(slots=True)
class UnitGraph:
    """Units by id; of two with one id, the one that was added last."""

    nodes: dict[str, Node] = field(default_factory=dict)

    def add(self, node: Node) -> None:
        """Add a unit."""
        self.nodes[node.id] = node

    def ranks(self) -> dict[str, float]:
        """Return for each id the longest chain of seconds that begins with it."""
        dependents: dict[str, list[str]] = {name: [] for name in self.nodes}
        for name, node in self.nodes.items():
            for need in node.needs:
                if need in dependents:
                    dependents[need].append(name)
        ranks: dict[str, float] = {}
        for name in self._dependents_first(dependents):
            chains = [self._chain_s(name, one, ranks) for one in dependents[name]]
            ranks[name] = max([self.nodes[name].run_s, *chains])
        return ranks

    def script_run_s(self, node: Node) -> float:
        """Return how long a unit waited for nothing but the run of its build script."""
        needs = [self.nodes[need] for need in node.needs if need in self.nodes]
        if node.script not in self.nodes:
            return 0.0
        waited_s = node.asked_s - max(need.ended_s for need in needs)
        return waited_s if waited_s >= SCRIPT_SHOWS_S else 0.0

    def critical_path(self, until: Node | None = None) -> list[Node]:
        """Return the chain that ends with `until`, by default with the unit that ended last.

        It goes from each unit back to what it waited for.
        """
        path: list[Node] = []
        seen: set[str] = set()
        node = until or max(self.nodes.values(), key=lambda one: one.ended_s, default=None)
        while node is not None and node.id not in seen:
            seen.add(node.id)
            path.append(node)
            node = self._waited_for(node)
        return path[::-1]

    def _chain_s(self, name: str, dependent: str, ranks: dict[str, float]) -> float:
        """Return the chain that goes on with a dependent.

        Cargo starts a dependent when the metadata of what it needs is there, before the code is.
        """
        need, node = self.nodes[name], self.nodes[dependent]
        after_s = ranks.get(dependent, 0.0)
        if node.script == name:
            return need.run_s + self.script_run_s(node) + after_s
        return min(need.run_s, max(0.0, node.asked_s - need.started_s)) + after_s

    def _waited_for(self, node: Node) -> Node | None:
        if node.script and self.script_run_s(node):
            return self.nodes[node.script]
        needs = [self.nodes[need] for need in node.needs if need in self.nodes]
        return max(needs, key=lambda one: one.ended_s, default=None)

    def _dependents_first(self, dependents: dict[str, list[str]]) -> Iterator[str]:
        """Yield all ids, each after those that depend on it, unless they depend on one another."""
        seen: set[str] = set()
        for root in self.nodes:
            stack = [] if root in seen else [(root, iter(dependents[root]))]
            seen.add(root)
            while stack:
                name, left = stack[-1]
                following = next((one for one in left if one not in seen), None)
                if following is None:
                    stack.pop()
                    yield name
                else:
                    seen.add(following)
                    stack.append((following, iter(dependents[following])))
