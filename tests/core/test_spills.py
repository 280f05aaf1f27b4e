"""Builds that go on on the SSD: before the disk is full, and when it was."""

from dataclasses import replace

import pytest

from forge.core import (
    actions,
    disk_events,
    events,
    messages,
    room_actions,
    room_events,
)
from forge.core.memory import Reading, Swap
from forge.core.moment import Moment
from forge.core.spill import Spill
from forge.core.spills import Spills
from forge.core.target_dirs import TargetDir
from forge.core.tasks import TaskKind
from forge.core.units import MIB
from tests.core.driver import GIB, Driver
from tests.core.full_disk import OTHER, a_driver, end_task, free, paths, remember, two, usage
from tests.core.test_killed import answer
from tests.core.test_memory_gate import reason
from tests.core.test_memory_watch import decisions

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
