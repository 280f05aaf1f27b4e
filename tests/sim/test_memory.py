"""A virtual host's memory under the core. All figures: `python -m tests.sim.memory_report`."""

import pytest

from forge.core.pressure import TOP, Rung
from tests.sim.memory_day import HOUR_S, a_day
from tests.sim.memory_host import CORES, Host
from tests.sim.memory_ledger import TOTAL_BYTES
from tests.sim.memory_policies import Plain, by_forge
from tests.sim.memory_traces import BEGIN_S, TRACES, besieged, ramp, step
from tests.sim.rungs import first_after, rungs, turns


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_on_an_evening_of_builds_the_model_keeps_all_its_memory_and_every_build_ends(seed):
    day = a_day(seed, HOUR_S / 2, start_s=18 * HOUR_S)
    host, policy = by_forge(day)
    assert len(host.ended_s) == len(day.builds) > 60
    assert host.figures.peak_bytes < TOTAL_BYTES
    assert host.figures.beyond_machine_s == 0.0
    assert host.most_runners <= CORES
    assert host.longest_standstill_s < 5.0
    assert not rungs(policy.decisions), "where only builds want memory, reservations suffice"


def test_the_same_builds_each_for_itself_want_more_than_the_machine_has():
    host = Host(a_day(1, 2 * HOUR_S, start_s=18 * HOUR_S), Plain).go()
    assert host.figures.peak_bytes > TOTAL_BYTES
    assert host.figures.evicted_bytes > 0


MOST_TURNS = 20
"""So often what others take may begin to grow again just when a rung was left, in a quarter hour.

Seen: at most 15, where it grows and falls all the time, and at most 2 elsewhere. A ladder that
swings by itself turns each second.
"""


@pytest.mark.parametrize("trace", TRACES, ids=lambda one: one.__name__)
def test_whatever_others_take_all_builds_end_and_the_ladder_does_not_swing(trace):
    day = besieged(trace(), long_s=180.0)
    host, policy = by_forge(day, check_every=20)
    assert len(host.ended_s) == len(day.builds)
    steps = rungs(policy.decisions)
    assert all(abs(one.rung - one.was) == 1 for one in steps)
    assert turns(steps, within_s=0.9) <= MOST_TURNS
    assert policy.state.memory.ladder.rung is Rung.CALM
    minutes = host.now_s / 60
    assert len(steps) < 2 * TOP * (1 + minutes)


@pytest.mark.parametrize(("trace", "shut_within_s"), [(step, 0.5), (ramp, 45.0)])
def test_units_are_shut_before_a_hog_has_had_what_is_left_for_long(trace, shut_within_s):
    _, policy = by_forge(besieged(trace(), long_s=140.0), check_every=20)
    shut_s = first_after(policy.decisions, BEGIN_S, "memory.tight", Rung.SHUT_UNITS)
    cancelled_s = first_after(policy.decisions, BEGIN_S, "link.cancelled")
    assert shut_s is not None and cancelled_s is not None
    assert shut_s <= shut_within_s
    assert cancelled_s - shut_s < 2.0
