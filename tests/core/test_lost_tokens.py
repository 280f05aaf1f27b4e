"""Tokens that went with a process: what can be held at most, and what is missing beyond that."""

import pytest

from forge.core.lost_tokens import AGREE_AFTER_S, Losses, most_held
from forge.core.process_tree import Member, below

CARGO = 10


def tree(*rows):
    return [Member(pid, parent, name, threads) for pid, parent, name, threads in rows]


@pytest.mark.parametrize(
    ("members", "held"),
    [
        (tree(), 0),  # cargo between two units
        (tree((11, CARGO, "rustc", 1)), 1 + 2),  # a job, its thread, and one taken for the next
        (tree((11, CARGO, "rustc", 9)), 1 + 10),
        # a gate that waits is a job; it holds nothing of its own
        (tree((11, CARGO, "forge-shim", 1)), 1),
        (tree((11, CARGO, "rustc-gate", 1), (12, 11, "rustc", 4)), 1 + 5),
        # make holds a token for each child
        (
            tree(
                (11, CARGO, "build-script", 1),
                (12, 11, "make", 1),
                (13, 12, "cc", 1),
                (14, 12, "cc", 1),
            ),
            1 + 2 + 3 + 2 + 2,
        ),
    ],
)
def test_a_process_holds_no_more_tokens_than_it_does_things_at_once(members, held):
    assert most_held(CARGO, members) == held


def test_only_what_is_below_cargo_counts_and_a_circle_does_no_harm():
    members = tree((11, CARGO, "a", 1), (12, 11, "b", 1), (13, 99, "c", 1), (20, 21, "d", 1),
                   (21, 20, "e", 1))  # fmt: skip
    assert [one.pid for one in below(CARGO, members)] == [11, 12]
    assert {one.pid for one in below(20, members)} <= {20, 21}


def test_what_is_missing_twice_beyond_what_can_be_held_is_put_back():
    losses = Losses()
    assert losses.look("a", taken=5, holders=2, now_s=0.0) == 0
    assert losses.look("a", taken=5, holders=2, now_s=AGREE_AFTER_S / 2) == 0
    assert losses.look("a", taken=5, holders=3, now_s=AGREE_AFTER_S) == 2  # the smaller of the two
    assert losses.look("a", taken=3, holders=3, now_s=AGREE_AFTER_S + 1) == 0


def test_one_look_that_finds_nothing_missing_begins_anew():
    losses = Losses()
    losses.look("a", taken=5, holders=2, now_s=0.0)
    assert losses.look("a", taken=5, holders=5, now_s=1.0) == 0
    assert losses.look("a", taken=5, holders=2, now_s=AGREE_AFTER_S + 1) == 0


def test_more_bytes_than_were_granted_are_taken_out_at_once():
    assert Losses().look("a", taken=-2, holders=None, now_s=0.0) == -2


def test_without_a_count_nothing_is_suspected_and_a_count_is_due_now_and_then():
    losses = Losses()
    assert losses.is_due("a", 0.0)
    assert losses.look("a", taken=5, holders=None, now_s=0.0) == 0
    losses.look("a", taken=5, holders=1, now_s=0.0)
    assert not losses.is_due("a", AGREE_AFTER_S / 2)
    assert losses.is_due("a", AGREE_AFTER_S)
    losses.forget("a")
    assert losses.is_due("a", 0.0) and not losses.suspected
