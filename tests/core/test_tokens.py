"""How many bytes each jobserver has: what is withdrawn, given back, and taken for threads."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.core.shares import Priority
from forge.core.tokens import Account, Move, Seen, Tokens

INTERACTIVE, BATCH = Priority.INTERACTIVE, Priority.BATCH


def opened(**granted):
    tokens = Tokens()
    for build, count in granted.items():
        tokens.begin(build, count)
    return tokens


def look(tokens, capacity=8, elsewhere=0, now_s=0.0, **seen):
    """Look, move all that is to be moved, and return it by build."""
    plan = tokens.look(capacity, elsewhere, seen, now_s)
    for move in plan.moves:
        tokens.moved(move)
    return {move.build: move.count for move in plan.moves}


@pytest.mark.parametrize(
    ("in_fifo", "running", "waiting", "threads"),
    [
        (7, 0, 0, 0),
        (7, 1, 0, 0),  # cargo's first unit needs no token
        (5, 2, 1, 0),  # and each further one has one, also while it waits at its gate
        (4, 2, 1, 1),  # what is taken beyond them is a thread of rustc, or make's
        (0, 1, 0, 7),
        (7, 3, 0, 0),  # seen a moment too late: units that have just ended are no debt
    ],
)
def test_what_is_taken_beyond_the_units_is_threads(in_fifo, running, waiting, threads):
    assert Account(7).threads(Seen(in_fifo, running, waiting)) == threads


def test_a_lone_build_keeps_all_its_tokens():
    tokens = opened(a=7)
    assert look(tokens, a=Seen(3, running=1)) == {}


def test_a_second_build_leaves_each_with_no_more_than_what_is_free():
    tokens = opened(a=7, b=7)
    moved = look(tokens, a=Seen(4, running=4), b=Seen(7))
    # 4 of 8 cores are free: neither may take more than its part of them
    assert moved == {"a": -2, "b": -5}
    assert tokens.withdrawn() == {"a": 2, "b": 5}


def test_tests_that_hold_cores_leave_fewer_for_threads():
    tokens = opened(a=7)
    assert look(tokens, elsewhere=6, a=Seen(7)) == {"a": -5}
    assert look(tokens, elsewhere=0, a=Seen(2)) == {"a": 5}


def test_a_build_that_has_emptied_its_fifo_gets_what_others_leave():
    tokens = opened(a=7, b=7)
    look(tokens, a=Seen(4, running=4), b=Seen(7))
    moved = look(tokens, a=Seen(0, running=4), b=Seen(2))
    assert moved == {"a": 1, "b": -1}, "two cores are free, and both want one"
    tokens.end("b")
    assert look(tokens, a=Seen(1, running=4)) == {"a": 1}
    assert tokens.withdrawn() == {}


def test_where_no_core_is_free_one_byte_shows_who_wants_more():
    tokens = opened(a=3, b=3)
    moved = look(tokens, capacity=4, a=Seen(2, running=2), b=Seen(2, running=2))
    assert moved == {"a": -1, "b": -1}


def test_a_build_whose_threads_fill_its_share_is_left_no_byte_for_another():
    tokens = opened(a=3, b=3)
    greedy = Seen(1, running=1)  # 2 of its 3 tokens are threads
    assert look(tokens, capacity=4, a=greedy, b=Seen(2, running=1))["a"] == -1


def test_a_build_in_the_line_of_an_urgent_one_gives_its_bytes_up():
    tokens = opened(a=31, b=31)
    moved = look(tokens, capacity=32, a=Seen(31, priority=INTERACTIVE), b=Seen(31, priority=BATCH))
    assert moved["a"] == -1 and moved["b"] == -29


def test_what_is_unknown_is_passed_over_and_what_is_over_is_forgotten():
    tokens = opened(a=3)
    tokens.end("a")
    tokens.end("a")
    assert look(tokens, a=Seen(0), b=Seen(9)) == {}
    tokens.moved(Move("a", -2))
    assert tokens.withdrawn() == {}


@st.composite
def histories(draw):
    builds = draw(st.integers(1, 4))
    steps = st.tuples(
        st.sampled_from(["take", "give", "look", "end"]),
        st.integers(0, builds - 1),
        st.integers(1, 5),
    )
    return builds, draw(st.integers(1, 12)), draw(st.lists(steps, max_size=60))


@given(histories())
@settings(deadline=None)
def test_whatever_processes_do_no_byte_is_lost_or_made(history):
    count, capacity, steps = history
    names = [f"b{number}" for number in range(count)]
    tokens = opened(**dict.fromkeys(names, capacity - 1))
    in_fifo = dict.fromkeys(names, capacity - 1)
    taken = dict.fromkeys(names, 0)
    for what, which, amount in steps:
        name = names[which]
        if name not in in_fifo:
            continue
        if what == "take":
            amount = min(amount, in_fifo[name])
            in_fifo[name] -= amount
            taken[name] += amount
        elif what == "give":
            amount = min(amount, taken[name])
            in_fifo[name] += amount
            taken[name] -= amount
        elif what == "end":
            tokens.end(name)
            del in_fifo[name], taken[name]
        else:
            seen = {one: Seen(in_fifo[one]) for one in in_fifo}
            for move in tokens.look(capacity, 0, seen, 0.0).moves:
                assert not move.heals, "nothing was lost"
                in_fifo[move.build] += move.count
                assert in_fifo[move.build] >= 0
                tokens.moved(move)
    for name, account in tokens.accounts.items():
        assert account.granted == account.withdrawn + in_fifo[name] + taken[name]
    while len(in_fifo) > 1:  # the last one gets all back
        name = next(iter(in_fifo))
        tokens.end(name)
        del in_fifo[name]
    for name in in_fifo:
        look(tokens, capacity, **{name: Seen(in_fifo[name])})
        assert tokens.withdrawn() == {}
