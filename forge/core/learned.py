"""What units, links, tests and builds have cost before, and what the next one will therefore cost.

What is known is kept by workspace root and a key without hashes, so that it survives a change of
the sources, of features and of the toolchain. A crate or a test that was never seen in this
workspace is taken to cost what it cost in another one; a whole build is not, since its key says
nothing of what is built. Of each the last `KEPT` runs count: an estimate falls as well as rises.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median

from forge.core import messages

KEPT = 8
MAX_ENTRIES = 50_000
MIN_RUN_S = 0.001
RANK_FALLS_TO = 0.9
"""A rebuild of a part sees shorter chains than there are: a rank falls by no more than this."""


def key_of_unit(unit: messages.Unit) -> str:
    """Name what a rustc compiles, the same in each build: crate, kinds, profile, target, package.

    The package tells build scripts apart, which all have one name, and so have many test targets.
    """
    links = "link" if not unit.emit or "link" in unit.emit else "check"
    kinds = "+".join(unit.kinds)
    profile = (unit.opt, unit.debug, unit.lto or "", unit.target or "", links)
    return " ".join(("unit", unit.crate, kinds, *profile, unit.package or ""))


def key_of_test(name: str, threads: int | None) -> str:
    """Name a test binary; `name` is its file name without the hash.

    One test of it at a time, as nextest runs them, keeps other cores busy than all at once.
    """
    return f"test {name}" if threads is None else f"test {name} threads={threads}"


def key_of_work(verb: str | None, profile: str, *, is_cold: bool) -> str:
    """Name what a whole build is: its verb, its profile, and whether its target dir is empty."""
    return f"build {verb} {profile} {'cold' if is_cold else 'warm'}"


def key_of_growth(work_key: str) -> str:
    """Name what a whole build writes to the disk; its peak is what it wrote."""
    return f"disk {work_key}" if work_key else ""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one run has cost. `rank_s`: the longest chain of work that began with it."""

    root: str
    key: str
    run_s: float
    cpu_s: float
    peak_kib: int
    rank_s: float | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the next run is expected to cost; `cores` is how many it keeps busy."""

    run_s: float
    cpu_s: float
    cores: float
    peak_kib: int
    rank_s: float | None
    seen: int


@dataclass(frozen=True, slots=True)
class Entry:
    """The last runs of one key in one workspace: (run_s, cpu_s, peak_kib), oldest first."""

    root: str
    key: str
    runs: tuple[tuple[float, float, int], ...] = ()
    rank_s: float | None = None
    at: float = 0.0

    def after(self, one: Observation, at: float) -> "Entry":
        """Return what is known after one more run."""
        run = (max(one.run_s, MIN_RUN_S), max(one.cpu_s, 0.0), max(one.peak_kib, 0))
        rank_s = self.rank_s
        if one.rank_s is not None:
            rank_s = max(one.rank_s, RANK_FALLS_TO * (rank_s or 0.0))
        return Entry(self.root, self.key, (*self.runs, run)[-KEPT:], rank_s, at)

    def estimate(self) -> Estimate:
        """Say what the next run will cost: medians, and the largest of the peaks."""
        return Estimate(
            run_s=median(run_s for run_s, _, _ in self.runs),
            cpu_s=median(cpu_s for _, cpu_s, _ in self.runs),
            cores=max(1.0, median(cpu_s / run_s for run_s, cpu_s, _ in self.runs)),
            peak_kib=max(peak_kib for _, _, peak_kib in self.runs),
            rank_s=self.rank_s,
            seen=len(self.runs),
        )


class Learned:
    """All that was learned, at most `limit` entries; what was not seen for longest is forgotten.

    Invariant: entries are in the order in which they were last seen, and `_roots` names for each
    key the workspaces where it is known, in that order as well.
    """

    def __init__(self, entries: Iterable[Entry] = (), *, limit: int = MAX_ENTRIES) -> None:
        self._limit = limit
        self._entries: OrderedDict[tuple[str, str], Entry] = OrderedDict()
        self._roots: dict[str, dict[str, None]] = {}
        self._work_s: dict[str, float] = {}
        for entry in sorted(entries, key=lambda one: one.at):
            if entry.runs:
                self._put(entry)
        self._forget_oldest()

    def estimate(self, root: str | None, key: str) -> Estimate | None:
        """Say what a unit or a test will cost; None when nothing like it was ever seen."""
        entry = self._entries.get((root or "", key))
        if entry is None and key in self._roots:
            entry = self._entries[next(reversed(self._roots[key])), key]
        return entry.estimate() if entry else None

    def estimate_here(self, root: str | None, key: str) -> Estimate | None:
        """Say what a build will cost; None when there was none like it in this workspace."""
        entry = self._entries.get((root or "", key))
        return entry.estimate() if entry else None

    def work_s(self, root: str | None) -> float:
        """Return the core seconds of all units of a workspace, each as it was seen last."""
        return max(0.0, self._work_s.get(root or "", 0.0))

    def observe(self, one: Observation, at: float) -> Entry:
        """Take a run in; return the entry that is to be kept. `at` is wall time."""
        known = self._entries.get((one.root, one.key))
        if known is not None:
            self._drop(known)
        entry = (known or Entry(one.root, one.key)).after(one, at)
        self._put(entry)
        self._forget_oldest()
        return entry

    def forget(self, root: str | None = None) -> int:
        """Forget all, or all of one workspace; return how many entries that were."""
        gone = self.of(root)
        for entry in gone:
            self._drop(entry)
        return len(gone)

    def of(self, root: str | None) -> list[Entry]:
        """Return all entries (None), or those of one workspace."""
        return [entry for entry in self if root in (None, entry.root)]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def check(self) -> None:
        """Assert the invariant."""
        known = {(root, key) for key, roots in self._roots.items() for root in roots}
        assert known == self._entries.keys(), "a key is filed under a workspace that is unknown"
        assert all(self._roots.values()), "a key is known nowhere"

    def _put(self, entry: Entry) -> None:
        self._entries[entry.root, entry.key] = entry
        self._roots.setdefault(entry.key, {})[entry.root] = None
        self._count(entry, 1)

    def _forget_oldest(self) -> None:
        while len(self._entries) > self._limit:
            self._drop(next(iter(self)))

    def _drop(self, entry: Entry) -> None:
        del self._entries[entry.root, entry.key]
        self._count(entry, -1)
        del self._roots[entry.key][entry.root]
        if not self._roots[entry.key]:
            del self._roots[entry.key]

    def _count(self, entry: Entry, by: int) -> None:
        if entry.key.startswith("unit "):
            _, cpu_s, _ = entry.runs[-1]
            self._work_s[entry.root] = self._work_s.get(entry.root, 0.0) + by * cpu_s
