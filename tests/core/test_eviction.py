"""What leaves the RAM disk first."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.core.eviction import (
    Candidate,
    Piece,
    chance_of_use,
    plan_eviction,
    worth_per_byte,
)
from tests.sim import eviction_day

GIB = 1024**3
HOUR, DAY = 3600.0, 86400.0
NOW = 100 * DAY
USUAL = Candidate("/r/app", 2 * GIB, NOW - 3 * DAY, NOW - HOUR, 20, 120.0)


def first(*candidates: Candidate, wanted: int = 1) -> str:
    return plan_eviction(candidates, wanted, NOW).choices[0].path


@pytest.mark.parametrize(("change", "why"), [
    ({"last_used_at": NOW - 2 * DAY}, "not used for longer"),
    ({"sessions": 2}, "used less often"),
    ({"rebuild_s": 5.0}, "cheap to build again"),
    ({"size_bytes": 20 * GIB}, "takes more for the same"),
    ({"has_checkout": False, "rebuild_s": 9e9}, "nobody can miss it"),
    ({"is_saved": True}, "a snapshot brings it back"),
])  # fmt: skip
def test_what_is_worth_less_for_each_byte_goes_first(change, why):
    other = replace(USUAL, path="/r/other", **change)
    assert first(USUAL, other) == "/r/other", why
    assert first(other, USUAL) == "/r/other", why


def test_one_that_is_built_once_a_week_outlives_one_that_was_done_with():
    weekly = Candidate("/r/weekly", GIB, NOW - 70 * DAY, NOW - 6 * DAY, 10, 600.0)
    done = Candidate("/r/done", GIB, NOW - 8 * DAY, NOW - 6 * DAY, 40, 600.0)
    assert chance_of_use(weekly, NOW) > chance_of_use(done, NOW)


@pytest.mark.parametrize("kept", [{"is_pinned": True}, {"busy": "b12"}])
def test_what_is_pinned_or_used_stays_even_if_nothing_else_is_there(kept):
    plan = plan_eviction([replace(USUAL, **kept)], GIB, NOW)
    assert plan.choices == ()
    assert not plan.is_enough


def test_a_piece_of_little_use_goes_before_any_whole_target_dir():
    stale = Piece(("debug/incremental",), GIB, 0.5, "incremental data of old sessions")
    plan = plan_eviction([replace(USUAL, pieces=(stale,)), USUAL], GIB // 2, NOW)
    (choice,) = plan.choices
    assert choice.parts == ("debug/incremental",)
    assert choice.why == "incremental data of old sessions"


def test_what_goes_as_a_whole_takes_its_pieces_along_and_nothing_is_counted_twice():
    stale = Piece(("debug/incremental",), GIB, 0.5, "old")
    plan = plan_eviction([replace(USUAL, pieces=(stale,))], 2 * GIB, NOW)
    (choice,) = plan.choices
    assert choice.parts == ()
    assert plan.freed_bytes == 2 * GIB
    assert plan.is_enough


def test_no_more_goes_than_is_wanted():
    many = [replace(USUAL, path=f"/r/{n}", rebuild_s=100.0 + n) for n in range(10)]
    plan = plan_eviction(many, 3 * GIB, NOW)
    assert [one.path for one in plan.choices] == ["/r/0", "/r/1"]
    assert plan_eviction(many, 0, NOW).choices == ()


def test_what_a_larger_one_has_made_superfluous_stays():
    small = replace(USUAL, path="/r/small", size_bytes=GIB, rebuild_s=1.0)
    large = replace(USUAL, path="/r/large", size_bytes=10 * GIB, rebuild_s=100.0)
    plan = plan_eviction([small, large], 5 * GIB, NOW)
    assert [one.path for one in plan.choices] == ["/r/large"]


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        st.integers(0, 30).map(lambda n: f"/r/{n}"),
        st.integers(0, 64 * GIB), st.floats(0, NOW), st.floats(0, NOW), st.integers(0, 10**6),
        st.floats(0, 1e6), st.booleans(), st.booleans(), st.booleans(),
        st.sampled_from(["", "b1"]),
        st.lists(st.builds(Piece, st.just(("x",)), st.integers(0, GIB), st.floats(0, 10),
                           st.just("old")), max_size=2).map(tuple),
    ),
    max_size=30, unique_by=lambda one: one.path,
)  # fmt: skip


@given(CANDIDATES, st.integers(0, 1 << 40))
def test_a_plan_frees_what_is_wanted_or_all_that_may_go_and_touches_nothing_else(found, wanted):
    plan = plan_eviction(found, wanted, NOW)
    by_path = {one.path: one for one in found}
    for choice in plan.choices:
        assert not by_path[choice.path].is_pinned
        assert not by_path[choice.path].busy
    whole = [one.path for one in plan.choices if not one.parts]
    assert len(whole) == len(set(whole))
    assert not set(whole) & {one.path for one in plan.choices if one.parts}
    free = [one for one in found if not one.is_pinned and not one.busy]
    assert plan.is_enough or set(whole) == {one.path for one in free if one.size_bytes}


@given(CANDIDATES)
def test_worth_and_chance_are_numbers_that_make_sense(found):
    for one in found:
        assert 0.0 <= chance_of_use(one, NOW) <= 1.0
        assert worth_per_byte(one, NOW) >= 0.0


@pytest.mark.parametrize("seed", range(4))
def test_a_day_costs_less_than_by_age_and_not_much_more_than_if_the_future_were_known(seed):
    lost = eviction_day.lost_s(seed)
    assert lost["worth"] < 0.9 * lost["least recently used"]
    assert lost["worth"] < 2.5 * max(lost["future"], 600.0)
