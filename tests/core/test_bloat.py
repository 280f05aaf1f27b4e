"""RAM disks that keep more than they hold: seen, told, and made anew where nothing is lost."""

from dataclasses import replace

import pytest

from forge.core import actions, disk_actions, disk_events, events, messages
from forge.core.bloat import EMPTY_BYTES, IDLE_S, HighWater, is_bloated
from forge.core.disk import Disk, DiskKind
from forge.core.snapshots import Room, Snapshot
from forge.core.state import State
from forge.core.target_dirs import TargetDir
from tests.core.driver import EMPTY, GIB, Driver, settings

MIB = 1 << 20
APFS = Disk(DiskKind.APFS, "/Volumes/OptaBuilds", 6144, device_id=40, token="a", node="/dev/disk4")


def mounted(*, holds_gib=0.0, disk=APFS, known=None) -> Driver:
    driver = Driver(settings())
    if known:
        driver.state = State(settings(), high_water=known)
        driver.find_no_disk()
    driver.begin(99, "metadata")
    driver.post(disk_events.DiskReady(disk, replace(EMPTY, used_bytes=int(holds_gib * GIB))))
    driver.make_target_dirs()
    driver.post(events.Closed(99))
    driver.state.target_dirs.clear()
    return driver


def hold(driver, used_bytes):
    driver.post(disk_events.DiskMeasured(replace(EMPTY, used_bytes=used_bytes)))


def idle(driver, seconds):
    for _ in range(int(seconds / 10)):
        driver.now_s += 10
        driver.post(events.Tick())


def report(driver):
    driver.receive(50, messages.Status())
    return driver.reply(50, "status")["status"]["disk"]


def was_made_anew(driver):
    return bool(driver.asked(disk_actions.UnmountDisk)) and driver.state.disk.remount


@pytest.mark.parametrize(
    ("kind", "size_mib", "high", "live", "bloated"),
    [
        (DiskKind.APFS, 65536, 40 * GIB, 24 * GIB, True),  # a quarter of the size
        (DiskKind.APFS, 65536, 40 * GIB, 25 * GIB, False),
        (DiskKind.APFS_WIRED, 65536, 40 * GIB, 0, True),
        (DiskKind.APFS, 1024, 1 * GIB, 0, True),
        (DiskKind.APFS, 1024, 1 * GIB - 1, 0, False),  # too little to be worth it
        (DiskKind.APFS, 65536, 1 * GIB, 30 * GIB, False),  # older than the last look
        (DiskKind.TMPFS, 65536, 60 * GIB, 0, False),  # what is deleted there is given back
        (DiskKind.DIRECTORY, 65536, 60 * GIB, 0, False),
    ],
)
def test_a_disk_is_bloated_when_it_keeps_much_that_it_does_not_hold(
    kind, size_mib, high, live, bloated
):
    assert is_bloated(replace(APFS, kind=kind, size_mib=size_mib), high, live) is bloated


def test_the_most_that_a_disk_held_is_told_beside_what_it_holds():
    driver = mounted()
    for gib in (1, 5, 2):
        hold(driver, gib * GIB)
    told = report(driver)
    assert (told["used_bytes"], told["high_water_bytes"], told["bloated"]) == (
        2 * GIB, 5 * GIB, True,
    )  # fmt: skip


def test_another_disk_begins_anew():
    driver = mounted()
    hold(driver, 5 * GIB)
    driver.receive(60, messages.DiskRequest(verb="recreate"))
    driver.post(disk_events.DiskUnmounted())
    driver.post(disk_events.DiskReady(replace(APFS, token="b"), EMPTY))
    assert report(driver)["high_water_bytes"] == 0


def test_it_is_written_down_in_large_steps_and_known_after_a_restart():
    driver = mounted()
    for mib in (100, 200, 300, 400, 5000, 10):
        hold(driver, mib * MIB)
    kept = driver.asked(actions.KeepHighWater)
    assert [one.high_water_bytes >> 20 for one in kept] == [0, 300, 5000]
    again = mounted(known=HighWater("a", kept[-1].high_water_bytes))
    assert (report(again)["high_water_bytes"], report(again)["bloated"]) == (5000 * MIB, True)
    other = mounted(known=HighWater("z", 5 * GIB))
    assert report(other)["high_water_bytes"] == 0, "that was another disk's"


def test_where_memory_is_given_back_nothing_is_told():
    driver = mounted(disk=replace(APFS, kind=DiskKind.TMPFS))
    hold(driver, 5 * GIB)
    hold(driver, 0)
    assert (report(driver)["high_water_bytes"], report(driver)["bloated"]) == (None, False)
    assert not driver.asked(actions.KeepHighWater)


def test_a_bloated_disk_with_nothing_on_it_is_made_anew_after_a_while():
    driver = mounted()
    hold(driver, 5 * GIB)
    hold(driver, 0)
    idle(driver, IDLE_S - 10)
    assert not driver.asked(disk_actions.UnmountDisk)
    idle(driver, 40)
    assert was_made_anew(driver)
    (asked,) = driver.asked(disk_actions.UnmountDisk)
    assert asked.force is False
    assert "disk.bloated" in [one.decision for one in driver.asked(actions.Log)]
    driver.post(disk_events.DiskUnmounted())
    assert driver.asked(disk_actions.EnsureDisk)


@pytest.mark.parametrize(
    ("dirs", "used_bytes", "goes"),
    [
        ([TargetDir("/t", "/src", 0, 0, size_bytes=4096, files=1)], 0, True),  # nothing in it
        ([TargetDir("/t", "/src", 0, 0, size_bytes=8192, files=2)], 0, False),
        ([TargetDir("/t", "/src", 0, 0)], 0, False),  # not measured
        ([], EMPTY_BYTES, True),
        ([], EMPTY_BYTES + 1, False),  # somebody has put something there
    ],
)
def test_it_goes_only_when_nothing_is_lost(dirs, used_bytes, goes):
    driver = mounted()
    hold(driver, 5 * GIB)
    hold(driver, used_bytes)
    driver.state.target_dirs.update({one.path: one for one in dirs})
    idle(driver, 3 * IDLE_S)
    assert was_made_anew(driver) is goes
    assert report(driver)["bloated"], "people are told in any case"


@pytest.mark.parametrize(
    ("saved_at", "on_disk", "goes"),
    [
        (200.0, "t", True),  # saved since it was used: its next build restores it
        (50.0, "t", False),  # used since then
        (200.0, "other", False),  # a snapshot of another disk says nothing of this one
    ],
)
def test_target_dirs_that_are_saved_are_not_lost(saved_at, on_disk, goes):
    driver = mounted()
    hold(driver, 5 * GIB)
    hold(driver, 1 * GIB)
    one = TargetDir("/Volumes/B/app-1", "/src", 0, 100.0, size_bytes=1 * GIB, files=20)
    driver.state.target_dirs[one.path] = one
    disk = driver.state.disk.disk
    assert disk
    token = disk.token if on_disk == "t" else on_disk
    snapshot = Snapshot("s", "app-1", "/src", saved_at, 1000, 3, "b", 400, 10, disk=token)
    driver.post(events.SnapshotsFound((snapshot,), Room(10**12, 10**12)))
    idle(driver, 3 * IDLE_S)
    assert was_made_anew(driver) is goes


def test_whoever_builds_now_and_then_keeps_it():
    driver = mounted()
    hold(driver, 5 * GIB)
    hold(driver, 0)
    for turn in range(1, 6):
        idle(driver, IDLE_S / 2)
        driver.run(turn, root="/src/app")
        driver.receive(turn, messages.Ended(exit=0))
        driver.post(events.Closed(turn))
        driver.state.target_dirs.clear()
    assert not driver.asked(disk_actions.UnmountDisk)


def test_one_that_is_busy_is_left_for_another_while():
    driver = mounted()
    hold(driver, 5 * GIB)
    hold(driver, 0)
    idle(driver, IDLE_S + 20)
    driver.post(disk_events.DiskFailed("disk-busy", "a shell stands on it"))
    idle(driver, IDLE_S - 20)
    assert len(driver.asked(disk_actions.UnmountDisk)) == 1
    idle(driver, 40)
    assert len(driver.asked(disk_actions.UnmountDisk)) == 2


def test_a_clock_that_jumps_back_makes_it_no_sooner():
    driver = mounted()
    hold(driver, 5 * GIB)
    hold(driver, 0)
    idle(driver, IDLE_S / 2)
    driver.now_s -= IDLE_S
    idle(driver, IDLE_S - 20)
    assert not driver.asked(disk_actions.UnmountDisk)
