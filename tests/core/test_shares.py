import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.core.shares import Group, Kept, Line, Priority, chargeable_s, max_min, split

INTERACTIVE, BATCH = Priority.INTERACTIVE, Priority.BATCH


@pytest.mark.parametrize(
    ("total", "wants", "shares"),
    [
        (8, [], []),
        (8, [(1, 100), (1, 100)], [4, 4]),
        (8, [(1, 1), (1, 100)], [1, 7]),  # what one cannot use goes to the others
        (8, [(3, 100), (1, 100)], [6, 2]),
        (8, [(3, 1), (1, 2), (1, 100)], [1, 2, 5]),
        (8, [(1, 2), (1, 2)], [2, 2]),  # nobody gets more than it can use
        (0, [(1, 2), (1, 2)], [0, 0]),
    ],
)
def test_a_split_is_max_min_fair(total, wants, shares):
    assert max_min(total, wants) == pytest.approx(shares)


@given(
    st.floats(0, 1000),
    st.lists(st.tuples(st.floats(0.1, 100), st.floats(0, 100)), max_size=20),
)
def test_a_split_gives_out_all_that_can_be_used_and_favours_nobody(total, wants):
    shares = max_min(total, wants)
    assert sum(shares) == pytest.approx(min(total, sum(most for _, most in wants)))
    levels = [share / weight for share, (weight, _) in zip(shares, wants, strict=True)]
    for share, (weight, most) in zip(shares, wants, strict=True):
        assert share <= most + 1e-9
        if share < most - 1e-6:  # it wants more: nobody has more for its weight
            assert share / weight >= max(levels) - 1e-6


def test_a_split_weighs_priorities_however_many_builds_each_has():
    assert split(32, [(INTERACTIVE, 99)] + [(BATCH, 99)] * 10) == pytest.approx([30] + [0.2] * 10)
    assert split(32, [(BATCH, 99), (BATCH, 99)]) == [16, 16]
    assert split(32, [(INTERACTIVE, 2), (BATCH, 99)]) == [2, 30]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(0, 5)))))
def test_a_line_is_in_order_of_its_keys(steps):
    line = Line()
    keys: dict[str, tuple[int, int]] = {}
    for name, key in steps:
        if key is None:
            line.drop(name)
            keys.pop(name, None)
        else:
            line.put(name, (key, ord(name)))
            keys[name] = (key, ord(name))
        line.check()
        order = sorted(keys, key=keys.__getitem__)
        assert list(line.in_order()) == order
        assert line.first() == (order[0] if order else None)


def test_a_line_does_not_keep_what_is_stale():
    line = Line()
    line.put("first", (0.0, 0))
    for i in range(10_000):
        line.put("moves", (float(i + 1), 1))
    assert len(line._heap) < 100


def test_the_even_lane_gets_its_part():
    group = Group(BATCH, even_share=0.25)
    lanes = []
    for _ in range(40):
        lanes.append(group.is_even_next())
        group.charge(1.0, is_even=lanes[-1])
    assert sum(lanes) == 10
    assert not lanes[0]


def test_without_a_turn_lane_all_is_even():
    group = Group(BATCH, even_share=1.0)
    group.charge(5.0, is_even=True)
    assert group.is_even_next()


@pytest.mark.parametrize(
    ("expected_s", "charged_s"),
    [(None, 1.0), (2.5, 2.5), (0.0, 0.001), (-1.0, 0.001), (float("inf"), 600.0)],
)
def test_whatever_was_expected_can_be_charged(expected_s, charged_s):
    assert chargeable_s(expected_s) == charged_s


def test_what_is_kept_is_used_oldest_first_and_lapses():
    kept = Kept()
    assert kept.due_s() is None
    kept.keep("a", 2, 1.0)
    kept.keep("a", 2, 3.0)
    kept.keep("b", 1, 2.0)
    assert (kept.sum(), kept.sum(but="a"), kept.due_s()) == (5, 1, 1.0)
    kept.use("a", 3)
    assert (kept.sum(but="b"), kept.due_s()) == (1, 2.0)
    kept.lapse(2.0)
    assert kept.cores == {"a": [(3.0, 1)]}
    kept.use("a", 5)
    kept.use("nobody", 5)
    assert not kept.cores
