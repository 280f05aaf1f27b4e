"""When services are started again."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.core.service_watch import MOST, WITHIN_S, Health, Look, Record, Verdict, judge

WELL = Look(7, is_ready=True, is_wanted=True)
DEAD = Look(None, is_ready=False, is_wanted=True, died_of="exit code 1")


def judged(was: Record, look: Look, now_s: float, *, restart=True, tight=False) -> Verdict:
    return judge(was, look, now_s, may_restart=restart, is_tight=tight)


def run(looks: list[Look], *, every_s=2.0, was: Record | None = None, **how) -> list[Verdict]:
    verdicts = []
    record = was or Record()
    for number, look in enumerate(looks):
        verdict = judged(record, look, 100 + number * every_s, **how)
        record = verdict.record
        verdicts.append(verdict)
    return verdicts


def test_one_that_dies_is_started_again_after_a_little_while():
    verdicts = run([WELL, DEAD, DEAD, replace(WELL, pid=8)])
    assert [one.starts for one in verdicts] == [False, False, True, False]
    assert verdicts[1].news == "died: exit code 1"
    assert verdicts[-1].record.health is Health.WELL


@pytest.mark.parametrize(("how", "why"), [
    ({"restart": False}, "its manager does that"),
    ({"tight": True}, "to load a model again under pressure brings a machine down"),
])  # fmt: skip
def test_one_that_dies_is_left_dead_when(how, why):
    verdicts = run([WELL, *[DEAD] * 100], **how)
    assert not any(one.starts for one in verdicts), why
    assert verdicts[-1].record.health is Health.DIED


def test_why_it_died_is_still_known_when_it_is_well_again():
    verdicts = run([WELL, DEAD, DEAD, replace(WELL, pid=8, is_ready=False), replace(WELL, pid=8)])
    assert [one.is_death for one in verdicts] == [False, True, False, False, False]
    assert verdicts[-1].record.health is Health.WELL
    assert verdicts[-1].record.reason == "exit code 1"


def test_one_that_dies_a_minute_after_each_start_is_given_up_in_the_end():
    record, now_s, starts, pid = Record(), 100.0, 0, 7
    for _ in range(100):  # it is well for a minute each time: too short to begin anew
        pid += 1
        record = judged(record, replace(WELL, pid=pid), now_s).record
        now_s += 60
        verdict = judged(record, DEAD, now_s)
        while not verdict.starts and verdict.record.health is not Health.GIVEN_UP:
            now_s += 2
            verdict = judged(verdict.record, DEAD, now_s)
        record = verdict.record
        if record.health is Health.GIVEN_UP:
            break
        starts += 1
    assert record.health is Health.GIVEN_UP
    assert starts == MOST - 1
    assert "times; it is left alone" in verdict.news


@pytest.mark.parametrize("lives_s", [0, 1, 10, 60, 119])
def test_a_hundred_restarts_in_an_hour_never_happen(lives_s):
    record, starts, alive_until_s = Record(), 0, None
    for second in range(0, 3600, 2):
        now_s = 1000.0 + second
        is_alive = alive_until_s is not None and now_s < alive_until_s
        look = replace(WELL, pid=100 + starts) if is_alive else DEAD
        verdict = judged(record, look, now_s)
        record = verdict.record
        if verdict.starts:
            starts += 1
            alive_until_s = now_s + lives_s
    assert 0 < starts < 2 * MOST
    assert record.health is Health.GIVEN_UP


def test_one_that_nobody_wants_is_down():
    verdict = judged(Record(Health.WELL, 7), replace(DEAD, is_wanted=False), 100)
    assert verdict.record.health is Health.DOWN
    assert not verdict.starts


def test_one_that_dies_again_and_again_is_given_up_until_a_person_starts_it():
    verdicts = run([DEAD] * 3000)
    assert sum(one.starts for one in verdicts) < MOST
    assert verdicts[-1].record.health is Health.GIVEN_UP
    back = judged(verdicts[-1].record, WELL, 9000)
    assert back.record.health is Health.WELL


def test_each_restart_waits_longer_than_the_last():
    starts = [n for n, one in enumerate(run([DEAD] * 3000, every_s=0.1)) if one.starts]
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert gaps == sorted(gaps)
    assert gaps[-1] > 4 * gaps[0]


def test_a_long_healthy_life_makes_up_for_deaths():
    record = Record(deaths=(1.0, 2.0, 3.0))
    young = judged(record, WELL, 100).record
    assert young.deaths
    assert judged(young, WELL, 100 + 121).record.deaths == ()


def test_one_that_does_not_answer_is_told_of_and_not_restarted():
    mute = replace(WELL, is_ready=False)
    verdicts = run([WELL, *[mute] * 20])
    assert verdicts[-1].record.health is Health.UNREADY
    assert sum(one.news == "does not answer any more" for one in verdicts) == 1
    assert not any(one.starts for one in verdicts)


def test_one_that_loads_is_starting_for_as_long_as_it_takes():
    verdicts = run([replace(WELL, is_ready=False)] * 500)
    assert {one.record.health for one in verdicts} == {Health.STARTING}


def test_a_stranger_on_its_port_is_told_once_and_nothing_is_started():
    verdicts = run([WELL, *[replace(DEAD, stranger="nginx (pid 9)")] * 50])
    assert verdicts[-1].record.health is Health.STRANGER
    assert sum("taken by nginx" in one.news for one in verdicts) == 1
    assert not any(one.starts for one in verdicts)


LOOKS = st.builds(
    Look, st.none() | st.integers(1, 3), st.booleans(), st.booleans(), st.just(""),
    st.sampled_from(["", "nginx"]),
)  # fmt: skip


@given(st.lists(st.tuples(LOOKS, st.floats(0, 60), st.booleans(), st.booleans()), max_size=80))
def test_nothing_is_started_that_is_alive_unwanted_or_not_ours_nor_while_memory_is_tight(story):
    record, now_s = Record(), 0.0
    started: list[float] = []
    for look, later_s, restart, tight in story:
        now_s += later_s
        verdict = judged(record, look, now_s, restart=restart, tight=tight)
        if verdict.starts:
            assert look.pid is None
            assert look.is_wanted
            assert restart
            assert not tight
            started.append(now_s)
        record = verdict.record
        assert len([one for one in record.deaths if now_s - one < WITHIN_S]) <= MOST
