"""Room on the RAM disk: who goes for it, who stays, and who is told."""

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
from forge.core.target_dirs import TargetDir
from tests.core.driver import EMPTY, GIB, Driver, settings


def a_dir(name: str, size_gib: float, used_at: float = 0.0, builds: int = 1) -> TargetDir:
    size_bytes = int(size_gib * GIB)
    return TargetDir(f"/mnt/builds/{name}", f"/src/{name}", 0.0, used_at, builds, size_bytes, 9)


@pytest.fixture
def driver() -> Driver:
    """A disk of 6 GiB with a running build, and two idle target dirs beside it."""
    made = Driver(settings())
    made.run(1)
    for one in (a_dir("old", 1.0), a_dir("new", 1.0, made.now_s - 60, builds=20)):
        made.state.target_dirs[one.path] = one
    return made


def filled(driver: Driver, free_gib: float) -> None:
    free_bytes = int(free_gib * GIB)
    usage = replace(EMPTY, used_bytes=6 * GIB - free_bytes, free_bytes=free_bytes)
    driver.post(disk_events.DiskMeasured(usage))


def gone(driver: Driver) -> list[str]:
    return [one.path.rpartition("/")[2] for one in driver.asked(room_actions.EvictTargetDir)]


def test_with_room_enough_nothing_goes(driver):
    filled(driver, 5)
    assert gone(driver) == []


def test_with_too_little_the_least_worth_goes_and_what_builds_stays(driver):
    filled(driver, 0.4)
    assert gone(driver)[0] == "old"
    running = {build.target_dir for build in driver.state.builds.values()}
    assert not {one.path for one in driver.asked(room_actions.EvictTargetDir)} & running


def test_while_nobody_builds_nothing_goes_by_itself(driver):
    driver.receive(1, messages.Ended(exit=0))
    driver.post(events.Closed(1))
    assert not driver.state.builds
    filled(driver, 0.1)
    assert gone(driver) == []


def test_one_plan_is_carried_out_before_the_next_is_made(driver):
    filled(driver, 0.4)
    first = gone(driver)
    filled(driver, 0.4)
    assert gone(driver) == first


def test_what_went_is_looked_at_again_and_what_stayed_is_not_tried_at_once(driver):
    driver.state.room.pinned.add("/mnt/builds/new")
    filled(driver, 0.4)
    driver.post(events.TargetDirEvicted("/mnt/builds/old", failure="a cargo builds in it"))
    assert "/mnt/builds/old" in [one.path for one in driver.asked(disk_actions.MeasureTargetDir)]
    assert "target.kept" in [one.decision for one in driver.asked(actions.Log)]
    filled(driver, 0.4)
    assert gone(driver) == ["old"]
    driver.now_s += 11
    filled(driver, 0.4)
    assert gone(driver) == ["old", "old"]


def test_a_pinned_one_stays_and_pins_are_kept(driver):
    for name in ("old", "new"):
        driver.state.room.pinned.add(f"/mnt/builds/{name}")
    filled(driver, 0.1)
    assert gone(driver) == []


def test_a_dry_run_says_what_would_go(driver):
    filled(driver, 5)
    driver.receive(7, messages.RoomRequest(verb="evict", need_bytes=int(5.5 * GIB), dry_run=True))
    told = driver.reply(7, "room")
    assert [one["path"] for one in told["would"]] == ["/mnt/builds/old"]
    assert gone(driver) == []


def test_whoever_asks_hears_what_went_and_what_stayed(driver):
    filled(driver, 5)
    driver.receive(7, messages.RoomRequest(verb="evict", need_bytes=7 * GIB))
    assert sorted(gone(driver)) == ["new", "old"]
    driver.post(events.TargetDirEvicted("/mnt/builds/old", 1 * GIB))
    driver.post(events.TargetDirEvicted("/mnt/builds/new", failure="used by rust-analyzer"))
    told = driver.reply(7, "room")
    assert [one["target_dir"] for one in told["freed"]] == ["/mnt/builds/old"]
    assert told["kept"] == [{"target_dir": "/mnt/builds/new", "why": "used by rust-analyzer"}]


def test_whoever_goes_away_is_forgotten(driver):
    filled(driver, 5)
    driver.receive(7, messages.RoomRequest(verb="evict", need_bytes=7 * GIB))
    driver.post(events.Closed(7))
    driver.post(events.TargetDirEvicted("/mnt/builds/old", 1 * GIB))
    driver.post(events.TargetDirEvicted("/mnt/builds/new", 1 * GIB))


@pytest.mark.parametrize(("message", "slug"), [
    (messages.RoomRequest(verb="burn"), "usage-mistake"),
    (messages.RoomRequest(verb="pin", root="/src/nowhere"), "target-dir-missing"),
])  # fmt: skip
def test_what_cannot_be_is_refused(driver, message, slug):
    driver.receive(7, message)
    assert driver.reply(7, "error")["slug"] == slug


def test_whether_checkouts_are_there_is_looked_at_now_and_then(driver):
    driver.post(events.Tick())
    driver.now_s += 601
    driver.post(events.Tick())
    driver.post(events.Tick())
    asked = driver.asked(room_actions.LookAtCheckouts)
    assert [one.roots for one in asked][-1] == ("/src/app", "/src/new", "/src/old")
    assert len(asked) == 1, "the first look was before there was anything"


def test_a_checkout_that_is_gone_goes_first_however_much_it_was_used(driver):
    driver.post(room_events.CheckoutsSeen(frozenset({"/src/new"})))
    filled(driver, driver.state.room.wanted_bytes() / GIB - 0.5)
    assert gone(driver) == ["new"]


def test_a_build_that_is_about_to_use_a_target_dir_keeps_it(driver):
    there = driver.state.room._path_of("/src/old")
    driver.state.target_dirs[there] = replace(a_dir("old", 1.0), path=there)
    driver.begin(2, root="/src/old")
    filled(driver, 0.1)
    assert there not in [one.path for one in driver.asked(room_actions.EvictTargetDir)]
