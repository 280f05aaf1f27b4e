"""Whether a model is whole: what is missing, what is read back, and what was never needed."""

from dataclasses import replace

import pytest

from forge.core.inference_residency import LOSING_S, WAIVED_AFTER_TOKENS, Residency
from tests.core.inference import GIB, MIB, process


def after(*looks, every_s=1.0):
    """Look at (process, tokens generated so far) one after another."""
    residency = Residency()
    for number, (of, tokens) in enumerate(looks):
        residency.look(of, tokens, number * every_s, is_ready=True)
    return residency


WHOLE = process()
FEW_MISSING = process(4 * GIB - 20 * MIB)
HALF = process(2 * GIB)


@pytest.mark.parametrize(("looks", "is_short"), [
    ([(WHOLE, 0)], False),
    ([(FEW_MISSING, 0)], False),  # within 1 %
    ([(HALF, 0)], True),
    ([(WHOLE, 0), (HALF, 0)], True),
    ([(WHOLE, 0), (process(swapped_bytes=GIB), 0)], True),
    ([(WHOLE, 0), (process(read_bytes=GIB), 5)], True),  # it reads while it generates
    ([(WHOLE, 0), (process(read_bytes=GIB), 0)], False),  # it reads, and nobody asked for tokens
    ([(WHOLE, 0), (process(major_faults=999), 5)], False),  # weak, as each reads a large block
    ([(process(read_bytes=None, refaults=0), 0),
      (process(read_bytes=None, refaults=GIB // 4096), 5)], True),
    ([(HALF, 0), (WHOLE, 0)], True),  # not for a moment only
    ([(HALF, 0), (WHOLE, 0), (WHOLE, 0)], False),
    ([(process(read_bytes=GIB), 0), (process(read_bytes=0), 5)], False),  # a counter went back
])  # fmt: skip
def test_it_is_short_when_pages_are_missing_or_read_back(looks, is_short):
    assert after(*looks).is_short is is_short


def test_it_is_not_judged_while_it_loads_and_what_is_read_then_counts_for_nothing():
    residency = Residency()
    residency.look(process(GIB, read_bytes=GIB), 0, 0.0, is_ready=False)
    assert not residency.is_short and residency.missing_bytes == 0
    assert residency.expected_bytes == 4 * GIB
    residency.look(process(read_bytes=4 * GIB), 0, 1.0, is_ready=True)
    assert not residency.is_short


def test_it_loses_while_more_goes_and_no_longer():
    residency = after((WHOLE, 0), (HALF, 0))
    assert residency.is_losing(1.0) and residency.is_losing(1.0 + LOSING_S)
    assert not residency.is_losing(1.1 + LOSING_S)
    residency.look(HALF, 0, 20.0, is_ready=True)
    assert residency.is_short and not residency.is_losing(20.0)
    residency.look(process(GIB), 0, 21.0, is_ready=True)
    assert residency.is_losing(21.0)


def test_what_is_not_read_back_while_it_generates_is_not_needed():
    on_gpu = (HALF, WAIVED_AFTER_TOKENS)
    residency = after((WHOLE, 0), (HALF, 0), on_gpu, (HALF, 100), (HALF, 200))
    assert not residency.is_short
    assert residency.expected_bytes == 2 * GIB and residency.missing_bytes == 0
    residency.look(process(GIB), 201, 9.0, is_ready=True)
    assert residency.is_short, "what is needed is missed all the same"
    residency.look(WHOLE, 202, 10.0, is_ready=True)
    assert residency.expected_bytes == 4 * GIB, "what has come back is expected again"


def test_what_is_read_back_is_needed():
    reading = replace(HALF, read_bytes=9 * GIB)
    residency = after((WHOLE, 0), (HALF, 0), (reading, WAIVED_AFTER_TOKENS))
    assert residency.expected_bytes == 4 * GIB and residency.is_short
    assert residency.read_back_bytes == 9 * GIB


def test_where_reads_cannot_be_had_nothing_is_waived():
    half = replace(HALF, read_bytes=None)
    residency = after((half, 0), (half, 999))
    assert residency.expected_bytes == 4 * GIB


@pytest.mark.parametrize(("of", "evictable_bytes"), [
    (WHOLE, 4 * GIB),
    (HALF, 2 * GIB),
    (process(locked_bytes=4 * GIB), 0),
    (process(locked_bytes=GIB), 3 * GIB),
    (process(locked_bytes=None), 4 * GIB),
])  # fmt: skip
def test_what_is_not_locked_can_be_taken(of, evictable_bytes):
    assert after((of, 0)).evictable_bytes == evictable_bytes


def test_a_file_of_which_nobody_knows_what_is_resident_says_nothing():
    of = process()
    unknown = replace(of, models=(replace(of.models[0], resident_bytes=None),))
    residency = after((unknown, 0))
    assert (residency.expected_bytes, residency.missing_bytes, residency.share) == (0, 0, 1.0)
