"""What was learned falls and rises, is forgotten in order, and agrees with a naive memory."""

import itertools
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from forge.core import messages
from forge.core.learned import (
    KEPT,
    MIN_RUN_S,
    RANK_FALLS_TO,
    Entry,
    Learned,
    Observation,
    key_of_unit,
    key_of_work,
)


def seen(run_s=1.0, *, root="/a", key="unit serde", cpu_s=None, peak_kib=100, rank_s=None):
    return Observation(root, key, run_s, run_s if cpu_s is None else cpu_s, peak_kib, rank_s)


def unit(**fields):
    given = {"build": "b1", "pid": 1, "crate": "serde", "kinds": ["lib"], **fields}
    return messages.Unit(**given)


@pytest.mark.parametrize(
    ("fields", "is_another"),
    [
        ({"id": "serde-0123", "metadata": "0123"}, False),  # hashes change with the toolchain
        ({"externs": ["core-1"], "codegen_units": 16, "incremental": True}, False),
        ({"emit": ["dep-info", "link"]}, False),  # as with no --emit at all
        ({"emit": ["dep-info", "metadata"]}, True),  # a check
        ({"opt": "3"}, True),
        ({"debug": "2"}, True),
        ({"lto": "thin"}, True),
        ({"target": "wasm32-wasip1"}, True),
        ({"kinds": ["test"]}, True),
        ({"package": "serde_fork"}, True),
    ],
)
def test_a_unit_is_known_by_what_decides_its_cost(fields, is_another):
    assert (key_of_unit(unit(**fields)) != key_of_unit(unit())) is is_another


def test_build_scripts_have_one_name_and_are_told_apart():
    scripts = [unit(crate="build_script_build", package=name) for name in ("ring", "libc")]
    assert len({key_of_unit(one) for one in scripts}) == 2


def test_a_cold_build_is_another_work_than_a_warm_one():
    keys = {key_of_work("build", "dev", is_cold=cold) for cold in (True, False)}
    assert len(keys | {key_of_work("check", "dev", is_cold=True)}) == 3


def test_an_estimate_is_a_median_that_rises_and_falls():
    learned = Learned()
    for run_s in (1.0, 1.0, 50.0):  # an outlier
        learned.observe(seen(run_s), at=0.0)
    assert known(learned).run_s == 1.0
    for _ in range(KEPT):
        learned.observe(seen(9.0, cpu_s=27.0, peak_kib=7), at=0.0)
    assert (known(learned).run_s, known(learned).cpu_s, known(learned).cores) == (9.0, 27.0, 3.0)
    assert known(learned).peak_kib == 7, "the larger peaks are too long ago"
    for _ in range(KEPT // 2 + 1):
        learned.observe(seen(2.0), at=0.0)
    assert known(learned).run_s == 2.0


def test_of_the_peaks_that_are_kept_the_largest_counts():
    learned = Learned()
    for peak_kib in (10, 900, 20):
        learned.observe(seen(peak_kib=peak_kib), at=0.0)
    assert known(learned).peak_kib == 900


def test_what_took_no_time_keeps_one_core_busy():
    learned = Learned()
    learned.observe(Observation("/a", "unit serde", 0.0, -1.0, -5), at=0.0)
    got = known(learned)
    assert (got.run_s, got.cpu_s, got.cores, got.peak_kib) == (MIN_RUN_S, 0.0, 1.0, 0)


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        ([None], None),
        ([5.0], 5.0),
        ([5.0, None], 5.0),  # a build that failed says nothing of chains
        ([5.0, 8.0], 8.0),  # rises at once
        ([100.0, 1.0], 100 * RANK_FALLS_TO),  # a part was built: no end of the chain in it
        ([100.0, 1.0, 1.0], 100 * RANK_FALLS_TO**2),
        ([100.0, 95.0], 95.0),
    ],
)
def test_a_rank_rises_at_once_and_falls_slowly(ranks, expected):
    learned = Learned()
    for rank_s in ranks:
        learned.observe(seen(rank_s=rank_s), at=0.0)
    assert known(learned).rank_s == (expected if expected is None else pytest.approx(expected))


def test_a_rank_comes_down_to_what_is_true():
    learned = Learned()
    for rank_s in (1000.0, *(10.0 for _ in range(50))):
        learned.observe(seen(rank_s=rank_s), at=0.0)
    assert known(learned).rank_s == 10.0


def test_a_crate_that_is_new_here_costs_what_it_did_where_it_was_built_last():
    learned = Learned()
    learned.observe(seen(1.0, root="/a"), at=1.0)
    learned.observe(seen(5.0, root="/b"), at=2.0)
    assert known(learned, "/new").run_s == 5.0
    learned.observe(seen(3.0, root="/a"), at=3.0)
    assert known(learned, "/new").run_s == 2.0
    assert known(learned, "/b").run_s == 5.0, "its own counts first"
    learned.forget("/a")
    assert known(learned, "/new").run_s == 5.0
    assert learned.estimate(None, "unit serde"), "a build outside any workspace"
    assert learned.estimate("/a", "unit syn") is None


def test_a_whole_build_tells_nothing_of_those_of_other_workspaces():
    learned = Learned()
    learned.observe(seen(0.1, key="build check dev warm"), at=0.0)
    assert learned.estimate_here("/huge", "build check dev warm") is None
    assert learned.estimate_here("/a", "build check dev warm")


def test_what_comes_from_the_database_is_cut_to_the_newest():
    entries = [Entry("/a", f"unit {at}", ((1.0, 1.0, 1),), at=at) for at in (3.0, 1.0, 2.0)]
    empty = Entry("/a", "unit empty", (), at=9.0)
    assert [one.at for one in Learned([*entries, empty], limit=2)] == [2.0, 3.0]


def known(learned, root="/a"):
    found = learned.estimate(root, "unit serde")
    assert found is not None
    return found


LIMIT = 5
ROOTS = st.sampled_from(["", "/a", "/b", "/c"])
KEYS = st.sampled_from(["k1", "k2", "k3"])


class Memory(RuleBasedStateMachine):
    """Beside `Learned` a list of all runs, newest last, from which all is found by looking."""

    def __init__(self):
        super().__init__()
        self.learned = Learned(limit=LIMIT)
        self.runs: list[tuple[str, str, float]] = []
        self.clock = itertools.count()

    def latest(self):
        """Return what is known in the order in which it was last seen."""
        order: dict[tuple[str, str], list[float]] = {}
        for root, key, run_s in self.runs:
            runs = order.pop((root, key), [])
            order[root, key] = [*runs, run_s]
            while len(order) > LIMIT:
                del order[next(iter(order))]
        return order

    @rule(root=ROOTS, key=KEYS, run_s=st.floats(0.01, 100))
    def observe(self, root, key, run_s):
        self.runs.append((root, key, run_s))
        kept = self.learned.observe(seen(run_s, root=root, key=key), at=float(next(self.clock)))
        assert kept.runs[-1][0] == run_s

    @rule(root=st.one_of(st.none(), ROOTS))
    def forget(self, root):
        known = self.latest()
        gone = [one for one in known if root in (None, one[0])]
        assert self.learned.forget(root) == len(gone)
        left = [(one, runs) for one, runs in known.items() if one not in gone]
        self.runs = [(*one, run_s) for one, runs in left for run_s in runs]

    @rule()
    def restart(self):
        self.learned = Learned(reversed(list(self.learned)), limit=LIMIT)

    @invariant()
    def agrees(self):
        self.learned.check()
        latest = self.latest()
        assert [(one.root, one.key) for one in self.learned] == list(latest)
        for key in ("k1", "k2", "k3"):
            others = [runs for (_, its), runs in latest.items() if its == key]
            for root in ("", "/a", "/b", "/c"):
                runs = latest.get((root, key)) or (others[-1] if others else None)
                got = self.learned.estimate(root, key)
                assert (got is None) == (runs is None)
                if got and runs:
                    assert got.run_s == median(runs[-KEPT:])
                    assert got.seen == len(runs[-KEPT:])


TestMemory = Memory.TestCase
TestMemory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1e6)), min_size=1, max_size=12))
def test_an_estimate_lies_among_what_was_seen(runs):
    learned = Learned()
    for run_s, cpu_s in runs:
        learned.observe(seen(run_s, cpu_s=cpu_s), at=0.0)
    last = [max(MIN_RUN_S, run_s) for run_s, _ in runs][-KEPT:]
    assert min(last) <= known(learned).run_s <= max(last)
    assert known(learned).cores >= 1.0
