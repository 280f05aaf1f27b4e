import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.core.admission import MAX_PASSED, Admission, is_short, proposed_limit
from forge.core.shares import Priority

INTERACTIVE, BATCH = Priority.INTERACTIVE, Priority.BATCH


ARRIVALS = itertools.count()


def join(admission, build, priority=BATCH, verb="build", now_s=0.0):
    order = next(ARRIVALS)
    return admission.join(build, order=order, priority=priority, verb=verb, now_s=now_s)


def why(admission, build):
    wait = admission.waiting(build, now_s=5.0)
    assert wait is not None, f"{build} does not wait"
    return wait


@pytest.mark.parametrize("limit", [-1, 0, 1])
def test_when_nothing_is_admitted_one_build_is(limit):
    admission = Admission(limit)
    assert join(admission, "a") == ["a"]
    assert join(admission, "b") == []
    assert admission.leave("a") == ["b"]


@pytest.mark.parametrize(("cores", "limit"), [(1, 2), (2, 2), (32, 32)])
def test_as_many_are_proposed_as_fill_the_cores(cores, limit):
    assert proposed_limit(cores) == limit


def test_the_line_is_in_order_of_priority_then_arrival():
    admission = Admission(1)
    for build, priority in [("a", BATCH), ("b", BATCH), ("c", INTERACTIVE), ("d", INTERACTIVE)]:
        join(admission, build, priority)
    assert admission.line() == ["c", "d", "b"]
    assert admission.set_priority("b", INTERACTIVE, "build") == []
    assert admission.line() == ["b", "c", "d"]


@pytest.mark.parametrize(
    ("priority", "verb", "short"),
    [
        (INTERACTIVE, "check", True),
        (INTERACTIVE, "clippy", True),
        (INTERACTIVE, "build", False),
        (BATCH, "check", False),  # an agent's check is one among many
        (INTERACTIVE, None, False),
    ],
)
def test_a_short_check_is_what_an_editor_runs(priority, verb, short):
    assert is_short(priority, verb) is short


def test_an_editors_check_does_not_wait_behind_long_builds():
    admission = Admission(2)
    for build in ("a", "b", "c"):
        join(admission, build)
    assert join(admission, "e1", INTERACTIVE, "check") == ["e1"]
    assert join(admission, "e2", INTERACTIVE, "check") == ["e2"]
    assert join(admission, "e3", INTERACTIVE, "check") == []  # a hundred of them would be no help
    assert admission.leave("e1") == ["e3"]
    assert admission.leave("a") == ["c"]


def test_a_batch_build_is_passed_a_bounded_number_of_times():
    admission = Admission(1)
    join(admission, "running")
    join(admission, "batch")
    now = "running"
    for i in range(MAX_PASSED):
        join(admission, f"me{i}", INTERACTIVE)
        assert admission.leave(now) == [f"me{i}"]
        now = f"me{i}"
        admission.check()
    join(admission, "me", INTERACTIVE)
    assert admission.leave(now) == ["batch"]


def test_a_wait_says_what_for():
    admission = Admission(1)
    for build in ("a", "b", "c"):
        join(admission, build)
    assert admission.waiting("a", now_s=5.0) is None
    assert why(admission, "c").text(str.upper) == (
        "waiting for a build to end: 1 at work (A), at most 1; 1 ahead: B"
    )
    admission.hold(True)
    assert why(admission, "c").text(str) == "the machine is held; `forge resume` lets builds go on"


def test_held_nothing_is_admitted():
    admission = Admission(2)
    admission.hold(True)
    assert join(admission, "a") == []
    assert admission.hold(False) == ["a"]
    assert join(admission, "a") == []


def test_a_build_that_runs_already_is_counted():
    admission = Admission(1)
    admission.adopt("a")
    assert join(admission, "b") == []
    assert admission.set_limit(2) == ["b"]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["join", "leave", "limit", "hold", "go", "adopt", "priority"]),
        st.sampled_from("abcdefgh"),
        st.sampled_from(list(Priority)),
        st.sampled_from(["check", "build"]),
        st.integers(0, 3),
    )
)


@settings(max_examples=200)
@given(STEPS)
def test_whatever_happens_all_that_wait_are_admitted_once_in_the_end(steps):
    admission = Admission(2)
    for what, build, priority, verb, limit in steps:
        match what:
            case "join":
                join(admission, build, priority, verb)
            case "leave":
                admission.leave(build)
            case "limit":
                admission.set_limit(limit)
            case "hold":
                admission.hold(True)
            case "go":
                admission.hold(False)
            case "adopt":
                admission.adopt(build)
            case _:
                admission.set_priority(build, priority, verb)
        admission.check()
    waiting = admission.line()
    admitted = admission.hold(False)
    for build in "abcdefgh" * 9:  # each round lets at least one more in
        admitted += admission.leave(build) if build not in admission.line() else []
    assert set(waiting) <= set(admitted)
    assert len(admitted) == len(set(admitted))
