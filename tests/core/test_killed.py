"""Compilers and linkers that were killed for memory: recognised, told, and run once more."""

import pytest

from forge.core import actions, disk_events, events, messages
from forge.core.memory import Reading, Swap
from tests.core.driver import EMPTY, Driver, settings
from tests.core.test_memory_gate import link, unit
from tests.core.test_memory_watch import GIB, LOW_WATER, TOTAL, decisions, tight

KILLED = {"signal": 9, "peak_kib": 1024 * 1024}
TOLD = "the linker of app was killed for memory: it had reached 1.0 GiB, 3.0 GiB was available"


def read(driver, oom_kills, after_s=0.1, available_bytes=3 * GIB):
    driver.now_s += after_s
    driver.post(disk_events.DiskMeasured(EMPTY))
    reading = Reading(driver.now_s, TOTAL, available_bytes, Swap(0, 0), oom_kills=oom_kills)
    driver.post(events.MemoryMeasured(reading, {}))


def linking(given=None, **fields):
    """A build whose linker runs, with the kernel's count read before."""
    driver = Driver(given or settings(cores=4))
    build = driver.run(1, **{"requeues": True, **fields})
    read(driver, 7)
    driver.now_s += 1
    driver.receive(10, messages.Link(build=build, pid=10, crate="app", input_bytes=1000))
    return driver


def fail(driver, oom_kills, ended=None):
    """The link dies, its build fails, and memory is read after both."""
    driver.now_s += 1
    driver.receive(10, messages.LinkEnded(**(ended or KILLED)))
    driver.receive(1, messages.Ended(exit=101))
    read(driver, oom_kills)


def answer(driver, conn=1):
    kinds = ("over", "requeue")
    (found,) = [one for to, one in driver.sent if to == conn and one["type"] in kinds]
    return found


def record(driver):
    return driver.asked(actions.RecordBuild)[-1].record


def test_a_linker_that_the_kernel_killed_is_named_and_its_build_runs_once_more():
    driver = linking()
    fail(driver, 8)
    assert answer(driver) == {
        "type": "requeue",
        "line": f"{TOLD}; the build runs once more and books more",
        "again": "b1/0/1",
    }
    assert record(driver)["killed_for_memory"] == ["linker of app"]
    assert record(driver)["requeued"]
    assert decisions(driver, "link.killed") == ["link.killed"]
    assert driver.state.builds == {}


def test_the_second_run_books_more_than_the_first_one_had():
    driver = linking()
    fail(driver, 8)
    build = driver.run(2, requeues=True, again="b1/0/1")
    driver.receive(11, messages.Link(build=build, pid=11, crate="app", input_bytes=1000))
    booked = driver.state.gates.memory.reservations.booked_bytes
    assert booked >= 1.5 * GIB


def test_it_books_no_less_than_it_had_booked():
    driver = Driver(settings(cores=4))
    build = driver.run(1, requeues=True)
    read(driver, 7, available_bytes=20 * GIB)
    link(driver, 10, build, 2000)
    fail(driver, 8, {"signal": 9, "peak_kib": 1024})
    build = driver.run(2, requeues=True, again="b1/0/1")
    link(driver, 11, build, 1)
    assert driver.state.gates.memory.reservations.booked_bytes >= 3 * GIB


@pytest.mark.parametrize(
    ("ended", "oom_kills", "is_killed"),
    [
        ({"signal": 9}, 8, True),
        ({"exit": 1}, 8, True),  # its driver lives on when the linker below it is killed
        ({"signal": 9}, 7, False),  # a person's `kill -9`
        ({"exit": 1}, 7, False),  # something does not link
        ({"signal": 9}, None, False),  # no count to be had
        ({"exit": 0}, 8, False),  # another one was killed
    ],
)
def test_only_with_evidence_is_a_death_for_memory(ended, oom_kills, is_killed):
    driver = linking()
    fail(driver, oom_kills, ended)
    assert answer(driver)["type"] == ("requeue" if is_killed else "over")
    assert bool(record(driver)["killed_for_memory"]) is is_killed


@pytest.mark.parametrize(("ended", "is_killed"), [({"signal": 9}, True), ({"exit": 1}, False)])
def test_without_a_count_our_own_ladder_is_evidence_for_what_died_of_the_signal(ended, is_killed):
    driver = linking()
    tight(driver)
    fail(driver, None, ended)
    assert answer(driver)["type"] == ("requeue" if is_killed else "over")


def test_a_kill_before_it_started_is_no_evidence():
    driver = Driver(settings(cores=4))
    build = driver.run(1, requeues=True)
    read(driver, 7), read(driver, 8)
    driver.now_s += 1
    link(driver, 10, build, 10)
    fail(driver, 8)
    assert answer(driver) == {"type": "over", "line": None}


def test_a_reading_that_was_taken_before_the_death_decides_nothing():
    driver = linking()
    driver.now_s += 1
    asked_s = driver.now_s
    driver.now_s += 1
    driver.receive(10, messages.LinkEnded(**KILLED))
    driver.receive(1, messages.Ended(exit=101))
    late = Reading(asked_s, TOTAL, 3 * GIB, Swap(0, 0), oom_kills=7)
    driver.post(events.MemoryMeasured(late, {}))
    assert driver.state.builds, "it waits for a younger one"
    read(driver, 8)
    assert answer(driver)["type"] == "requeue"


def test_a_rustc_that_was_killed_is_named_as_one():
    driver = Driver(settings(cores=4))
    build = driver.run(1, requeues=True)
    read(driver, 7)
    unit(driver, 10, build, "heavy")
    driver.now_s += 1
    driver.receive(10, messages.UnitEnded(**KILLED))
    driver.receive(1, messages.Ended(exit=101))
    read(driver, 8)
    assert answer(driver)["line"].startswith("the rustc of heavy was killed for memory")
    build = driver.run(2, requeues=True, again="b1/0/1")
    unit(driver, 11, build, "heavy")
    assert driver.state.gates.memory.reservations.booked_bytes >= 1.5 * GIB


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({"rerun_killed": False}, {}),
        ({}, {"env": {"FORGE_RERUN": "0"}}),
        ({}, {"again": "b1/0/1"}),  # once
        ({}, {"argv": ("test",)}),
    ],
)
def test_where_it_does_not_run_again_people_are_told_all_the_same(given, fields):
    argv = fields.pop("argv", ())
    driver = Driver(settings(cores=4, **given))
    build = driver.run(1, *argv, requeues=True, **fields)
    read(driver, 7)
    driver.receive(10, messages.Link(build=build, pid=10, crate="app", input_bytes=1000))
    fail(driver, 8)
    assert answer(driver) == {"type": "over", "line": TOLD}


def test_what_we_end_ourselves_was_not_killed_for_memory():
    driver = linking()
    driver.receive(50, messages.CancelBuild(build="b1"))
    fail(driver, 8)
    assert "link.killed" not in decisions(driver, "link")


def test_a_link_that_was_told_to_run_again_and_died_was_not_killed_for_memory():
    driver = linking()
    while not [one for one in driver.sent if one[1]["type"] == "cancel"]:
        tight(driver)
    fail(driver, None)
    assert answer(driver) == {"type": "over", "line": None}


def test_a_launcher_that_does_not_ask_is_not_answered():
    driver = linking(requeues=False)
    fail(driver, 8)
    kinds = {message["type"] for to, message in driver.sent if to == 1}
    assert not kinds & {"over", "requeue"}
    assert driver.state.builds == {}


@pytest.mark.parametrize("ended", [{"exit": 0}, {"exit": 1}, {"signal": 2}])
def test_only_a_cargo_that_could_not_compile_waits_for_an_answer(ended):
    driver = linking()
    driver.receive(1, messages.Ended(**ended))
    assert driver.state.builds == {}


def test_memory_that_cannot_be_read_leaves_nobody_waiting():
    driver = linking()
    driver.receive(10, messages.LinkEnded(**KILLED))
    driver.receive(1, messages.Ended(exit=101))
    driver.post(disk_events.DiskMeasured(EMPTY))
    driver.post(events.MemoryUnmeasured("no /proc"))
    assert answer(driver) == {"type": "over", "line": None}


def test_a_launcher_that_leaves_before_the_answer_leaves_nothing_behind():
    driver = linking()
    driver.receive(10, messages.LinkEnded(**KILLED))
    driver.receive(1, messages.Ended(exit=101))
    driver.post(events.Closed(1))
    assert driver.state.builds == {}
    read(driver, 8)


def test_a_build_that_waits_for_its_answer_is_not_ended_for_memory():
    driver = linking()
    driver.run(2, root="/src/other", requeues=True)
    driver.receive(1, messages.Ended(exit=101))
    for _ in range(250):
        driver.now_s += 0.05
        reading = Reading(driver.now_s - 1000, TOTAL, LOW_WATER // 2, Swap(0, 0))
        driver.post(events.MemoryMeasured(reading, {}))
    assert not [one for one in driver.sent if one[1]["type"] == "requeue"]


def test_a_launcher_that_is_killed_before_the_answer_leaves_nothing_behind():
    driver = linking()
    driver.receive(10, messages.LinkEnded(**KILLED))
    driver.receive(1, messages.Ended(exit=101))
    driver.post(events.Gone("b1/launcher", 100))
    assert driver.state.builds == {}
    read(driver, 8)
