"""Parts of little use: when they are looked for, and that they go before whole target dirs."""

from dataclasses import replace

from forge.core import disk_events, events, messages, room_actions, room_events
from forge.core.target_dirs import TargetDir
from tests.core.driver import EMPTY, GIB, Driver, settings
from tests.core.test_room import filled, gone

OLD = TargetDir("/mnt/builds/old", "/src/old", 0.0, 100.0, 1, 2 * GIB, 9)
ROOM = GIB // 2
PARTS = ((("debug/incremental/app/s-1",), ROOM, "incremental data of old sessions"),
         (("debug/deps/libapp-1.rlib",), ROOM, "compiled by another toolchain"))  # fmt: skip


def a_driver() -> Driver:
    driver = Driver(settings(spill_dir="", grow_disk=False))
    driver.run(1)
    driver.state.target_dirs[OLD.path] = OLD
    return driver


def asked(driver: Driver) -> list[str]:
    return [one.path for one in driver.asked(room_actions.FindStale)]


def evicted(driver: Driver) -> list[tuple[str, ...]]:
    return [one.parts for one in driver.asked(room_actions.EvictTargetDir)]


def test_they_are_looked_for_once_when_nothing_is_built_and_the_disk_is_half_full():
    driver = a_driver()
    driver.post(disk_events.DiskMeasured(replace(EMPTY, used_bytes=4 * GIB, free_bytes=2 * GIB)))
    driver.post(events.Tick())
    assert asked(driver) == [], "a build is at work"
    driver.receive(1, messages.Ended(exit=0))
    driver.state.target_dirs = {OLD.path: OLD}
    driver.post(events.Tick())
    driver.post(events.Tick())
    assert asked(driver) == [OLD.path]
    driver.post(room_events.StaleFound(OLD.path, PARTS))
    driver.post(events.Tick())
    assert asked(driver) == [OLD.path]


def test_they_go_before_a_whole_target_dir_and_are_locked_once():
    driver = a_driver()
    driver.post(room_events.StaleFound(OLD.path, PARTS))
    wanted = driver.state.room.wanted_bytes()
    filled(driver, (wanted - GIB + 1024) / GIB)
    assert evicted(driver) == [("debug/incremental/app/s-1", "debug/deps/libapp-1.rlib")]
    driver.post(events.TargetDirEvicted(OLD.path, GIB))
    filled(driver, 0.1)
    assert evicted(driver)[1:] == [()], "and then the rest"


def test_of_a_target_dir_that_was_used_since_nothing_is_known():
    driver = a_driver()
    driver.post(room_events.StaleFound(OLD.path, PARTS))
    driver.state.target_dirs[OLD.path] = replace(OLD, last_used_at=200.0)
    filled(driver, (driver.state.room.wanted_bytes() - ROOM) / GIB)
    assert evicted(driver) == [()]


def ask(driver: Driver, **fields) -> None:
    path = driver.state.target_dirs.pop(OLD.path)
    there = driver.state.room._path_of("/src/old")
    driver.state.target_dirs[there] = replace(path, path=there)
    message = messages.RoomRequest(verb="evict", root="/src/old", stale=True, **fields)
    driver.receive(7, message)
    driver.post(room_events.StaleFound(there, PARTS))


def test_whoever_asks_for_them_has_them_deleted():
    driver = a_driver()
    ask(driver)
    ((first, second),) = evicted(driver)
    assert (first, second) == ("debug/incremental/app/s-1", "debug/deps/libapp-1.rlib")
    (path,) = gone(driver)
    driver.post(events.TargetDirEvicted(f"/mnt/builds/{path}", GIB))
    assert driver.reply(7, "room")["freed"][0]["freed_bytes"] == GIB


def test_a_dry_run_only_names_them():
    driver = a_driver()
    ask(driver, dry_run=True)
    assert [one["why"] for one in driver.reply(7, "room")["would"]] == [one[2] for one in PARTS]
    assert evicted(driver) == []
