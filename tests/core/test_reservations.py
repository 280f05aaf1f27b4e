"""Bytes for linkers: who gets some, who waits, who may overtake, and that nobody starves."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.core.reservations import Reservations

GIB = 1024**3


def book(reservations, **wants):
    """Ask in order; return the names that were granted."""
    names = {ord(name): name for name in wants}
    granted = []
    for name, want in wants.items():
        granted += reservations.ask(ord(name), want, now_s=0.0)
    return [names[ticket] for ticket in granted]


@pytest.mark.parametrize(
    ("wants", "available", "granted"),
    [
        ({"a": 40, "b": 60}, None, ["a", "b"]),
        ({"a": 40, "b": 61}, None, ["a"]),
        ({"a": 900}, None, ["a"]),  # alone: always let one through
        ({"a": 900, "b": 1}, None, ["a"]),  # and nothing beside it, as the buffer is gone
        ({"a": 1, "b": 900}, None, ["a"]),
        ({"a": 40, "b": 40}, 60, ["a"]),  # booked memory counts even while it is not touched
        ({"a": 40}, 0, ["a"]),
        ({"a": 0, "b": 0}, 0, ["a", "b"]),
        ({"a": -5}, None, ["a"]),
    ],
)
def test_bytes_are_granted_while_they_fit(wants, available, granted):
    reservations = Reservations(100, available_bytes=available)
    assert book(reservations, **wants) == granted
    reservations.check()


def test_memory_that_is_touched_is_not_counted_twice():
    reservations = Reservations(1000, available_bytes=100)
    assert book(reservations, a=80, b=50) == ["a"]
    assert reservations.measure(20, {ord("a"): 80}) == [], "a's 80 are in what the kernel says"
    assert reservations.measure(50, {ord("a"): 80}) == [ord("b")]


def test_one_that_outgrows_its_booking_books_more_before_others_are_granted():
    reservations = Reservations(100)
    assert book(reservations, a=40) == ["a"]
    assert reservations.measure(None, {ord("a"): 70, ord("z"): 5}) == []
    assert reservations.booked_bytes == 70
    assert book(reservations, b=40) == []
    reservations.measure(None, {ord("a"): 10})
    assert reservations.booked_bytes == 70, "what it has needed it may need again"
    assert reservations.release(ord("a")) == [ord("b")]


def test_small_ones_overtake_a_large_one_by_so_much_and_no_more():
    reservations = Reservations(100, passing_bytes=50)
    assert book(reservations, a=60, b=80, c=20, d=20, e=20) == ["a", "c", "d"]
    reservations.release(ord("c"))
    reservations.check()
    assert not reservations.holds(ord("e")), "40 have passed; 20 more would be 60"
    assert reservations.release(ord("d")) == []
    assert reservations.release(ord("a")) == [ord("b"), ord("e")]


def test_nothing_overtakes_beside_one_that_must_be_alone():
    reservations = Reservations(100, passing_bytes=50)
    reservations.ask(1, 10, now_s=0.0, is_alone=True)
    assert reservations.ask(2, 10, now_s=0.0) == []
    assert reservations.release(1) == [2]


def test_a_cancelled_one_waits_again_at_its_old_place_and_then_alone():
    reservations = Reservations(100, passing_bytes=1000)
    assert book(reservations, a=40, b=40, c=40) == ["a", "b"]
    reservations.shut(True)
    assert reservations.wait_again(ord("a"), want_bytes=90, is_alone=True) == []
    assert reservations.shut(False) == []
    shortage = reservations.waiting(ord("a"), now_s=3.0)
    assert shortage and (shortage.ahead, shortage.is_alone, shortage.since_s) == (0, True, 3.0)
    assert reservations.release(ord("b")) == [ord("a")]
    assert reservations.release(ord("a")) == [ord("c")]
    assert reservations.wait_again(77, want_bytes=1, is_alone=False) == []


def test_while_it_is_shut_nothing_is_granted_not_even_the_first():
    reservations = Reservations(100)
    reservations.shut(True)
    assert book(reservations, a=1) == []
    assert reservations.waiting(ord("a"), now_s=0.0).is_shut  # type: ignore[union-attr]
    assert reservations.shut(False) == [ord("a")]


def test_though_it_is_shut_one_that_fits_may_be_let_go_when_nothing_is_booked():
    reservations = Reservations(100)
    reservations.shut(True)
    book(reservations, a=60, b=30, c=20)
    assert reservations.grant_one(10) == [], "the model would have to make room"
    assert reservations.grant_one(40) == [ord("b")], "the first that fits"
    assert reservations.grant_one(40) == [], "one is enough"
    reservations.check()


def test_what_runs_already_is_counted_beyond_the_buffer():
    reservations = Reservations(100)
    for ticket in (1, 2):
        reservations.adopt(ticket, 80, now_s=0.0)
    reservations.adopt(1, 5, now_s=0.0)
    assert reservations.booked_bytes == 160
    assert reservations.room_bytes == -60
    assert reservations.ask(3, 10, now_s=0.0) == []
    assert reservations.release(1) == [3]


def test_a_larger_buffer_lets_more_in_and_a_smaller_one_takes_nothing_back():
    reservations = Reservations(100)
    assert book(reservations, a=60, b=60) == ["a"]
    assert reservations.set_buffer(120, 0) == [ord("b")]
    assert reservations.set_buffer(10, 0) == []
    assert reservations.booked_bytes == 120
    assert [one.ticket for one in reservations.holders()] == [ord("a"), ord("b")]


@pytest.mark.parametrize(
    ("beside", "available", "granted"),
    [
        ([400], 400, [0]),  # four times the buffer: it is there
        ([401], 400, []),  # nothing else is booked, and yet: it is no build
        ([300, 101, 100], 400, [0]),  # first come, first served
        ([300, 150, 60, 40], 400, [0, 2]),  # one that waits is passed, but by no more than so much
        ([60, 60], None, [0]),  # not measured: the buffer must do
    ],
)
def test_beside_the_buffer_only_what_is_available_counts(beside, available, granted):
    reservations = Reservations(100, passing_bytes=70, available_bytes=available)
    for ticket, want in enumerate(beside):
        reservations.ask(ticket, want, now_s=0.0, is_beside=True)
    reservations.check()
    assert [one.ticket for one in reservations.holders()] == granted
    assert reservations.booked_bytes == 0


def test_what_is_booked_beside_leaves_the_buffer_what_is_available_and_never_nothing():
    reservations = Reservations(100, available_bytes=400)
    assert reservations.ask(1, 350, now_s=0.0, is_beside=True) == [1]
    assert reservations.room_bytes == 50
    assert book(reservations, a=90, b=1) == ["a"], "one always, however little is left"
    assert reservations.release(ord("a")) == [ord("b")]


def test_one_that_runs_alone_in_the_buffer_has_nothing_beside_it_that_is_new():
    reservations = Reservations(100, available_bytes=400)
    assert reservations.ask(1, 10, now_s=0.0, is_beside=True) == [1]
    assert reservations.ask(2, 50, now_s=0.0, is_alone=True) == [2], "what is there is there"
    assert reservations.ask(3, 10, now_s=0.0, is_beside=True) == []
    assert reservations.release(2) == [3]


@pytest.mark.parametrize(
    ("others", "goes_on"),
    [
        ([], 70),  # the links keep it waiting: they pass by so much, then one at a time
        ([250], 1000),  # another one beside keeps it waiting as well: links go on
    ],
)
def test_links_make_way_for_what_waits_for_them_alone(others, goes_on):
    reservations = Reservations(100, passing_bytes=70, available_bytes=400)
    for ticket, want in enumerate(others, 500):
        reservations.ask(ticket, want, now_s=0.0, is_beside=True)
    reservations.ask(1000, 10, now_s=0.0)
    assert reservations.ask(999, 395, now_s=0.0, is_beside=True) == []
    passed = 0
    for ticket in range(100):
        passed += 10 * len(reservations.ask(ticket, 10, now_s=0.0))
        reservations.release(ticket)
        reservations.check()
    assert passed == goes_on
    assert (999 in reservations.release(1000)) == (not others)


STEPS = st.one_of(
    st.tuples(st.just("beside"), st.integers(0, 9), st.integers(0, 250)),
    st.tuples(st.just("ask"), st.integers(0, 9), st.integers(0, 150)),
    st.tuples(st.just("alone"), st.integers(0, 9), st.integers(0, 150)),
    st.tuples(st.just("release"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("observe"), st.integers(0, 9), st.integers(0, 200)),
    st.tuples(st.just("again"), st.integers(0, 9), st.integers(0, 150)),
    st.tuples(st.just("measure"), st.just(0), st.integers(-50, 300)),
    st.tuples(st.just("shut"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("buffer"), st.just(0), st.integers(0, 200)),
)


def apply(reservations, step):
    what, ticket, amount = step
    match what:
        case "ask" | "alone":
            return reservations.ask(ticket, amount, now_s=0.0, is_alone=what == "alone")
        case "beside":
            return reservations.ask(ticket, amount, now_s=0.0, is_beside=True)
        case "release":
            return reservations.release(ticket)
        case "observe":
            return reservations.measure(None, {ticket: amount})
        case "again":
            return reservations.wait_again(ticket, want_bytes=amount, is_alone=False)
        case "measure":
            return reservations.measure(amount)
        case "shut":
            return reservations.shut(bool(ticket))
        case _:
            return reservations.set_buffer(amount, 50)


@given(st.lists(STEPS, max_size=80))
@settings(deadline=None)
def test_whatever_happens_nothing_is_promised_twice_and_all_get_their_turn(steps):
    reservations = Reservations(100, passing_bytes=50)
    held: set[int] = set()
    for step in steps:
        before = reservations.booked_bytes
        granted = apply(reservations, step)
        reservations.check()
        if step[0] in ("release", "again") and step[1] not in granted:
            held.discard(step[1])
        assert not held & set(granted) or step[0] in ("again",), "granted twice"
        held |= set(granted)
        assert held == {one.ticket for one in reservations.holders()}
        in_buffer = [one for one in reservations.holders() if not one.is_beside]
        if granted and len(in_buffer) > 1 and step[0] in ("ask", "alone"):
            assert reservations.booked_bytes <= max(100, before, reservations.buffer_bytes)
    reservations.shut(False)
    reservations.measure(None)
    for _ in range(20):  # whoever is first ends, until nobody waits
        if not reservations.waiting_count:
            break
        assert reservations.holders()
        reservations.release(reservations.holders()[0].ticket)
        reservations.check()
    assert not reservations.waiting_count
    reservations.measure(100_000)
    for _ in range(20):
        if not any(reservations.waiting(ticket, now_s=0.0) for ticket in range(10)):
            return
        reservations.release(reservations.holders()[0].ticket)
        reservations.check()
    raise AssertionError("something beside the buffer waits for ever")


@given(st.lists(st.integers(1, 60), min_size=1, max_size=60))
def test_a_large_one_is_not_passed_for_ever(wants):
    reservations = Reservations(100, passing_bytes=100)
    reservations.ask(1000, 50, now_s=0.0)
    reservations.ask(1001, 90, now_s=0.0)
    passed = 0
    for ticket, want in enumerate(wants):
        for granted in reservations.ask(ticket, want, now_s=0.0):
            passed += wants[granted]
        reservations.release(ticket)
    assert passed <= 100
    assert reservations.release(1000)[0] == 1001
