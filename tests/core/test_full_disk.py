"""What is done when eviction does not suffice: grow, hold, stop, and go on on the SSD."""

from dataclasses import replace

import pytest

from forge.core import (
    disk_actions,
    disk_events,
    events,
    messages,
    room_actions,
)
from forge.core.disk import Disk, DiskKind
from forge.core.learned import key_of_growth
from forge.core.memory import Reading, Swap
from forge.core.target_dirs import TargetDir
from forge.core.units import MIB
from tests.core.driver import DISK, GIB, Driver
from tests.core.full_disk import OTHER, a_driver, free, remember, two, usage
from tests.core.test_memory_gate import reason, unit, went
from tests.core.test_memory_watch import decisions

# What builds write


def test_what_a_build_has_written_is_learned():
    driver = a_driver()
    build = driver.run(1)
    unit(driver, 10, build, "app")
    free(driver, 6000)
    free(driver, 5000)
    free(driver, 4800)
    driver.receive(10, messages.UnitEnded(exit=0))
    driver.receive(1, messages.Ended(exit=0))
    known = driver.state.gates.learned.estimate_here(
        "/src/app", key_of_growth("build build dev cold")
    )
    assert known is not None
    assert known.peak_kib == 1200 * 1024


def test_what_two_builds_write_meanwhile_is_shared():
    driver = a_driver()
    first, second = driver.run(1), driver.run(2, root=OTHER)
    unit(driver, 10, first, "a")
    unit(driver, 11, second, "b")
    free(driver, 6000)
    free(driver, 5000)
    assert driver.state.growth.grown_bytes == {first: 500 * MIB, second: 500 * MIB}


def test_room_is_made_for_what_was_learned_and_not_yet_written():
    driver = a_driver()
    remember(driver, "/src/app", 3000)
    build = driver.run(1)
    reserve = driver.state.room.wanted_bytes() - 3000 * MIB
    unit(driver, 10, build, "app")
    free(driver, 6000)
    free(driver, 5000)
    assert driver.state.room.wanted_bytes() == reserve + 2000 * MIB


# The disk grows


def available(driver: Driver, mib: int) -> None:
    reading = Reading(driver.now_s, 24 * GIB, mib * MIB, Swap(0, 0))
    driver.post(events.MemoryMeasured(reading, {}))


def test_a_tmpfs_takes_memory_that_nobody_was_promised():
    driver = a_driver(grow_disk=True, low_water_mib=1024)
    remember(driver, "/src/app", 100)
    driver.run(1)
    available(driver, 8000)
    free(driver, 200)
    (asked,) = driver.asked(disk_actions.ResizeDisk)
    assert asked.size_mib == 6144 + 1024


def test_it_takes_no_more_than_there_is():
    driver = a_driver(grow_disk=True, low_water_mib=1024)
    driver.run(1)
    available(driver, 1024 + 200 + 300)  # the low water, what the disk has left, and a rest
    free(driver, 200)
    (asked,) = driver.asked(disk_actions.ResizeDisk)
    assert asked.size_mib == 6144 + 300


@pytest.mark.parametrize(
    ("available_mib", "kind", "grows"),
    [
        (1024 + 200 + 63, DiskKind.TMPFS, True),  # not worth a resize
        (8000, DiskKind.APFS, True),  # its size is fixed
        (8000, DiskKind.SHM, True),
        (8000, DiskKind.TMPFS, False),  # its user does not want it
    ],
)
def test_a_disk_that_cannot_or_must_not_stays_as_large_as_it_is(available_mib, kind, grows):
    driver = a_driver(grow_disk=grows, low_water_mib=1024)
    driver.run(1)
    driver.state.disk.disk = replace(DISK, kind=kind)
    available(driver, available_mib)
    free(driver, 200)
    assert driver.asked(disk_actions.ResizeDisk) == []


def test_where_memory_is_not_measured_nothing_is_taken():
    driver = a_driver(grow_disk=True)
    driver.run(1)
    free(driver, 200)
    assert driver.asked(disk_actions.ResizeDisk) == []


def test_it_takes_its_old_size_again_when_nothing_is_built():
    driver = a_driver(grow_disk=True, low_water_mib=1024)
    remember(driver, "/src/app", 100)
    driver.run(1)
    available(driver, 8000)
    free(driver, 200)
    larger = Disk(DiskKind.TMPFS, "/mnt/builds", 7168, 40, "t")
    driver.post(disk_events.DiskReady(larger, usage(1224 * MIB, 7 * GIB)))
    driver.receive(1, messages.Ended(exit=0))
    driver.post(disk_events.DiskMeasured(usage(5 * GIB, 7 * GIB)))
    assert [one.size_mib for one in driver.asked(disk_actions.ResizeDisk)] == [7168, 6144]


# Others are held


def test_when_only_one_fits_the_other_starts_nothing_more_and_is_told_why():
    driver = a_driver()
    first, second = two(driver)
    free(driver, 3000)
    unit(driver, 10, first, "a")
    unit(driver, 11, second, "b")
    assert went(driver, 10)
    assert not went(driver, 11)
    driver.now_s += 1
    driver.post(events.Tick())
    expected = "waiting: there is no room on the RAM disk, and b1 (app) goes first"
    assert reason(driver, 11) == expected
    assert decisions(driver, "build.held_for_room") == ["build.held_for_room"]


def test_a_persons_build_goes_before_an_older_one():
    driver = a_driver()
    first, second = two(driver, interactive=True)
    free(driver, 3000)
    unit(driver, 10, first, "a")
    unit(driver, 11, second, "b")
    assert (went(driver, 10), went(driver, 11)) == (False, True)


@pytest.mark.parametrize("how", ["room", "first ends", "disk is lost"])
def test_a_held_build_goes_on_when(how):
    driver = a_driver()
    first, second = two(driver)
    free(driver, 3000)
    unit(driver, 10, first, "a")
    unit(driver, 11, second, "b")
    match how:
        case "room":
            free(driver, 5900)
        case "first ends":
            driver.receive(10, messages.UnitEnded(exit=0))
            driver.receive(1, messages.Ended(exit=0))
            free(driver, 3000)
        case "disk is lost":
            driver.post(disk_events.DiskLost("t", "ejected"))
    assert went(driver, 11)


def test_a_held_build_that_ends_leaves_nothing_behind():
    driver = a_driver()
    two(driver)
    free(driver, 3000)
    driver.post(events.Closed(2))
    driver.post(events.Gone("b2/launcher", 200))
    driver.post(events.Gone("b2/cargo", 201))
    free(driver, 3000)
    assert not driver.state.gates.held.keys() - driver.state.builds.keys()


# Compilers are stopped


def test_while_something_is_deleted_for_them_compilers_stand_still():
    driver = a_driver()
    build = driver.run(1, requeues=True)
    idle = TargetDir("/mnt/builds/old", OTHER, 0.0, 0.0, 1, 3 * GIB, 9)
    driver.state.target_dirs[idle.path] = idle
    unit(driver, 10, build, "a")
    free(driver, 20)
    assert [one.path for one in driver.asked(room_actions.EvictTargetDir)] == [idle.path]
    assert [to for to, one in driver.sent if one["type"] == "pause"] == [10]
    assert [to for to, one in driver.sent if one["type"] == "requeue"] == []
    driver.post(events.TargetDirEvicted(idle.path, 3 * GIB))
    free(driver, 3000)
    assert [to for to, one in driver.sent if one["type"] == "resume"] == [10]
