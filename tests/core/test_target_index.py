"""The index of target dirs: when one is walked, and what becomes of one that is gone."""

import pytest

from forge.core import disk_actions, disk_events, events, messages
from forge.core.target_dirs import TargetDir
from forge.core.target_parts import Part, TargetParts, Toolchain
from forge.core.workspace import target_dir_name
from tests.core.driver import DISK, Driver, settings
from tests.core.test_memory_gate import unit

PATH = f"/mnt/builds/{target_dir_name('/src/app')}"
DEBUG = Part("debug", "deps", 100, 10)
RELEASE = Part("release", "deps", 50, 5)
REST = Part("", "other", 4, 2)
NEW = Toolchain("debug", "17", 60, 3, 2.0, "rustc 1.95.0")
OLD = Toolchain("release", "16", 40, 2, 1.0, "rustc 1.94.0")
WHOLE = TargetParts((DEBUG, RELEASE, REST), (NEW, OLD))


@pytest.fixture
def driver():
    return Driver(settings(cores=4))


def measured(driver, parts, kept=()):
    driver.post(
        disk_events.TargetDirMeasured(PATH, parts.size_bytes, parts.files, parts, frozenset(kept))
    )
    return driver.state.target_dirs[PATH]


def walks(driver):
    return driver.asked(disk_actions.MeasureTargetDir)


def test_the_first_build_has_all_of_its_target_dir_walked(driver):
    driver.run(1)
    driver.receive(1, messages.Ended(exit=0))
    assert walks(driver) == [disk_actions.MeasureTargetDir(PATH)]


@pytest.mark.parametrize(
    ("argv", "walked"),
    [(["build"], "debug"), (["build", "--release"], "release"), (["clean"], None)],
)
def test_a_later_one_has_its_own_profile_walked(driver, argv, walked):
    driver.run(1)
    measured(driver, WHOLE)
    driver.receive(1, messages.Ended(exit=0))
    driver.done.clear()
    driver.run(2, *argv)
    driver.receive(2, messages.Ended(exit=0))
    assert walks(driver) == [disk_actions.MeasureTargetDir(PATH, walked)]


def test_a_build_behind_gates_that_compiled_nothing_is_no_reason_to_walk(driver):
    driver.run(1)
    measured(driver, WHOLE)
    driver.state.builds["b1"].is_gated = True
    driver.receive(1, messages.Ended(exit=0))
    assert walks(driver) == []


def test_one_that_compiled_is(driver):
    build = driver.run(1)
    measured(driver, WHOLE)
    driver.state.builds["b1"].is_gated = True
    unit(driver, 10, build, "app")
    driver.receive(10, messages.UnitEnded(exit=0))
    driver.receive(1, messages.Ended(exit=0))
    assert walks(driver) == [disk_actions.MeasureTargetDir(PATH, "debug")]


def test_what_a_walk_has_passed_over_is_as_it_was(driver):
    driver.run(1)
    measured(driver, WHOLE)
    larger = TargetParts(
        (Part("debug", "deps", 300, 30), REST), (Toolchain("debug", "17", 9, 1, 3.0),)
    )
    one = measured(driver, larger, kept=["release"])
    assert one.size_bytes == 354
    assert one.files == 37
    # a rustc that was named once keeps its name, and what it made elsewhere
    assert {(t.place, t.version) for t in one.parts.toolchains} == {
        ("debug", "rustc 1.95.0"),
        ("release", "rustc 1.94.0"),
    }


def test_who_used_it_last_is_kept(driver):
    driver.run(1, "check", env={"CLAUDECODE": "1"}, via="cargo")
    (recorded,) = driver.asked(disk_actions.RecordTargetDir)
    last = recorded.target_dir.last
    assert (last.build, last.verb, last.who, last.via, last.priority) == (
        "b1", "check", "agent", "cargo", "batch",
    )  # fmt: skip


def test_one_from_another_machine_is_known_by_its_key(driver):
    driver.run(1, env={"FORGE_IDENTITY": "anna-laptop", "SSH_CONNECTION": "10.0.0.2 1 10.0.0.1 22"})
    assert driver.state.target_dirs[PATH].last.who == "anna-laptop"


def test_one_that_was_deleted_behind_our_back_is_forgotten(driver):
    driver.run(1)
    driver.receive(1, messages.Ended(exit=0))
    driver.now_s += 60
    driver.post(disk_events.DiskSighted(DISK.token, writable=True, changed=True))
    assert driver.asked(disk_actions.FindTargetDirs)[-1] == disk_actions.FindTargetDirs(DISK)
    driver.post(disk_events.TargetDirsFound((), 1_700_000_000 + driver.now_s))
    assert driver.state.target_dirs == {}


def test_one_that_was_renamed_is_known_by_its_new_name_and_belongs_to_nobody(driver):
    driver.run(1)
    driver.receive(1, messages.Ended(exit=0))
    driver.now_s += 60
    other = TargetDir("/mnt/builds/mine", None, 1.0, 2.0)
    driver.post(disk_events.TargetDirsFound((other,), 1_700_000_000 + driver.now_s))
    assert list(driver.state.target_dirs) == ["/mnt/builds/mine"]
    assert walks(driver)[-1] == disk_actions.MeasureTargetDir("/mnt/builds/mine")


def test_one_in_use_or_made_since_the_look_stays(driver):
    driver.run(1)
    driver.post(disk_events.TargetDirsFound((), 1_800_000_000))
    assert list(driver.state.target_dirs) == [PATH]
    driver.receive(1, messages.Ended(exit=0))
    driver.post(disk_events.TargetDirsFound((), 1_600_000_000))
    assert list(driver.state.target_dirs) == [PATH]


def test_one_that_is_being_evicted_is_not_told_of_twice(driver):
    driver.run(1)
    driver.receive(1, messages.Ended(exit=0))
    measured(driver, WHOLE)
    driver.now_s += 60
    driver.receive(9, messages.RoomRequest(verb="evict", root="/src/app"))
    assert PATH in driver.state.room.evicting
    driver.post(disk_events.TargetDirsFound((), 1_800_000_000))
    assert PATH in driver.state.target_dirs
    driver.post(events.TargetDirEvicted(PATH, 150))
    assert PATH not in driver.state.target_dirs
