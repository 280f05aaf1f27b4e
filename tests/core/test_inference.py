# mypy: disable-error-code="comparison-overlap"
# It takes an attribute for what it was compared with, and does not see that a look changes it.
"""Servers through the state: when they are looked at, and what builds give up for them."""

from dataclasses import replace

import pytest

from forge.core import actions, events, messages
from forge.core.build_cgroup import BuildCgroup
from forge.core.inference import BESIDE_BUILDS_S, IDLE_S, LOADING_HOLD_S, LOST_ANSWER_S
from forge.core.inference_actions import (
    LookAtInference,
    LowerBuilds,
    ProtectServer,
    RecordSqueeze,
    WeighBuilds,
)
from forge.core.inference_ranking import weight_of
from forge.core.inference_seen import Answer
from forge.core.pressure import Rung
from tests.core.inference import BUSY, GIB, IDLE, MIB, NEED, Beside, process, seen, slots
from tests.core.test_memory_gate import link, reason, unit, went
from tests.core.test_memory_watch import LOW_WATER, TOTAL, read

NONE, LOADING, SLOW = seen(Answer.NONE), seen(Answer.LOADING), seen(Answer.SLOW)
WHOLE, HALF = seen(of=process()), seen(of=process(2 * GIB))
CGROUP = BuildCgroup("/c/b", 1, True, cpu_file="/c/b/cpu.shares", cpu_usual=4096)


def looks(driver):
    return driver.asked(LookAtInference)


def logs(driver, decision):
    return [one.fields for one in driver.asked(actions.Log) if one.decision == decision]


def last(driver, kind):
    found = driver.asked(kind)
    return found[-1] if found else None


def test_nothing_is_looked_at_where_no_server_is_set():
    driver = Beside(names=())
    assert driver.state.inference.due_s is None and not looks(driver)


def test_it_is_looked_at_once_in_a_while_and_four_times_a_second_beside_builds():
    driver = Beside()
    driver.look(IDLE)
    assert driver.state.inference.due_s == driver.now_s + IDLE_S
    driver.run(1)
    assert driver.state.inference.due_s == driver.now_s + BESIDE_BUILDS_S


def test_a_server_that_does_not_answer_is_not_asked_a_second_time():
    driver = Beside()
    count = len(looks(driver))
    driver.now_s += 30
    driver.post(events.Tick())
    assert len(looks(driver)) == count
    driver.now_s += LOST_ANSWER_S
    driver.post(events.Tick())
    assert len(looks(driver)) == count + 1


def test_its_memory_is_looked_at_now_and_then_and_at_once_after_a_change():
    driver = Beside()
    driver.look(IDLE)
    driver.look(IDLE, after_s=IDLE_S)
    assert looks(driver)[-1].deep, "it was absent until now"
    driver.look(IDLE, after_s=IDLE_S)
    assert not looks(driver)[-1].deep
    driver.look(IDLE, after_s=30.0)
    assert looks(driver)[-1].deep


def test_events_tell_of_changes_only():
    driver = Beside()
    for one in (NONE, NONE, LOADING, LOADING, IDLE, IDLE, BUSY, BUSY, SLOW, SLOW, BUSY, NONE):
        driver.look(one)
    assert driver.states() == ["loading", "idle", "busy", "absent"]
    assert len(logs(driver, "inference.slow")) == len(logs(driver, "inference.answers")) == 1


def test_another_model_in_the_same_state_is_told():
    driver = Beside()
    driver.look(IDLE)
    driver.look(seen(model_path="/models/other.gguf"))
    assert driver.states() == ["idle", "idle"]


def test_cores_are_kept_while_it_is_busy_and_given_back_within_a_second():
    driver = Beside(cores=4)
    build = driver.run(1)
    driver.look(BUSY)
    for conn in range(10, 15):
        unit(driver, conn, build, f"u{conn}")
    assert [went(driver, conn) for conn in range(10, 15)] == [True, True, True, False, False]
    driver.look(IDLE)
    assert not went(driver, 13), "one client's pause"
    assert "; 1 core kept for inference" in reason(driver, 13)
    driver.look(IDLE)
    driver.look(IDLE)
    assert went(driver, 13) and not went(driver, 14)
    assert [one["kept"] for one in logs(driver, "inference.kept_cores")] == [1, 0]


@pytest.mark.parametrize(("cores", "set_to", "kept"), [
    (4, 2, 2),
    (4, 99, 3),  # one unit always runs
    (4, 0, 0),
    (1, 1, 0),
])  # fmt: skip
def test_so_many_cores_are_kept_as_are_set_but_never_all(cores, set_to, kept):
    driver = Beside(cores=cores)
    driver.state.settings = _with(driver, cores=set_to)
    driver.look(BUSY)
    assert driver.state.inference.kept_cores == kept
    build = driver.run(1)
    unit(driver, 10, build, "a")
    assert went(driver, 10)


def _with(driver, **policy):
    settings = driver.state.settings
    return replace(settings, inference=replace(settings.inference, **policy))


def test_a_build_that_is_alone_keeps_no_tokens_for_the_cores_of_a_server():
    driver = Beside(cores=4)
    driver.run(1)
    assert set(driver.fifos.values()) == {3}
    driver.look(BUSY)
    driver.now_s += 0.2
    driver.post(events.Tick())
    assert set(driver.fifos.values()) == {3 - 0} or sum(driver.fifos.values()) < 4
    driver.look(IDLE)
    driver.look(IDLE)
    driver.look(IDLE)
    driver.now_s += 0.2
    driver.post(events.Tick())
    assert set(driver.fifos.values()) == {3}


def test_two_servers_at_work_are_left_cores_each():
    driver = Beside(cores=8, names=("main", "small"))
    small = seen(slots=slots(True), name="small")
    driver.look(BUSY, small)
    assert driver.state.inference.kept_cores == 2
    driver.look(BUSY, seen(Answer.NONE, name="small"))
    assert driver.state.inference.kept_cores == 1


def test_nothing_heavy_starts_while_a_model_is_loaded_and_one_goes_on_if_nothing_else_does():
    driver = Beside()
    build = driver.run(1)
    driver.look(LOADING)
    unit(driver, 10, build, "a")
    link(driver, 11, build, 100)
    assert went(driver, 10), "what books nothing starts"
    assert "a model is being loaded, so nothing heavy starts" in reason(driver, 11)
    read(driver, LOW_WATER + 4 * GIB)
    assert not went(driver, 11)
    driver.receive(10, messages.UnitEnded(exit=0))
    read(driver, LOW_WATER + 4 * GIB)
    assert went(driver, 11), "nothing else gets on"
    link(driver, 12, build, 100)
    assert not went(driver, 12)
    driver.look(IDLE)
    assert went(driver, 12)
    assert driver.state.inference.day.report(1.7e9)["held_loads"] == 1


def test_a_model_that_is_loaded_for_ever_holds_nothing_for_ever():
    driver = Beside()
    build = driver.run(1)
    driver.look(LOADING)
    unit(driver, 10, build, "a")
    link(driver, 11, build, 100)
    driver.look(LOADING, after_s=LOADING_HOLD_S + 1)
    assert went(driver, 11)


def test_pages_that_the_kernel_would_take_from_a_model_are_no_room_for_links():
    driver = Beside()
    build = driver.run(1)
    driver.look(WHOLE)
    read(driver, LOW_WATER + 4 * GIB + 3 * GIB)
    link(driver, 10, build, 1000), link(driver, 11, build, 1000)
    assert went(driver, 10) and not went(driver, 11)
    assert "1.0 GiB free" in reason(driver, 11)
    driver.look(seen(of=process(locked_bytes=4 * GIB)))
    read(driver, LOW_WATER + 4 * GIB + 3 * GIB)
    assert went(driver, 11), "what is locked is not available to begin with"


def test_what_a_server_may_still_grow_by_is_no_room_for_links_and_no_reason_to_give_way():
    driver = Beside()
    build = driver.run(1)
    locked = process(locked_bytes=4 * GIB)
    driver.look(seen(of=locked, need=NEED))
    read(driver, LOW_WATER + 3 * GIB)
    link(driver, 10, build, 400)  # of 830 MiB: alone
    link(driver, 11, build, 400)
    assert went(driver, 10) and not went(driver, 11), "2 of 3 GiB are promised"
    assert driver.state.memory.ladder.rung is Rung.CALM
    driver.look(seen(of=process(locked_bytes=4 * GIB, anonymous_bytes=3 * GIB), need=NEED))
    read(driver, LOW_WATER + 2 * GIB)
    assert went(driver, 11), "it has grown, and is measured now"


def test_builds_give_way_before_a_model_is_evicted():
    driver = Beside()
    driver.run(1)
    driver.look(WHOLE)
    read(driver, LOW_WATER + 3 * GIB)
    assert driver.state.memory.ladder.rung is Rung.HOLD_ADMISSION
    assert driver.state.memory.is_for_inference
    assert driver.state.inference.day.report(1.7e9)["held_builds"] == 1


def test_a_squeezed_server_climbs_the_ladder_and_leaves_it_when_it_is_whole():
    driver = Beside()
    build = driver.run(1)
    unit(driver, 10, build, "a")
    driver.look(WHOLE)
    read(driver, 20 * GIB)
    assert driver.state.memory.ladder.rung is Rung.CALM
    driver.look(HALF)
    assert driver.state.memory.due_s <= driver.now_s + 5.0
    for _ in range(5):
        read(driver, 20 * GIB)
    assert driver.state.memory.ladder.rung >= Rung.SHUT_UNITS
    assert "2.0 GiB of the model" in " ".join(driver.state.memory.tightness.signs.values())
    for _ in range(4):
        driver.look(WHOLE, after_s=1.0)
    for _ in range(400):
        read(driver, 20 * GIB, 0.1)
    assert driver.state.memory.ladder.rung is Rung.CALM
    assert driver.states() == ["idle", "squeezed", "idle"]


def test_builds_go_on_when_nothing_more_is_lost_and_all_can_come_back():
    driver = Beside()
    driver.run(1)
    driver.look(WHOLE)
    driver.look(HALF)
    read(driver, 20 * GIB)
    assert driver.state.memory.ladder.rung is not Rung.CALM
    for _ in range(40):
        driver.look(HALF, after_s=1.0)
        read(driver, 20 * GIB)
    assert driver.server.state == "squeezed"
    assert driver.state.memory.ladder.rung is Rung.CALM
    read(driver, LOW_WATER + 3 * GIB)  # 2 resident, 2 that have to come back
    assert driver.state.memory.ladder.rung is not Rung.CALM


def test_a_squeeze_is_recorded_with_the_builds_of_the_time_at_its_begin_and_its_end():
    driver = Beside()
    build = driver.run(1, root="/src/heavy")
    driver.look(WHOLE)
    driver.look(HALF)
    begun = last(driver, RecordSqueeze)
    assert begun.record["lasted_s"] is None
    other = driver.run(2, root="/src/other")
    driver.look(HALF, after_s=1.0)
    for _ in range(4):
        driver.look(WHOLE, after_s=1.0)
    ended = last(driver, RecordSqueeze)
    assert (ended.began_at, ended.server) == (begun.began_at, "main")
    assert ended.record["lasted_s"] >= 3.0 and ended.record["lowest_share"] == 0.5
    assert ended.record["most_missing_bytes"] == 2 * GIB
    roots = {one["id"]: one["root"] for one in ended.record["builds"]}
    assert roots == {build: "/src/heavy", other: "/src/other"}


def test_a_squeeze_ends_with_its_server():
    driver = Beside()
    driver.look(WHOLE)
    driver.look(HALF)
    driver.look(NONE)
    assert last(driver, RecordSqueeze).record["lasted_s"] is not None


def test_the_worst_of_two_servers_counts():
    driver = Beside(names=("main", "small"))
    small = seen(of=process(pid=8), name="small")
    driver.look(WHOLE, small)
    driver.look(HALF, small)
    read(driver, 20 * GIB)
    assert driver.state.memory.ladder.rung is not Rung.CALM


def test_a_process_that_is_not_ours_to_inspect_claims_all_its_weights():
    driver = Beside()
    driver.look(seen(need=NEED))
    assert sum(one.total_bytes for one in driver.state.inference.claims()) == NEED.weights_bytes


def test_the_weight_of_the_cgroup_of_builds_falls_while_a_server_works_and_no_longer():
    driver = Beside(build_nice=10)
    driver.post(events.BuildCgroupOpened(CGROUP))
    driver.look(IDLE)
    assert not driver.asked(WeighBuilds), "builds owe an idle server nothing"
    driver.look(BUSY)
    weighed = last(driver, WeighBuilds)
    assert (weighed.file, weighed.weight) == ("/c/b/cpu.shares", weight_of(10))
    assert weighed.value == 4096 * weight_of(10) // 100
    driver.post(events.BuildsWeighed(weighed.weight))
    driver.look(BUSY)
    driver.look(IDLE)
    assert len(driver.asked(WeighBuilds)) == 1
    assert driver.state.inference.ranking.launch_nice == 0
    driver.look(IDLE, after_s=1.0)
    assert last(driver, WeighBuilds).value == 4096


@pytest.mark.parametrize("cgroup", [None, BuildCgroup("/c/b", 2, True)])
def test_without_a_weight_what_starts_steps_back_and_what_runs_is_lowered_once(cgroup):
    driver = Beside(build_nice=7)
    if cgroup:
        driver.post(events.BuildCgroupOpened(cgroup))
    driver.run(1, root="/src/a")
    assert driver.reply(1, "go")["nice"] == 0
    driver.look(IDLE)
    lowered = last(driver, LowerBuilds)
    assert (len(lowered.cargos), lowered.nice) == (1, 7)
    driver.run(2, root="/src/b")
    assert driver.reply(2, "go")["nice"] == 7
    driver.look(BUSY)
    driver.look(NONE)
    assert len(driver.asked(LowerBuilds)) == 1
    driver.run(3, root="/src/c")
    assert driver.reply(3, "go")["nice"] == 0


def test_a_weight_that_is_refused_leaves_it_to_the_priority():
    driver = Beside()
    driver.post(events.BuildCgroupOpened(CGROUP))
    driver.look(BUSY)
    driver.post(events.BuildsWeighed(11, "not permitted"))
    assert driver.state.inference.ranking.launch_nice == 10
    assert logs(driver, "cgroup.unweighed")


def test_a_server_is_protected_once_and_only_where_the_user_agrees():
    driver = Beside()
    driver.look(WHOLE)
    assert not driver.asked(ProtectServer)
    driver = Beside(protect=True)
    driver.look(WHOLE)
    driver.look(WHOLE)
    assert [one.pid for one in driver.asked(ProtectServer)] == [7]
    driver.look(seen(of=process(pid=8)))
    assert [one.pid for one in driver.asked(ProtectServer)] == [7, 8]
    driver.post(events.ServerProtected("main", ("oom_score_adj -900",), ("memory.low: no",)))
    server = driver.state.inference.ranking.protected["main"]
    assert server == "oom_score_adj -900; memory.low: no"


def test_servers_that_are_not_named_any_more_are_forgotten_with_all_they_held():
    driver = Beside(cores=4)
    driver.look(BUSY)
    assert driver.state.inference.kept_cores == 1
    driver.post(events.SettingsLoaded(_with(driver, servers=())))
    assert not driver.state.inference.servers and driver.state.inference.kept_cores == 0
    driver.post(events.InferenceSeen((BUSY,)))
    assert not driver.state.inference.servers


def test_a_look_that_failed_changes_nothing_and_is_told_once():
    driver = Beside()
    driver.look(BUSY)
    for _ in range(2):
        driver.post(events.InferenceUnseen("internal error"))
    assert driver.server.state == "busy" and driver.state.inference.kept_cores == 1
    assert len(logs(driver, "inference.unseen")) == 1


def test_the_status_tells_of_servers_and_of_what_was_done():
    driver = Beside()
    of = process(locked_bytes=GIB, argv=("llama-server", "-t", "2"))
    three = seen(of=of, need=NEED, slots=slots(True, False, decoded=5), context_tokens=8192)
    driver.look(three)
    driver.receive(90, messages.Status())
    report = driver.reply(90, "status")["status"]["inference"]
    (server,) = report["servers"]
    assert (server["state"], server["busy_slots"], server["slots"]) == ("busy", 1, 2)
    assert (server["context_tokens"], server["context_used_tokens"]) == (8192, 10)
    assert (server["expected_bytes"], server["locked_bytes"]) == (4 * GIB, GIB)
    assert server["promised_bytes"] == 2 * GIB
    assert report["kept_cores"] == 2 and report["last_24h"]["squeezes"] == 0
    assert MIB < report["claimed_bytes"] == 3 * GIB


def test_the_ceiling_of_builds_leaves_out_what_a_server_has_and_comes_back_with_its_end():
    driver = Beside()
    driver.post(events.BuildCgroupOpened(CGROUP))
    read(driver, 20 * GIB)
    driver.look(WHOLE)
    read(driver, 20 * GIB)
    driver.look(NONE)
    read(driver, 20 * GIB)
    ceilings = [one.ceiling_bytes for one in driver.asked(actions.LimitBuilds)]
    assert ceilings[0] == ceilings[2] == TOTAL - LOW_WATER
    assert 0 <= ceilings[0] - 5 * GIB - ceilings[1] < 64 * MIB, "4 of weights, and 1 of its own"


def test_a_ceiling_that_could_not_be_lowered_all_the_way_is_lowered_again_later():
    driver = Beside()
    driver.post(events.BuildCgroupOpened(CGROUP))
    driver.look(WHOLE)
    read(driver, 20 * GIB)
    wanted = last(driver, actions.LimitBuilds).ceiling_bytes
    driver.post(events.BuildsLimited(wanted + GIB))
    read(driver, 20 * GIB)
    assert len(driver.asked(actions.LimitBuilds)) == 1
    read(driver, 20 * GIB, after_s=6.0)
    assert len(driver.asked(actions.LimitBuilds)) == 2
    driver.post(events.BuildsLimited(wanted))
    read(driver, 20 * GIB, after_s=6.0)
    assert len(driver.asked(actions.LimitBuilds)) == 2
