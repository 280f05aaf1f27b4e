"""The ladder: up fast, down slowly, and never to and fro."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.core.pressure import (
    BAND_FACTOR,
    CALM_S,
    MAX_CALM_S,
    SETTLE_S,
    TOP,
    Ladder,
    Rung,
)


def climb(ladder, seconds, *, start=0.0, step=0.05, has_more=False):
    """Look for so long at memory that is tight; return the changes."""
    count = round(seconds / step)
    return [
        ladder.look(start + number * step, is_tight=True, is_calm=False, has_more=has_more)
        for number in range(count)
    ]


def test_the_gate_shuts_at_the_second_look_and_the_youngest_link_goes_soon_after():
    ladder = Ladder()
    changes = climb(ladder, 0.4, has_more=True)
    rungs = [change.rung for change in changes]
    assert rungs[:2] == [Rung.HOLD_ADMISSION, Rung.SHUT_UNITS]
    first = next(number for number, change in enumerate(changes) if change.takes)
    assert changes[first].rung is Rung.CANCEL_LINKS
    assert first * 0.05 <= 0.3


def test_where_there_is_nothing_to_take_the_next_rung_is_tried_up_to_the_top():
    ladder = Ladder()
    changes = climb(ladder, 10.0, has_more=False)
    assert changes[-1].rung is TOP
    assert sum(change.is_new for change in changes) == len(Rung) - 1


def test_a_rung_that_takes_goes_on_taking_but_not_faster_than_it_can_have_effect():
    ladder = Ladder()
    changes = climb(ladder, 2.0, has_more=True)
    takes = [number * 0.05 for number, change in enumerate(changes) if change.takes]
    assert len(takes) >= 4
    assert all(later - earlier >= 0.3 for earlier, later in pairwise(takes))
    assert changes[-1].rung is Rung.CANCEL_LINKS, "while links are left, nothing worse happens"


def stay_between(ladder, seconds, *, start):
    """Look for so long at memory that is neither tight nor calm; return the changes."""
    return [
        ladder.look(start + number / 10, is_tight=False, is_calm=False, has_more=True)
        for number in range(round(seconds * 10))
    ]


def test_between_tight_and_calm_nothing_changes_for_a_while():
    ladder = Ladder()
    climb(ladder, 0.1)
    for change in stay_between(ladder, BAND_FACTOR * CALM_S, start=1.0):
        assert (change.rung, change.takes) == (Rung.SHUT_UNITS, False)


def test_what_stays_between_for_long_is_left_in_the_end_and_within_a_bound():
    ladder = Ladder(rung=Rung.SHUT_LINKS, calm_s=MAX_CALM_S)
    left = [one for one in stay_between(ladder, 3 * MAX_CALM_S + 1, start=1.0) if one.is_new]
    assert [one.rung for one in left] == [Rung.SHUT_UNITS, Rung.HOLD_ADMISSION, Rung.CALM]


def test_the_way_down_is_one_rung_at_a_time_and_each_needs_its_calm():
    ladder = Ladder()
    climb(ladder, 0.1)
    now_s = 10.0
    seen = []
    while ladder.rung and now_s < 100:
        seen.append((now_s, ladder.look(now_s, is_tight=False, is_calm=True, has_more=False).rung))
        now_s += 0.1
    at = {rung: next(s for s, one in seen if one is rung) for rung in (Rung(1), Rung(0))}
    assert at[Rung(1)] - 10.0 >= CALM_S - 0.001
    assert at[Rung(0)] - at[Rung(1)] >= CALM_S - 0.001


def test_one_that_comes_back_too_early_waits_longer_the_next_time():
    ladder = Ladder()
    now_s = 0.0
    waits = []
    for _ in range(8):
        ladder.look(now_s, is_tight=True, is_calm=False, has_more=False)
        began = now_s
        while ladder.rung:
            now_s += 0.1
            ladder.look(now_s, is_tight=False, is_calm=True, has_more=False)
        waits.append(now_s - began)
        now_s += 0.5
    assert waits[1] > 1.5 * waits[0]
    assert max(waits) <= MAX_CALM_S + 1
    for _ in range(400):
        now_s += 0.1
        ladder.look(now_s, is_tight=False, is_calm=True, has_more=False)
    assert ladder.calm_s == CALM_S, "a long calm is forgiven"


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0])
def test_a_clock_that_jumps_changes_nothing_at_once(jump_s):
    ladder = Ladder()
    climb(ladder, 0.1, start=10_000.0)
    change = ladder.look(10_000.0 + jump_s, is_tight=False, is_calm=True, has_more=False)
    assert change.rung is Rung.SHUT_UNITS
    assert ladder.look(10_000.0, is_tight=True, is_calm=False, has_more=True).rung >= change.rung


@given(
    st.lists(
        st.tuples(st.sampled_from(["tight", "calm", "between"]), st.floats(0.01, 5), st.booleans()),
        max_size=100,
    )
)
@settings(deadline=None)
def test_no_rung_is_skipped_and_none_is_left_while_memory_is_tight(looks):
    ladder, now_s = Ladder(), 0.0
    for state, after_s, has_more in looks:
        now_s += after_s
        change = ladder.look(
            now_s, is_tight=state == "tight", is_calm=state == "calm", has_more=has_more
        )
        assert abs(change.rung - change.was) <= 1
        if state == "tight":
            assert change.rung >= change.was
        else:
            assert change.rung <= change.was and not change.takes
        assert CALM_S <= ladder.calm_s <= MAX_CALM_S


class Plant:
    """A machine of 16 GiB with links of 1 GiB that come as long as the gate is open."""

    def __init__(self, hog_gib):
        self.free_gib = 16.0 - hog_gib
        self.links: list[float] = []  # when each ends
        self.units_shut = self.links_shut = False

    def step(self, now_s):
        ended = [end for end in self.links if end <= now_s]
        self.links = [end for end in self.links if end > now_s]
        self.free_gib += len(ended)
        if not self.links_shut and len(self.links) < 12:
            self.links.append(now_s + 4.0)
            self.free_gib -= 1.0


def test_under_a_steady_want_of_memory_it_settles_and_does_not_swing():
    ladder, plant = Ladder(), Plant(hog_gib=10.0)
    rungs = []
    for number in range(4000):  # 200 s
        now_s = number * 0.05
        plant.step(now_s)
        is_tight, is_calm = plant.free_gib < 1.0, plant.free_gib > 2.5
        change = ladder.look(now_s, is_tight=is_tight, is_calm=is_calm, has_more=bool(plant.links))
        if change.takes and plant.links:
            plant.links.pop()
            plant.free_gib += 1.0
        plant.links_shut = change.rung >= Rung.SHUT_LINKS
        rungs.append(change.rung)
    turns = sum(
        (later > now) and (now < before)
        for before, now, later in zip(rungs, rungs[1:], rungs[2:], strict=False)
    )
    late = rungs[2000:]
    swings = sum(one is not other for one, other in pairwise(late))
    assert turns == 0
    assert swings <= 24, "in 100 s, at most a climb and a way down every 30 s or so"
    assert max(SETTLE_S.values()) < 2
