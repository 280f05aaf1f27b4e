"""What is done when eviction does not suffice: grow, hold, stop, and go on on the SSD."""

from dataclasses import replace

import pytest

from forge.core import (
    actions,
    disk_actions,
    disk_events,
    events,
    messages,
    room_actions,
    room_events,
)
from forge.core.disk import Disk, DiskKind, DiskUsage
from forge.core.learned import Observation, key_of_growth
from forge.core.memory import Reading, Swap
from forge.core.moment import Moment
from forge.core.spill import Spill
from forge.core.spills import Spills
from forge.core.target_dirs import TargetDir
from forge.core.tasks import TaskKind
from forge.core.units import MIB
from tests.core.driver import DISK, GIB, Driver, settings
from tests.core.test_killed import answer
from tests.core.test_memory_gate import reason, unit, went
from tests.core.test_memory_watch import decisions

TOTAL = 6 * GIB
OTHER = "/src/other"


def usage(free_bytes: int, total_bytes: int = TOTAL) -> DiskUsage:
    return DiskUsage(total_bytes, total_bytes - free_bytes, free_bytes, 1_000_000, 1)


def a_driver(**changes) -> Driver:
    given = {"cores": 4, "grow_disk": False, "spill_dir": "/ssd/spilled", **changes}
    return Driver(settings(**given))


def free(driver: Driver, mib: float, after_s: float = 0.25) -> None:
    """The disk has so much free at the next look."""
    driver.now_s += after_s
    driver.post(disk_events.DiskMeasured(usage(int(mib * MIB))))


def remember(driver: Driver, root: str, wrote_mib: int, verb: str = "build") -> None:
    """Builds of a project have written so much."""
    for state in ("cold", "warm"):
        key = key_of_growth(f"build {verb} dev {state}")
        seen = Observation(root, key, 10.0, 0.0, wrote_mib * 1024)
        driver.state.gates.learned.observe(seen, 0.0)


def paths(driver: Driver, kind: TaskKind) -> list[str]:
    return [one.task.path for one in driver.asked(actions.BeginTask) if one.task.kind is kind]


def end_task(driver: Driver, size_bytes: int = 0, failure: str | None = None) -> None:
    """The last task that was begun is over."""
    task = driver.asked(actions.BeginTask)[-1].task
    if failure:
        driver.post(events.TaskFailed(task.number, "spill-refused", failure))
    else:
        driver.post(events.TaskDone(task.number, size_bytes, 1.0))


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


def two(driver: Driver, **second) -> tuple[str, str]:
    """Two builds that are known to write 2000 MiB each."""
    remember(driver, "/src/app", 2000)
    remember(driver, OTHER, 2000)
    return driver.run(1, requeues=True), driver.run(2, root=OTHER, requeues=True, **second)


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


# A build moves to the SSD


def test_before_the_disk_is_full_the_youngest_build_is_ended_and_goes_on_on_the_ssd():
    driver = a_driver()
    two(driver)
    free(driver, 30)
    told = driver.reply(2, "requeue")
    assert told["line"] == (
        "the RAM disk had 30 MiB free: this build is ended and goes on on the SSD"
    )
    assert [one.key for one in driver.asked(actions.EndTree)] == ["b2/cargo"]
    free(driver, 25)
    assert not [to for to, one in driver.sent if to == 1 and one["type"] == "requeue"], (
        "one at a time"
    )
    driver.receive(2, messages.Ended(signal=15))
    driver.begin(3, root=OTHER, requeues=True, again=told["again"])
    (moving,) = paths(driver, TaskKind.SPILL)
    assert moving.startswith("/mnt/builds/other-")
    driver.now_s += 1
    driver.post(events.Tick())
    assert reason(driver, 3) == "the target dir is being moved to the SSD"
    end_task(driver, 2 * GIB)
    go = driver.reply(3, "go")
    assert go["target_dir"].startswith("/ssd/spilled/other-")
    assert go["notes"] == [
        f"building on the SSD, in {go['target_dir']}: the RAM disk had 30 MiB free"
    ]
    assert moving not in driver.state.target_dirs
    (kept,) = driver.asked(room_actions.KeepSpill)
    assert kept.spill.needs_bytes >= 2 * GIB


@pytest.mark.parametrize(
    ("fields", "moves"),
    [
        ({}, True),
        ({"interactive": True}, True),  # alone: it would fail
        ({"requeues": False}, False),
        ({"argv": ("run",)}, False),
        ({"argv": ("clippy", "--fix")}, False),
    ],
)
def test_only_what_may_be_done_twice_moves(fields, moves):
    driver = a_driver()
    given = {"requeues": True, **fields}
    driver.run(1, *given.pop("argv", ("build",)), **given)
    free(driver, 30)
    assert bool([to for to, one in driver.sent if one["type"] == "requeue"]) is moves


def test_without_a_place_for_it_nothing_moves():
    driver = a_driver(spill_dir="")
    driver.run(1, requeues=True)
    free(driver, 30)
    assert not [to for to, one in driver.sent if one["type"] == "requeue"]


def test_a_test_that_asks_while_its_build_is_on_its_way_does_not_start():
    driver = a_driver()
    build = driver.run(1, requeues=True)
    free(driver, 30)
    driver.receive(10, messages.Test(build=build, pid=10, binary="/t/app", name="app"))
    assert driver.reply(10, "end") == {"type": "end"}


def spilled(driver: Driver, size_bytes: int = 2 * GIB) -> None:
    """A project that was moved, and whose build there is over."""
    driver.run(1, requeues=True)
    free(driver, 30)
    again = driver.reply(1, "requeue")["again"]
    driver.receive(1, messages.Ended(signal=15))
    driver.begin(2, requeues=True, again=again)
    end_task(driver, size_bytes)
    driver.receive(2, messages.Started(pid=201))
    driver.receive(2, messages.Ended(exit=0))
    driver.done.clear()


def test_the_next_build_stays_there_while_there_is_no_room_and_is_told_once():
    driver = a_driver()
    spilled(driver)
    free(driver, 1000)
    driver.begin(3)
    go = driver.reply(3, "go")
    assert go["target_dir"].startswith("/ssd/spilled/app-")
    assert go["notes"] == []


def test_it_comes_back_when_there_is_room():
    driver = a_driver()
    spilled(driver)
    free(driver, 5900)
    driver.begin(3)
    (path,) = paths(driver, TaskKind.RETURN)
    end_task(driver, 2 * GIB)
    driver.make_target_dirs()
    assert driver.reply(3, "go")["target_dir"] == path
    assert [one.root for one in driver.asked(room_actions.ForgetSpill)] == ["/src/app"]
    assert driver.state.spills.by_root == {}


def test_when_it_cannot_come_back_it_builds_where_it_is():
    driver = a_driver()
    spilled(driver)
    free(driver, 5900)
    driver.begin(3)
    end_task(driver, failure="the RAM disk is full")
    assert driver.reply(3, "go")["target_dir"].startswith("/ssd/spilled/")


def test_with_the_ssd_full_the_build_goes_on_on_the_disk_and_says_so():
    driver = a_driver()
    driver.run(1, requeues=True)
    free(driver, 100)
    driver.state.growth.bytes_per_s = 1e9
    free(driver, 90)
    again = driver.reply(1, "requeue")["again"]
    driver.receive(1, messages.Ended(signal=15))
    driver.begin(2, requeues=True, again=again)
    end_task(driver, failure="the SSD has room for 3 MiB")
    driver.make_target_dirs(usage(100 * MIB))
    go = driver.reply(2, "go")
    assert go["target_dir"].startswith("/mnt/builds/")
    assert go["notes"] == ["it cannot go on on the SSD: the SSD has room for 3 MiB"]
    driver.receive(2, messages.Started(pid=201))
    free(driver, 10)
    assert not [to for to, one in driver.sent if to == 2 and one["type"] == "requeue"], (
        "not at once again"
    )


def test_a_project_that_is_known_to_be_too_large_starts_on_the_ssd():
    driver = a_driver()
    remember(driver, "/src/app", 7000)
    driver.mount()
    driver.begin(1)
    end_task(driver)
    go = driver.reply(1, "go")
    assert go["target_dir"].startswith("/ssd/spilled/app-")
    assert "it needs 6.8 GiB, and the RAM disk has 6.0 GiB" in go["notes"][0]


def test_a_build_on_the_ssd_is_no_user_of_the_disk():
    driver = a_driver()
    spilled(driver)
    driver.begin(3)
    assert driver.state.leases.on_disk() == []
    driver.post(disk_events.DiskLost("t", "ejected"))
    assert not [one for to, one in driver.sent if to == 3 and one["type"] == "say"]


def test_a_full_disk_at_the_start_waits_for_what_is_being_deleted():
    driver = a_driver()
    driver.mount()
    idle = TargetDir("/mnt/builds/old", OTHER, 0.0, 0.0, 1, 3 * GIB, 9)
    driver.state.target_dirs[idle.path] = idle
    driver.begin(1)
    driver.make_target_dirs(usage(10 * MIB))
    assert reason(driver, 1) == "room is made on the RAM disk"
    driver.post(events.TargetDirEvicted(idle.path, 3 * GIB))
    driver.make_target_dirs(usage(3 * GIB))
    assert driver.reply(1, "go")["target_dir"].startswith("/mnt/builds/app-")


def test_with_nothing_to_delete_it_starts_on_the_ssd():
    driver = a_driver()
    driver.mount()
    driver.begin(1)
    driver.make_target_dirs(usage(10 * MIB))
    end_task(driver)
    assert driver.reply(1, "go")["target_dir"].startswith("/ssd/spilled/app-")


# A build has run out of room


def linking(driver: Driver, input_mib: int, **fields) -> None:
    build = driver.run(1, **{"requeues": True, **fields})
    driver.receive(10, messages.Link(build=build, pid=10, crate="app", input_bytes=input_mib * MIB))


def fail(driver: Driver, free_mib: float) -> None:
    """The link fails with so much free, and cargo with it."""
    driver.receive(10, messages.LinkEnded(exit=1))
    driver.receive(1, messages.Ended(exit=101))
    free(driver, free_mib)
    reading = Reading(driver.now_s, 24 * GIB, 8 * GIB, Swap(0, 0), oom_kills=0)
    driver.post(events.MemoryMeasured(reading, {}))


@pytest.mark.parametrize(
    ("input_mib", "free_mib", "ran_out"),
    [
        (10, 20, True),
        (10, 500, False),  # somebody's code is wrong
        (1500, 900, True),  # its output would be larger: lld asks for all of it at once
        (1500, 1600, False),
    ],
)
def test_a_link_that_fails_for_want_of_room_is_run_again_elsewhere(input_mib, free_mib, ran_out):
    driver = a_driver()
    linking(driver, input_mib)
    fail(driver, free_mib)
    told = answer(driver)
    assert told["type"] == ("requeue" if ran_out else "over")
    if ran_out:
        assert told["line"].startswith("the RAM disk was full (")
        assert decisions(driver, "build.ran_out") == ["build.ran_out"]


def test_a_build_that_cannot_be_run_again_is_told_why_it_failed():
    driver = a_driver()
    linking(driver, 10)
    driver.state.settings = replace(driver.state.settings, spill_dir="")
    fail(driver, 20)
    assert answer(driver) == {
        "type": "over",
        "line": "the RAM disk was full (20 MiB free) when this build failed",
    }


def test_a_build_on_the_ssd_has_not_run_out_of_the_disk():
    driver = a_driver()
    spilled(driver)
    build = driver.run(3, requeues=True)
    moment = Moment(driver.now_s, driver.now_s)
    assert driver.state.full_disk.ran_out(driver.state.builds[build], moment) is None


def test_what_lies_on_the_ssd_goes_when_its_checkout_is_gone_or_somebody_asks():
    driver = a_driver()
    spilled(driver)
    (path,) = [one.path for one in driver.state.spills.by_root.values()]
    driver.receive(7, messages.RoomRequest(verb="evict", root="/src/app", dry_run=True))
    assert [one["path"] for one in driver.reply(7, "room")["would"]] == [path]
    driver.post(room_events.CheckoutsSeen(frozenset({"/src/app"})))
    (asked,) = driver.asked(room_actions.EvictTargetDir)
    assert (asked.disk, asked.path) == (None, path)
    driver.post(events.TargetDirEvicted(path, GIB))
    driver.post(disk_events.TargetDirMeasured(path, None))
    assert driver.state.spills.by_root == {}


def test_a_daemon_that_is_new_knows_what_is_on_the_ssd_and_whose_builds_run_there():
    known = Spill("/src/app", "/ssd/spilled/app-1", GIB, "no room", 0.0, is_there=True)
    driver = a_driver()
    driver.state.spills = Spills.of(driver.state, [known])
    driver.receive(1, messages.Adopt(pid=100, build="b5", cargo_pid=101, cwd="/src/app",
                                     argv=["build"], target_dir=known.path))  # fmt: skip
    build = driver.state.builds["b5"]
    assert (build.root, build.is_spilled) == ("/src/app", True)
    assert driver.state.leases.on_disk() == []
