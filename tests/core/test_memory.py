import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.core.memory import Limit, MacMemory, PressureLevel, Reading, Stalls, Swap
from forge.core.memory_signs import Sign, is_tight, tightness
from forge.core.memory_trend import (
    BUSY_S,
    FASTEST_S,
    IDLE_S,
    LONGEST_GAP_S,
    REACH_S,
    Trail,
    Trend,
    interval_s,
    trend,
)

GIB = 1 << 30


def reading(taken_s=0.0, available=8 * GIB, total=16 * GIB, **more):
    more.setdefault("swap", Swap(0, 0, 0, 0))
    return Reading(taken_s, total, available, **more)


def limit(most, used, cache=0, place="/a"):
    return Limit(place, "memory.max", most, used, cache)


def stalls(some, full=0, source="/proc/pressure/memory"):
    return Stalls(source, 0.0, 0.0, some, full)


def mac(level=1, percent=60, compressor=0):
    known = None if level is None else PressureLevel(level)
    return MacMemory(known, percent, 0, compressor, 0, 0)


def moving(fall=0.0, swapped_out=0.0, some=None, full=None):
    return Trend(1.0, fall, 0.0, swapped_out, some, full)


@pytest.mark.parametrize(
    ("most", "used", "cache", "headroom"),
    [
        (100, 30, 0, 70),
        (100, 90, 40, 50),
        (100, 130, 10, 0),  # above the limit
        (100, 30, 50, 100),  # counted a moment apart: cache is never more than the use
        (0, 0, 0, 0),
    ],
)
def test_headroom_is_what_a_limit_leaves_with_the_cache_dropped(most, used, cache, headroom):
    assert limit(most, used, cache).headroom_bytes == headroom


@given(
    st.integers(1, 1000),
    st.integers(0, 1000),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 2000))),
)
def test_no_limit_ever_makes_more_of_a_machine(total, available, limits):
    one = reading(
        available=available, total=total, limits=tuple(limit(*figures) for figures in limits)
    )
    assert 0 <= one.available_bytes <= available
    assert 0 <= one.total_bytes <= total
    if one.binding:
        assert one.binding.headroom_bytes == one.available_bytes < available
    else:
        assert one.available_bytes == available


def test_a_limit_that_leaves_as_much_as_the_machine_does_not_bind():
    assert reading(available=70, total=200, limits=(limit(100, 30),)).binding is None
    found = reading(available=71, total=200, limits=(limit(100, 30), limit(90, 10))).binding
    assert found == limit(100, 30)


def test_a_trend_is_told_each_second():
    before = reading(10.0, swap=Swap(0, 0, 1000, 500), stalls=stalls(0, 0))
    after = reading(12.0, 6 * GIB, swap=Swap(0, 0, 1200, 900), stalls=stalls(1_000_000, 100_000))
    assert trend(before, after) == Trend(2.0, GIB, 100.0, 200.0, 0.5, 0.05)


def test_what_grows_falls_below_zero():
    found = trend(reading(0.0, 4 * GIB), reading(1.0, 5 * GIB))
    assert found
    assert found.fall_bytes_per_s == -GIB


@pytest.mark.parametrize("then_s", [10.0, 9.0, -1e9, 10.0 + LONGEST_GAP_S + 0.1])
def test_no_trend_is_told_over_no_time_backwards_or_across_a_sleep(then_s):
    assert trend(reading(10.0), reading(then_s)) is None


def test_a_counter_that_starts_anew_has_no_rate():
    before = reading(0.0, swap=Swap(0, 0, 900, 900), stalls=stalls(900, 900))
    found = trend(before, reading(1.0, swap=Swap(0, 0, 0, 901), stalls=stalls(5, 901)))
    assert found
    assert (found.swap_in_bytes_per_s, found.swap_out_bytes_per_s) == (None, 1.0)
    assert (found.some_share, found.full_share) == (None, 1e-6)


def test_figures_of_one_reading_only_have_no_rate():
    found = trend(reading(0.0, swap=Swap(0, 0)), reading(1.0, stalls=stalls(5)))
    assert found
    assert found.swap_in_bytes_per_s is None
    assert found.some_share is None


def test_the_worse_of_the_machines_and_the_limits_stalls_counts():
    before = reading(0.0, stalls=stalls(0), limit_stalls=stalls(0, 0, "/a"))
    after = reading(1.0, stalls=stalls(100_000), limit_stalls=stalls(300_000, 200_000, "/a"))
    found = trend(before, after)
    assert found
    assert (found.some_share, found.full_share) == (0.3, 0.2)


def test_stalls_of_two_cgroups_are_not_compared():
    before = reading(0.0, limit_stalls=stalls(0, 0, "/a"))
    found = trend(before, reading(1.0, limit_stalls=stalls(900_000, 0, "/b")))
    assert found
    assert found.some_share is None


counters = st.none() | st.integers(0, 1 << 62)


@given(*[st.floats(allow_nan=False, allow_infinity=False)] * 2, *[counters] * 4)
def test_no_rate_is_negative_and_no_share_above_one(at_s, then_s, ins, outs, some, full):
    def taken(now_s, swapped, stalled):
        counted = None if stalled is None else stalls(stalled, stalled // 2)
        return reading(now_s, swap=Swap(0, 0, swapped, swapped), stalls=counted)

    found = trend(taken(at_s, ins, some), taken(then_s, outs, full))
    if found:
        assert found.over_s > 0
        assert found.swap_out_bytes_per_s is None or found.swap_out_bytes_per_s >= 0
        assert found.some_share is None or 0 <= found.some_share <= 1


def trail(*times_s):
    found = Trail()
    for taken_s in times_s:
        found = found.and_then(reading(taken_s))
    return found


@pytest.mark.parametrize(
    ("times_s", "over_s", "compared_s"),
    [
        ((), 0.0, None),
        ((1.0,), 0.0, None),
        ((1.0, 1.5), 0.0, 0.5),
        ((1.0, 1.5), 1.0, 0.5),  # no longer way back yet
        ((1.0, 1.25, 1.5, 1.75, 2.0, 2.25), 0.0, 0.25),
        ((1.0, 1.25, 1.5, 1.75, 2.0, 2.25), 1.0, 1.0),
        ((1.0, 6.0, 11.0), 1.0, 5.0),  # idle: the one before, however long ago
        ((1.0, 2.0, 1.5), 1.0, None),  # backwards: begun anew
        ((1.0, 2.0, 2.0), 0.0, None),
    ],
)
def test_a_trail_compares_the_last_reading_with_one_that_is_old_enough(times_s, over_s, compared_s):
    found = trail(*times_s).trend(over_s)
    assert (found and found.over_s) == compared_s


@pytest.mark.parametrize("then_s", [2.0, 1.5])
def test_a_reading_that_is_not_later_begins_a_new_trail(then_s):
    assert [one.taken_s for one in trail(1.0, 2.0, then_s).readings] == [then_s]


@given(st.lists(st.floats(0.01, 10.0), max_size=60))
def test_a_trail_stays_short_and_never_loses_the_way_back(steps_s):
    found, now_s = Trail(), 0.0
    for step_s in steps_s:
        now_s += step_s
        found = found.and_then(reading(now_s))
        times_s = [one.taken_s for one in found.readings]
        assert times_s == sorted(set(times_s))
        assert times_s[-1] == now_s
        assert len([one for one in times_s if now_s - one >= REACH_S]) <= 1
    assert len(found.readings) >= min(2, len(steps_s))


@pytest.mark.parametrize(
    ("builds", "headroom", "fall", "wait_s"),
    [
        (0, 8 * GIB, None, IDLE_S),
        (0, 0, 9 * GIB, IDLE_S),  # nothing that Forge could stop
        (1, 8 * GIB, None, BUSY_S),  # the first reading
        (1, 8 * GIB, 0, BUSY_S),
        (1, 8 * GIB, -GIB, BUSY_S),  # there is more than before
        (1, 8 * GIB, GIB, BUSY_S),  # 8 s left
        (1, 5 * GIB, GIB, BUSY_S),  # 5 s: 20 looks of 250 ms
        (1, 2 * GIB, GIB, 0.1),
        (3, GIB, 4 * GIB, FASTEST_S),
        (1, 0, 0, FASTEST_S),
        (1, -GIB, None, FASTEST_S),  # below low water already
    ],
)
def test_memory_is_looked_at_more_often_the_sooner_it_is_gone(builds, headroom, fall, wait_s):
    assert interval_s(builds, headroom, fall) == pytest.approx(wait_s)


sizes = st.integers(-(1 << 50), 1 << 50)
rates = st.none() | st.floats(-1e15, 1e15)


@given(st.integers(1, 9), sizes, sizes, rates, rates)
def test_less_headroom_and_a_faster_fall_never_mean_a_longer_wait(builds, one, other, slow, fast):
    low, high = sorted((one, other))
    slow, fast = sorted((slow or 0.0, fast or 0.0))
    assert FASTEST_S <= interval_s(builds, low, fast) <= interval_s(builds, high, slow) <= BUSY_S


@pytest.mark.parametrize(
    ("now", "change", "signs", "tight"),
    [
        (reading(), None, set(), False),
        (reading(available=GIB), None, {Sign.LOW}, True),
        # macOS: a warning alone is chronic on a healthy busy machine
        (reading(mac=mac(2)), moving(), {Sign.WARNING}, False),
        (reading(mac=mac(2)), moving(swapped_out=4096), {Sign.WARNING, Sign.SWAPPING}, True),
        (reading(mac=mac(2, compressor=3 * GIB)), None, {Sign.WARNING, Sign.COMPRESSED}, True),
        (reading(mac=mac(2, compressor=2 * GIB)), None, {Sign.WARNING}, False),  # 12.5 %
        (reading(mac=mac(2, percent=19)), None, {Sign.WARNING, Sign.SCARCE}, True),
        (reading(mac=mac(2, percent=46)), None, {Sign.WARNING}, False),  # the latched warning
        (reading(available=GIB, mac=mac(2)), None, {Sign.WARNING, Sign.LOW}, True),
        (reading(mac=mac(4)), None, {Sign.CRITICAL}, True),
        # second signs without the first: swap that drains, a compressor that is simply full
        (
            reading(mac=mac(1, percent=10, compressor=9 * GIB)),
            moving(swapped_out=4096),
            {Sign.COMPRESSED, Sign.SCARCE, Sign.SWAPPING},
            False,
        ),
        (reading(mac=mac(None, percent=None)), moving(), set(), False),  # nothing known
        # Linux
        (reading(), moving(some=0.14, full=0.04), set(), False),
        (reading(), moving(some=0.15), {Sign.WARNING}, False),
        (reading(), moving(some=0.15, swapped_out=1), {Sign.WARNING, Sign.SWAPPING}, True),
        (reading(), moving(some=0.05, full=0.05), {Sign.STALLED}, True),
        (reading(), moving(swapped_out=1e9), {Sign.SWAPPING}, False),
        # used swap without traffic drains lazily and says nothing
        (reading(swap=Swap(GIB, GIB, 5, 5), mac=mac(2)), moving(), {Sign.WARNING}, False),
    ],
)
def test_a_warning_counts_when_a_second_signal_agrees(now, change, signs, tight):
    found = tightness(now, change, low_water_bytes=2 * GIB)
    assert set(found.signs) == signs
    assert found.is_tight is tight
    assert is_tight(now, change, 2 * GIB) is tight


def test_each_signal_tells_its_numbers():
    found = tightness(
        reading(available=GIB, mac=mac(2, percent=7, compressor=4 * GIB)),
        moving(swapped_out=3.2 * 1024, full=0.5),
        low_water_bytes=2 * GIB,
    )
    assert list(found.signs.values()) == [
        "1.0 GiB available, below 2.0 GiB",
        "all tasks stalled 50% of the time",
        "3.2 KiB/s to swap",
        "macOS says warning",
        "25% of memory holds compressed pages",
        "macOS says 7 % free",
    ]
