"""The policy holds its promises on a virtual host. All figures: `python -m tests.sim.report`."""

import pytest

from tests.sim.forge import by_forge
from tests.sim.graphs import all_recorded, chain, layered, wide
from tests.sim.host import Arrival, ideal, one_after_another, plain
from tests.sim.report import decision_costs, even_jain, stretch
from tests.sim.workloads import crowd, four_cold, hour


def test_a_wide_build_uses_every_core_and_a_chain_one():
    assert by_forge(32, [Arrival(wide(320))]).wall_s == pytest.approx(10.0, rel=0.02)
    assert by_forge(32, [Arrival(chain(10))]).wall_s == pytest.approx(10.0, rel=0.02)


@pytest.mark.parametrize("one", [*all_recorded(), layered(1, 100)], ids=lambda one: one.name)
def test_alone_a_build_is_as_fast_as_by_plain_cargo(one):
    for cores in (2, 8, 32):
        alone = by_forge(cores, [Arrival(one)])
        assert alone.wall_s <= plain(cores, [Arrival(one)]).wall_s * 1.01 + 0.1
        assert alone.peak_units <= cores


def test_four_cold_builds_are_faster_and_smaller_than_by_plain_cargo():
    arrivals = four_cold()
    mine, crowded = by_forge(2, arrivals), plain(2, arrivals)
    in_line = one_after_another(2, arrivals)
    assert mine.wall_s <= 1.03 * min(crowded.wall_s, in_line.wall_s)
    assert mine.peak_mib <= 0.6 * crowded.peak_mib
    assert mine.mean_s < min(crowded.mean_s, in_line.mean_s)


def test_four_cold_builds_that_nobody_knows_still_end_sooner_on_average():
    arrivals = four_cold()
    mine = by_forge(2, arrivals, is_known=False)
    assert mine.wall_s <= 1.03 * plain(2, arrivals).wall_s
    assert mine.mean_s < min(plain(2, arrivals).mean_s, one_after_another(2, arrivals).mean_s)


@pytest.mark.parametrize("builds", [1, 8, 40, 200])
def test_the_cores_are_used_nearly_as_well_as_can_be(builds):
    arrivals = crowd(builds)
    mine, best = by_forge(32, arrivals), ideal(32, arrivals)
    assert best.wall_s / mine.wall_s >= 0.95
    assert mine.mean_s <= best.mean_s * 1.01
    assert mine.peak_units <= 32


def test_what_a_first_run_has_shown_makes_the_second_one_better():
    arrivals = crowd(40)
    first, second = by_forge(32, arrivals, is_known=False), by_forge(32, arrivals)
    assert second.wall_s < 0.75 * first.wall_s
    assert second.mean_s < 0.85 * first.mean_s


@pytest.mark.parametrize("builds", [2, 8, 40])
def test_dealt_out_evenly_builds_of_one_priority_have_the_same(builds):
    assert min(even_jain(builds)) >= 0.95


def test_a_decision_costs_no_more_because_thousands_wait():
    """The report has the figures; here only a walk through all that waits would fail."""
    few, many = decision_costs(4, 16, 1000), decision_costs(200, 40, 1000)
    for event in ("ask", "release"):
        usual, crowded = (costs[event][len(costs[event]) // 2] for costs in (few, many))
        assert crowded < 5 * usual, event
        assert crowded < 0.0005, event


def test_in_turn_hardly_any_build_ends_later_than_by_an_even_split():
    ratios = stretch(32, crowd(40))
    assert sum(ratios) / len(ratios) < 0.9
    assert sum(ratio > 1.05 for ratio in ratios) <= 5


def test_admission_ends_with_all_done():
    run = by_forge(2, four_cold(), limit=2)
    assert run.peak_builds <= 2
    assert all(run.ended_s)


def test_an_hour_goes_by_and_everything_is_returned():
    run = by_forge(32, hour(30.0))
    assert run.wall_s >= 3500.0
    assert run.real_s < 20.0, "a second measured"
