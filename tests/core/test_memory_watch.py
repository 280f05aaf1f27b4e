"""Readings through the state: rooms for links, rungs climbed, victims, and the way back."""

import pytest

from forge.core import actions, events, messages
from forge.core.memory import Reading, Swap
from forge.core.memory_watch import proposed_low_water_bytes
from forge.core.pressure import Rung
from forge.core.units import MIB
from tests.core.driver import Driver, settings
from tests.core.test_memory_gate import link, reason, unit, went

GIB = 1024 * MIB
TOTAL = 24 * GIB
LOW_WATER = proposed_low_water_bytes(TOTAL)


def read(driver, available_bytes, after_s=0.05, used=None):
    """Let memory be measured; a steady figure falls by nothing."""
    driver.now_s += after_s
    reading = Reading(driver.now_s, TOTAL, available_bytes, Swap(0, 0))
    driver.post(events.MemoryMeasured(reading, used or {}))


def tight(driver, looks=1):
    for _ in range(looks):
        read(driver, LOW_WATER - GIB // 2)


def calm(driver, seconds):
    for _ in range(round(seconds / 0.25)):
        read(driver, 12 * GIB, 0.25)


def rung(driver):
    return driver.state.memory.ladder.rung


def decisions(driver, prefix):
    logs = driver.asked(actions.Log)
    return [one.decision for one in logs if one.decision.startswith(prefix)]


def test_the_low_water_is_a_part_of_the_machine_within_bounds():
    assert proposed_low_water_bytes(256 * GIB) == 8 * GIB
    assert proposed_low_water_bytes(4 * GIB) == 384 * MIB
    assert proposed_low_water_bytes(24 * GIB) == int(0.04 * 24 * GIB)


def test_what_is_measured_bounds_links_below_the_buffer():
    driver = Driver(settings(cores=4))
    build = driver.run(1)
    read(driver, LOW_WATER + 3 * GIB)
    link(driver, 10, build, 1000), link(driver, 11, build, 1000)
    assert went(driver, 10) and not went(driver, 11), "2.0 of 3 GiB are booked and untouched"
    assert "1.0 GiB free" in reason(driver, 11)
    read(driver, LOW_WATER + 3 * GIB, used={10: 1900 * MIB})
    assert went(driver, 11)


def test_memory_that_cannot_be_measured_leaves_the_buffer_to_decide():
    driver = Driver(settings(cores=4))
    build = driver.run(1)
    read(driver, LOW_WATER + GIB)
    link(driver, 10, build, 1000), link(driver, 11, build, 1000)
    assert not went(driver, 11)
    driver.post(events.MemoryUnmeasured("no /proc"))
    driver.post(events.MemoryUnmeasured("no /proc"))
    assert went(driver, 11)
    assert decisions(driver, "memory.") == ["memory.unmeasured"]


def test_tight_memory_shuts_first_admission_then_units_then_links():
    driver = Driver(settings(cores=4, builds_at_once=4))
    build = driver.run(1)
    unit(driver, 10, build, "a")
    tight(driver)
    assert rung(driver) is Rung.HOLD_ADMISSION
    driver.begin(2, root="/src/other")
    assert "waiting for memory: it is short, and 1 at work" in reason(driver, 2)
    tight(driver)
    assert rung(driver) is Rung.SHUT_UNITS
    unit(driver, 11, build, "b")
    assert "one unit runs while memory is short" in reason(driver, 11)
    driver.receive(10, messages.UnitEnded(exit=0))
    assert went(driver, 11), "one unit always runs"
    tight(driver, looks=2)
    assert rung(driver) is Rung.SHUT_LINKS
    link(driver, 12, build, 10)
    assert reason(driver, 12).startswith("waiting: memory is short, so nothing heavy starts")


def test_with_nothing_at_work_one_build_is_admitted_all_the_same():
    driver = Driver(settings(cores=4))
    tight(driver, looks=2)
    build = driver.run(1)
    unit(driver, 10, build, "a")
    assert went(driver, 10)


def test_the_youngest_link_of_a_batch_build_is_cancelled_and_waits_at_its_place():
    driver = Driver(settings(cores=4))
    mine = driver.run(1, root="/src/mine", interactive=True)
    theirs = driver.run(2, root="/src/theirs")
    read(driver, 12 * GIB)
    link(driver, 10, theirs, 100)
    driver.now_s += 1
    link(driver, 11, theirs, 100)
    driver.now_s += 1
    link(driver, 12, mine, 100)
    while not [one for one in driver.sent if one[1]["type"] == "cancel"]:
        tight(driver)
    cancelled = [to for to, message in driver.sent if message["type"] == "cancel"]
    assert cancelled == [11]
    driver.receive(11, messages.Cancelled(wall_s=1.0))
    assert driver.reply(11, "wait")
    calm(driver, 5)
    assert rung(driver) is Rung.CALM
    assert [to for to, message in driver.sent if message["type"] == "go" and to == 11] == [11, 11]


def test_a_link_that_ended_before_it_could_be_cancelled_has_ended():
    driver = Driver(settings(cores=4))
    build = driver.run(1)
    link(driver, 10, build, 100)
    while not [one for one in driver.sent if one[1]["type"] == "cancel"]:
        tight(driver)
    driver.receive(10, messages.LinkEnded(exit=0, peak_kib=1))
    assert 10 not in driver.state.gates.behind


def test_a_link_that_was_cancelled_three_times_runs_alone_and_is_left_in_peace():
    driver = Driver(settings(cores=4))
    build = driver.run(1)
    link(driver, 10, build, 100)
    for _ in range(3):
        before = len([one for one in driver.sent if one[1]["type"] == "cancel"])
        for _ in range(40):
            tight(driver)
            if len([one for one in driver.sent if one[1]["type"] == "cancel"]) > before:
                break
        driver.receive(10, messages.Cancelled())
        calm(driver, 120)
        assert driver.state.gates.behind[10].started_s is not None
    link(driver, 11, build, 100)
    assert not went(driver, 11), "it runs alone"
    count = len(driver.sent)
    tight(driver, looks=40)
    assert not [one for one in driver.sent[count:] if one[1]["type"] == "cancel"]


def test_what_a_link_writes_to_the_ram_disk_shrinks_the_room_and_stays_taken_after_it():
    driver = Driver(settings(cores=4))
    build = driver.run(1)
    read(driver, LOW_WATER + 4 * GIB)
    link(driver, 10, build, 500)
    for written_mib in (500, 1000, 1500, 2000, 2500):  # none of it is the linker's own memory
        read(driver, LOW_WATER + 4 * GIB - written_mib * MIB, 1.0, used={10: 100 * MIB})
    link(driver, 11, build, 500)
    assert not went(driver, 11) and "waiting for memory: 666 MiB free" in reason(driver, 11)
    driver.receive(10, messages.LinkEnded(exit=0, peak_kib=100 * 1024))
    assert went(driver, 11), "1.5 GiB are left, and nothing else is booked"
    link(driver, 12, build, 500)
    assert not went(driver, 12), "what was written is still there"


def test_a_link_that_fills_the_ram_disk_is_undone_three_times_and_then_runs_to_its_end():
    driver = Driver(settings(cores=4))
    build = driver.run(1)
    link(driver, 10, build, 100)
    cancels = 0
    while cancels < 3:
        for written_mib in range(0, 12 * 1024, 512):
            available = max(LOW_WATER // 2, 6 * GIB - written_mib * MIB)
            read(driver, available, used={10: 50 * MIB})
        driver.receive(10, messages.Cancelled(peak_kib=50 * 1024))
        cancels += 1
        calm(driver, 120)  # what it had written is gone with it
        assert driver.state.gates.behind[10].runs
    sent = len(driver.sent)
    tight(driver, looks=60)
    assert not [one for one in driver.sent[sent:] if one[1]["type"] == "cancel"]
    link(driver, 11, build, 1)
    assert not went(driver, 11), "what makes room for it is not taken by others"
    driver.receive(10, messages.LinkEnded(exit=0, peak_kib=50 * 1024))
    calm(driver, 120)
    assert went(driver, 11)


def test_batch_rustcs_are_paused_youngest_first_one_goes_on_and_all_are_resumed():
    driver = Driver(settings(cores=4))
    mine = driver.run(1, root="/src/mine", interactive=True)
    theirs = driver.run(2, root="/src/theirs")
    for conn, build in ((10, theirs), (11, theirs), (12, mine)):
        driver.now_s += 1
        unit(driver, conn, build, f"c{conn}")
    tight(driver, looks=100)
    paused = [to for to, message in driver.sent if message["type"] == "pause"]
    assert paused == [11, 10], "never a person's"
    calm(driver, 20)
    resumed = [to for to, message in driver.sent if message["type"] == "resume"]
    assert sorted(resumed) == [10, 11]
    assert rung(driver) is Rung.CALM


def test_the_last_unit_is_never_paused():
    driver = Driver(settings(cores=4))
    build = driver.run(1)
    unit(driver, 10, build, "a"), unit(driver, 11, build, "b")
    tight(driver, looks=200)
    assert [to for to, message in driver.sent if message["type"] == "pause"] == [11]


def sent(driver, kind):
    return [to for to, message in driver.sent if message["type"] == kind]


def test_when_what_runs_has_ended_the_oldest_that_is_paused_goes_on_though_memory_is_tight():
    driver = Driver(settings(cores=4))
    build = driver.run(1)
    for conn in (10, 11, 12):
        driver.now_s += 1
        unit(driver, conn, build, f"c{conn}")
    tight(driver, looks=100)
    assert sent(driver, "pause") == [12, 11]
    driver.receive(10, messages.UnitEnded(exit=0))
    tight(driver, looks=20)
    assert sent(driver, "resume") == [11], "paused, they would keep their memory for ever"
    assert sent(driver, "pause") == [12, 11], "and it is not paused again"


def test_a_rustc_that_sleeps_until_it_is_linked_is_not_paused_nor_taken_for_one_that_gets_on():
    driver = Driver(settings(cores=4))
    build = driver.run(1)
    read(driver, LOW_WATER)
    for conn in (10, 11, 12):
        driver.now_s += 1
        unit(driver, conn, build, f"c{conn}")
    driver.state.memory.ladder.rung = Rung.CALM
    tight(driver, looks=5)
    link(driver, 22, build, 5000, crate="c12")
    tight(driver, looks=100)
    assert sent(driver, "pause") == [11], "12 sleeps, 10 is the one that runs on"
    link(driver, 20, build, 5000, crate="c10")
    tight(driver, looks=2)
    assert sent(driver, "resume") == [11]


def test_when_all_wait_for_links_the_first_that_fits_into_what_is_left_starts():
    driver = Driver(settings(cores=4))
    build = driver.run(1)
    for conn in (10, 11):
        unit(driver, conn, build, f"c{conn}")
    tight(driver, looks=5)
    link(driver, 20, build, 5000, crate="c10"), link(driver, 21, build, 100, crate="c11")
    assert not went(driver, 20) and not went(driver, 21), "links are shut"
    tight(driver)
    assert not went(driver, 20), "there is less left than it needs"
    assert went(driver, 21), "what its rustc has in memory comes back in no other way"


def test_each_rung_is_logged_with_its_numbers():
    driver = Driver(settings(cores=4))
    driver.run(1)
    while rung(driver) < Rung.SHUT_LINKS:
        tight(driver)
    calm(driver, 10)
    assert decisions(driver, "memory.") == ["memory.tight"] * 3 + ["memory.eased"] * 3
    first = next(one for one in driver.asked(actions.Log) if one.decision == "memory.tight")
    assert first.fields["rung"] == "hold admission"
    assert first.fields["available"] == LOW_WATER - GIB // 2
    assert "available, below" in first.fields["because"][0]


def test_memory_that_falls_fast_is_tight_before_the_low_water_is_reached():
    driver = Driver(settings(cores=4))
    driver.run(1)
    read(driver, LOW_WATER + 400 * MIB)
    read(driver, LOW_WATER + 350 * MIB, 0.05)  # 1 GiB/s: gone in 0.35 s
    assert rung(driver) is Rung.HOLD_ADMISSION


def test_readings_come_slowly_when_idle_and_fast_when_headroom_is_small():
    driver = Driver(settings(cores=4))
    read(driver, 12 * GIB)
    assert driver.state.memory.due_s - driver.now_s == 5.0
    driver.run(1)
    assert driver.state.memory.due_s - driver.now_s == 0.25
    read(driver, LOW_WATER + 600 * MIB)
    assert driver.state.memory.due_s - driver.now_s <= 0.06


def test_holders_of_bytes_are_measured_with_the_machine():
    driver = Driver(settings(cores=4))
    build = driver.run(1)
    link(driver, 10, build, 100)
    driver.now_s += 6
    driver.post(events.Tick())
    assert driver.asked(actions.MeasureMemory)[-1].pids == {10: 10}


@pytest.mark.parametrize("jump_s", [-86_400.0, 86_400.0])
def test_a_clock_that_jumps_takes_nothing_from_anybody_and_links_go_on(jump_s):
    driver = Driver(settings(cores=4))
    build = driver.run(1)
    read(driver, 12 * GIB)
    link(driver, 10, build, 100), unit(driver, 11, build, "a")
    driver.now_s += jump_s
    read(driver, 11 * GIB)
    driver.post(events.Tick())
    link(driver, 12, build, 100)
    assert went(driver, 12)
    assert rung(driver) is Rung.CALM
    taken = [
        message["type"] for _, message in driver.sent if message["type"] in ("cancel", "pause")
    ]
    assert taken == []
    assert driver.state.memory.due_s <= driver.now_s + 5.0, "it is looked at again soon"


def test_where_stalls_and_swap_are_not_counted_memory_that_is_there_decides():
    """No PSI and no swap at all: `read` gives neither, on a machine without a byte of swap."""
    driver = Driver(settings(cores=4, builds_at_once=4))
    build = driver.run(1)
    read(driver, 12 * GIB)
    link(driver, 10, build, 100)
    reading = driver.state.memory.reading
    assert reading and reading.stalls is None and went(driver, 10)
    tight(driver, looks=30)
    assert [to for to, message in driver.sent if message["type"] == "cancel"] == [10]
    driver.receive(10, messages.Cancelled())
    calm(driver, 60)
    assert rung(driver) is Rung.CALM and driver.state.gates.behind[10].runs
