"""Builds whose disk vanishes or becomes read-only: ended with one line, and begun anew once."""

import pytest

from forge.core import actions, disk_actions, disk_events, messages
from forge.core.disk_life import DiskPhase
from tests.core.driver import DISK, Driver, settings
from tests.core.test_killed import answer, read, record
from tests.core.test_memory_gate import unit

GONE = "the RAM disk is gone (it was ejected); what was built on it is lost"


@pytest.fixture
def driver():
    return Driver(settings(cores=4))


def lose(driver):
    driver.post(disk_events.DiskLost(DISK.token, "it was ejected"))


def test_a_build_that_loses_its_disk_is_ended_and_goes_on_with_another_one(driver):
    build = driver.run(1, requeues=True)
    unit(driver, 10, build, "app")
    lose(driver)
    assert driver.reply(1, "requeue") == {
        "type": "requeue",
        "line": f"{GONE}; it goes on with another disk",
        "again": "b1/0/0/1",
    }
    assert driver.reply(10, "end")
    assert driver.asked(actions.EndTree)
    driver.receive(1, messages.Ended(exit=101))
    assert driver.run(2, requeues=True, again="b1/0/0/1") == "b2"
    assert len(driver.asked(disk_actions.EnsureDisk)) == 2
    assert driver.reply(2, "go")["target_dir"]


def test_it_is_begun_anew_only_once(driver):
    build = driver.run(1, requeues=True, again="b1/0/0/1")
    unit(driver, 10, build, "app")
    lose(driver)
    assert driver.reply(1, "end")["line"] == GONE


def test_tests_that_run_are_left_to_themselves_and_told(driver):
    build = driver.run(1, "test", requeues=True)
    driver.receive(10, messages.Test(build=build, pid=10, binary="/b", name="b"))
    lose(driver)
    assert driver.reply(1, "say")["line"] == GONE
    assert not driver.asked(actions.EndTree)


def test_tests_that_are_still_being_compiled_are_ended_with_one_line(driver):
    build = driver.run(1, "test", requeues=True)
    unit(driver, 10, build, "app")
    lose(driver)
    assert driver.reply(1, "end")["line"] == GONE


def test_a_build_on_the_ssd_is_left_alone(driver):
    driver.run(1, "build", "--target-dir", "/x", requeues=True)
    driver.run(2, root="/src/other", requeues=True)
    lose(driver)
    assert {to for to, one in driver.sent if one["type"] in ("requeue", "end", "say")} == {2}


def test_a_build_that_failed_before_the_loss_was_noticed_runs_again(driver):
    driver.run(1, requeues=True)
    driver.is_disk_there = False
    driver.receive(1, messages.Ended(exit=101))
    assert driver.asked(disk_actions.LookAtDisk) == [disk_actions.LookAtDisk(DISK)]
    read(driver, 0)
    assert not [one for _, one in driver.sent if one["type"] in ("over", "requeue")]
    lose(driver)
    assert answer(driver)["again"] == "b1/0/0/1"
    assert record(driver)["requeued"]


def test_a_build_that_failed_by_itself_hears_so_when_the_disk_was_seen(driver):
    driver.run(1, requeues=True)
    driver.receive(1, messages.Ended(exit=101))
    read(driver, 0)
    assert answer(driver) == {"type": "over", "line": None}


def test_a_read_only_disk_takes_no_builds_until_it_is_writable_again(driver):
    build = driver.run(1, requeues=True)
    unit(driver, 10, build, "app")
    driver.post(disk_events.DiskSighted(DISK.token, writable=False))
    assert driver.reply(1, "requeue")["line"].startswith("the RAM disk has become read-only")
    assert driver.state.disk.phase is DiskPhase.MOUNTED
    driver.receive(1, messages.Ended(exit=101))
    driver.begin(2, requeues=True, again="b1/0/0/1")
    assert driver.reply(2, "go")["target_dir"] is None
    assert "read-only" in driver.reply(2, "go")["notes"][0]
    driver.post(disk_events.DiskSighted(DISK.token, writable=True))
    driver.begin(3, root="/src/third")
    driver.make_target_dirs()
    assert driver.reply(3, "go")["target_dir"]


def test_a_mounted_disk_is_watched_and_one_that_is_taken_away_is_not(driver):
    driver.run(1)
    driver.receive(1, messages.Ended(exit=0))
    driver.receive(9, messages.DiskRequest(verb="unmount"))
    watching = [
        one
        for one in driver.done
        if isinstance(one, disk_actions.WatchDisk | disk_actions.UnwatchDisk)
    ]
    assert watching == [disk_actions.WatchDisk(DISK), disk_actions.UnwatchDisk()]
    driver.post(disk_events.DiskFailed("disk-busy", "in use"))
    assert driver.asked(disk_actions.WatchDisk)[-1] == disk_actions.WatchDisk(DISK)
    assert len(driver.asked(disk_actions.WatchDisk)) == 2
