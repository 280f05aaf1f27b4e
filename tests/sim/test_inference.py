"""A mapped model on the virtual host, under the core: builds give way, and it stays in memory."""

import pytest

from forge.core.pressure import Rung
from tests.sim.memory_day import GIB, HOUR_S, MODEL_BYTES, a_day
from tests.sim.memory_host import CORES
from tests.sim.memory_ledger import TOTAL_BYTES
from tests.sim.memory_model import LOADED_S, beside_model
from tests.sim.memory_traces import besieged, comes_back, recorded, step


def test_on_an_evening_of_builds_a_model_that_loads_and_works_stays_whole():
    day = a_day(2, HOUR_S / 3, start_s=18 * HOUR_S)
    host, policy = beside_model(day)
    assert len(host.ended_s) == len(day.builds)
    assert policy.model.lowest_bytes == MODEL_BYTES and host.figures.peak_bytes < TOTAL_BYTES
    assert host.longest_standstill_s < 5.0
    states = [one.fields["state"] for one in policy.decisions if one.name == "inference.changed"]
    assert states[:4] == ["loading", "busy", "idle", "busy"]
    assert policy.state.inference.day.report(2e9)["held_loads"] in (0, 1)
    kept = {one.fields["kept"] for one in policy.decisions if one.name == "inference.kept_cores"}
    assert kept == {0, 8}, "its threads"
    assert host.most_runners <= CORES


@pytest.mark.parametrize("trace", [step, comes_back], ids=lambda one: one.__name__)
def test_whatever_others_take_the_model_is_not_touched(trace):
    day = besieged(trace(), long_s=180.0)
    host, policy = beside_model(day)
    assert len(host.ended_s) == len(day.builds)
    assert policy.model.lowest_bytes == MODEL_BYTES
    assert policy.state.memory.ladder.rung is Rung.CALM
    assert policy.state.inference.day.report(1.7e9 + host.now_s)["held_builds"] > 0


def test_without_being_known_the_same_model_is_read_back_again_and_again():
    _, policy = beside_model(besieged(step(), long_s=180.0), is_known=False)
    assert policy.model.lowest_bytes < 0.7 * MODEL_BYTES
    assert policy.model.read_bytes > 100 * GIB


def test_what_comes_faster_than_anybody_can_give_way_squeezes_it_for_a_moment():
    host, policy = beside_model(besieged(recorded(), long_s=180.0))
    assert policy.model.lowest_bytes > 0.9 * MODEL_BYTES
    squeezed = [
        one.at_s for one in policy.decisions
        if one.name == "inference.changed" and one.fields["was"] == "squeezed"
    ]  # fmt: skip
    assert squeezed and squeezed[0] > LOADED_S
    (server,) = policy.state.inference.servers.values()
    assert not server.residency.is_short, "it is whole at the end"
    assert host.figures.evicted_bytes < 10 * GIB
