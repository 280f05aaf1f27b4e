"""What a build has done so far, and what is kept of it when it is over."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from forge.core import messages
from forge.core.behind import Behind, What
from forge.core.builds import Build
from forge.core.graph import Node, UnitGraph
from forge.core.learned import Observation
from forge.core.outcome import outcome_of
from forge.core.start import without_secrets

SLOWEST = 10
MAX_PATH = 200
NOISE = 1.02
"""wait4(2) tells of a rustc the largest of itself and of all that it has waited for."""

MAX_PARTS = 20_000
"""Units of one build beyond that are counted and not remembered one by one."""


MAX_WORDS = 40
MAX_CHARACTERS = 200
"""Of a long command line so many words are kept, and of a long word so many characters."""


@dataclass(slots=True)
class Tally:
    """What the gates have seen of one build so far. Seconds are sums over what was behind them."""

    units: int = 0
    links: int = 0
    tests: int = 0
    lost: int = 0
    cpu_s: float = 0.0
    waited_s: float = 0.0
    unit_peak_kib: int = 0
    link_peak_kib: int = 0
    test_peak_kib: int = 0

    def count(self, what: What, message: messages.UnitEnded) -> None:
        """Add what one of them has cost."""
        if what is not What.LINK:  # its rustc waits for it: what it used is in what that used
            self.cpu_s += message.user_s + message.system_s
        match what:
            case What.UNIT:
                self.units += 1
                self.unit_peak_kib = max(self.unit_peak_kib, message.peak_kib)
            case What.LINK:
                self.links += 1
                self.link_peak_kib = max(self.link_peak_kib, message.peak_kib)
            case What.TEST:
                self.tests += 1
                self.test_peak_kib = max(self.test_peak_kib, message.peak_kib)

    @property
    def peak_kib(self) -> int:
        """Return the largest resident set that one process of the build had."""
        return max(self.unit_peak_kib, self.link_peak_kib, self.test_peak_kib)


@dataclass(slots=True)
class Recorder:
    """One build's units as they end. `began_s` is the steady clock at its begin.

    `waited_behind` sums up seconds by build; where several builds had cores, each of them counts.
    `needs` is what was killed for memory, and is to book more the next time.
    """

    began_s: float
    cores: int = 0
    tally: Tally = field(default_factory=Tally)
    parts: list[Node] = field(default_factory=list)
    waited_behind: dict[str, float] = field(default_factory=dict)
    needs: list[Observation] = field(default_factory=list)
    _roots: dict[str, str | None] = field(default_factory=dict)
    _ahead: dict[str, list[str]] = field(default_factory=dict)
    _graph: UnitGraph = field(default_factory=UnitGraph)
    _build_scripts: dict[str, str] = field(default_factory=dict)
    _kinds: list[What] = field(default_factory=list)
    _own_kib: list[int] = field(default_factory=list)
    _link_kib: dict[str, int] = field(default_factory=dict)

    def started(self, one: Behind, now_s: float) -> None:
        """Take note of how long something waited, and behind whom."""
        waited_s = now_s - one.asked_s
        self.tally.waited_s += waited_s
        if waited_s <= 0.0:
            return
        for build, root in one.ahead.items():
            self.waited_behind[build] = self.waited_behind.get(build, 0.0) + waited_s
            self._roots[build] = root

    def ended(self, one: Behind, message: messages.UnitEnded, now_s: float) -> None:
        """Take note of what something has cost."""
        self.tally.count(one.what, message)
        if len(self.parts) >= MAX_PARTS:
            return
        started_s = now_s if one.started_s is None else one.started_s
        started_s = min(started_s, now_s - message.wall_s)  # earlier, if an earlier daemon let it
        script = self._build_scripts.get(one.package or "") if one.uses_build_script else None
        node = Node(
            id=one.unit_id or f"#{len(self.parts)}",
            name=one.name,
            key=one.key if message.exit == 0 else "",
            asked_s=one.asked_s - self.began_s,
            started_s=started_s - self.began_s,
            ended_s=now_s - self.began_s,
            cpu_s=message.user_s + message.system_s,
            peak_kib=message.peak_kib,
            needs=frozenset((*one.externs, script) if script else one.externs),
            script=script,
        )
        self.parts.append(node)
        self._kinds.append(one.what)
        self._own_kib.append(self._own_peak_kib(one, message))
        if one.ahead and node.started_s > node.asked_s:
            self._ahead[node.id] = list(one.ahead)
        if one.what is not What.LINK:
            self._graph.add(node)
        if one.is_build_script and one.package:
            self._build_scripts[one.package] = node.id

    def _own_peak_kib(self, one: Behind, message: messages.UnitEnded) -> int:
        """Return what one needed itself: a rustc's figure is its linker's, if that needed more.

        0: it is not known, and less than what its linker has booked.
        """
        crate = one.crate or ""
        if one.what is What.LINK:
            self._link_kib[crate] = max(message.peak_kib, self._link_kib.get(crate, 0))
        elif one.what is What.UNIT and message.peak_kib <= self._link_kib.get(crate, 0) * NOISE:
            return 0
        return message.peak_kib

    def observations(self, root: str | None, *, is_whole: bool = True) -> Iterator[Observation]:
        """Yield what is to be learned from the build.

        Of one that is not whole, since it failed or was cancelled, units were not seen that would
        have depended on others: it teaches what they cost, and nothing of chains.
        """
        yield from self.needs
        ranks: dict[str, float] = {}  # of units with one key, two versions of a crate, the longest
        if is_whole and len(self.parts) < MAX_PARTS:
            for name, rank_s in self._graph.ranks().items():
                key = self._graph.nodes[name].key
                ranks[key] = max(rank_s, ranks.get(key, 0.0))
        for what, node, own_kib in zip(self._kinds, self.parts, self._own_kib, strict=True):
            if node.key:
                yield Observation(
                    root or "", node.key, node.run_s, node.cpu_s, own_kib,
                    ranks.get(node.key) if what is What.UNIT else None,
                )  # fmt: skip

    def details(self) -> dict[str, Any]:
        """Tell where the time went: who was waited for, what was slowest, the critical path."""
        slowest = sorted(zip(self._kinds, self.parts, strict=True), key=lambda one: -one[1].run_s)[
            :SLOWEST
        ]
        return {
            "behind": [
                {"build": build, "root": self._roots[build], "wait_s": round(wait_s, 3)}
                for build, wait_s in sorted(self.waited_behind.items(), key=lambda one: -one[1])
            ][:SLOWEST],
            "slowest": [{"kind": what, **_shown(node)} for what, node in slowest],
            "at_gates_s": round(_covered_s((one.asked_s, one.ended_s) for one in self.parts), 3),
            "critical_path": [
                {**_shown(node), "behind": self._ahead.get(node.id, [])}
                for node in self._critical_path()
            ],
        }

    def _critical_path(self) -> list[Node]:
        """Return the chain that ended last; cargo runs tests in a row, so they are one."""
        tests: list[Node] = []
        parts = zip(self._kinds, self.parts, strict=True)
        for node in reversed([one for what, one in parts if what is What.TEST]):
            if not tests or node.ended_s <= tests[0].asked_s:
                tests.insert(0, node)
        until = tests[0] if tests else None
        return [*self._graph.critical_path(until), *tests[1:]][-MAX_PATH:]


def build_record(build: Build, recorder: Recorder, now_s: float) -> dict[str, Any]:
    """Return what is kept of a build: as in `forge history --json`, times in seconds."""
    tally = asdict(recorder.tally)
    spent_s = build.spent_until(now_s)
    before_s = sum(one_s for phase, one_s in spent_s.items() if phase.is_before_cargo)
    return {
        "id": build.id,
        "root": build.root,
        "cwd": build.cwd,
        "verb": build.args.verb,
        "argv": [word[:MAX_CHARACTERS] for word in without_secrets(build.args.argv)[:MAX_WORDS]],
        "profile": build.args.profile,
        "via": build.via,
        "parent": build.parent,
        "priority": build.priority,
        "client": build.client,
        "target_dir": build.target_dir,
        "began_at": build.began_at,
        "wall_s": round(now_s - build.began_steady_s, 3),
        "wait_s": round(before_s, 3),
        "waits": {phase: round(one_s, 3) for phase, one_s in spent_s.items()},
        "waited_behind": [
            {"build": one, "root": root} for one, root in build.waited_behind.items()
        ][:SLOWEST],
        "exit": build.exit,
        "signal": build.signal,
        "cancelled": build.is_cancelled,
        "outcome": outcome_of(build),
        "requeued": build.is_requeued,
        "again": build.again.build if build.again else None,
        "killed_for_memory": list(build.killed),
        "gated": build.is_gated,
        "cores": recorder.cores,
        "peak_kib": recorder.tally.peak_kib,
        **{name: round(value, 3) if isinstance(value, float) else value
           for name, value in tally.items()},
    }  # fmt: skip


def _covered_s(spans: Iterable[tuple[float, float]]) -> float:
    """Return how many seconds lie in at least one of the spans."""
    covered_s, until_s = 0.0, 0.0
    for begin_s, end_s in sorted(spans):
        covered_s += max(0.0, end_s - max(begin_s, until_s))
        until_s = max(until_s, end_s)
    return covered_s


def _shown(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "wait_s": round(max(0.0, node.started_s - node.asked_s), 3),
        "run_s": round(node.run_s, 3),
        "cpu_s": round(node.cpu_s, 3),
        "started_s": round(node.started_s, 3),
        "peak_kib": node.peak_kib,
    }
