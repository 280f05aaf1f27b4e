"""The disk comes, goes, fails and fills: what follows for builds and for requests."""

from dataclasses import replace

import pytest

from forge.core import actions, disk_actions, disk_events, events, messages
from forge.core.builds import BuildPhase
from forge.core.disk import DiskUsage
from forge.core.disk_life import RETRY_S, DiskPhase
from forge.core.launches import DISK_PATIENCE_S
from forge.core.target_dirs import TargetDir
from forge.core.workspace import CargoConfig, Workspace, target_dir_name
from tests.core.driver import DISK, EMPTY, GIB, SPEC, Driver, settings

PATH = f"/mnt/builds/{target_dir_name('/src/app')}"
FULL = DiskUsage(6 * GIB, 6 * GIB, 1024, 1_000_000, 900_000)


@pytest.fixture
def driver():
    return Driver()


def test_the_first_build_mounts_the_disk_and_gets_its_target_dir(driver):
    driver.begin(1, "build", "--release")
    assert driver.asked(disk_actions.EnsureDisk) == [disk_actions.EnsureDisk(SPEC)]
    assert driver.reply(1, "wait")["reason"] == "the RAM disk is mounting"
    driver.mount()
    driver.make_target_dirs()
    go = driver.reply(1, "go")
    assert go["target_dir"] == PATH
    assert go["argv"] == ["--config", f'build.target-dir="{PATH}"', "build", "--release"]
    assert go["env"] == {"FORGE_BUILD": "b1", "FORGE_ROOT": "/src/app"}
    assert go["notes"] == []


def test_ten_builds_that_ask_at_once_mount_one_disk(driver):
    for conn in range(10):
        driver.begin(conn, root=f"/src/{conn}")
    assert len(driver.asked(disk_actions.EnsureDisk)) == 1
    driver.mount()
    driver.make_target_dirs()
    assert len({driver.reply(conn, "go")["target_dir"] for conn in range(10)}) == 10


def test_a_build_goes_on_without_a_disk_that_takes_too_long(driver):
    driver.begin(1)
    driver.now_s += DISK_PATIENCE_S
    driver.post(events.Tick())
    go = driver.reply(1, "go")
    assert go["target_dir"] is None
    assert go["argv"] == ["build"]
    assert "was not there within 20 s" in go["notes"][0]


def test_a_disk_that_cannot_be_had_leaves_the_build_on_the_ssd(driver):
    driver.begin(1)
    driver.post(disk_events.DiskFailed("disk-taken", "/mnt/builds is taken"))
    go = driver.reply(1, "go")
    assert go["target_dir"] is None
    assert go["notes"] == ["no RAM disk: /mnt/builds is taken; building on the SSD"]


def test_a_failed_mount_is_tried_again_only_after_a_while(driver):
    driver.begin(1)
    driver.post(disk_events.DiskFailed("disk-taken", "taken"))
    driver.begin(2, root="/src/second")
    assert len(driver.asked(disk_actions.EnsureDisk)) == 1
    driver.now_s += RETRY_S
    driver.begin(3, root="/src/third")
    assert len(driver.asked(disk_actions.EnsureDisk)) == 2


@pytest.mark.parametrize("root", ["/src/other", "/src/app"])
def test_a_full_disk_takes_no_build_and_says_so(driver, root):
    driver.run(1)
    driver.receive(1, messages.Ended(exit=0))
    driver.begin(2, root=root)
    driver.make_target_dirs(FULL)  # the disk filled up since it was measured last
    assert driver.reply(2, "go")["target_dir"] is None
    assert "is full (1.0 KiB free)" in driver.reply(2, "go")["notes"][0]


def test_a_disk_that_vanished_between_builds_is_mounted_anew(driver):
    driver.run(1)
    driver.receive(1, messages.Ended(exit=0))
    driver.begin(2)
    driver.post(disk_events.TargetDirFailed(2, PATH, "it is gone", disk_lost=True))
    assert len(driver.asked(disk_actions.EnsureDisk)) == 2
    driver.mount()
    driver.make_target_dirs()
    assert driver.reply(2, "go")["target_dir"] == PATH
    assert driver.reply(2, "go")["notes"] == ["the RAM disk had vanished; it was mounted anew"]


def test_a_disk_that_vanishes_twice_is_not_tried_for_ever(driver):
    driver.run(1, root="/src/other")
    driver.begin(2)
    for _ in range(2):
        driver.post(disk_events.TargetDirFailed(2, PATH, "it is gone", disk_lost=True))
        if driver.state.disk.is_changing:
            driver.mount()
    assert driver.reply(2, "go")["target_dir"] is None


def test_a_full_disk_found_while_making_the_target_dir_is_no_lost_disk(driver):
    driver.begin(1)
    driver.mount()
    driver.post(disk_events.TargetDirFailed(1, PATH, "No space left on device"))
    assert driver.reply(1, "go")["target_dir"] is None
    assert driver.state.disk.phase is DiskPhase.MOUNTED


def test_builds_on_a_disk_that_vanishes_are_told(driver):
    driver.run(1)
    driver.post(disk_events.DiskLost(DISK.token, "/mnt/builds is gone"))
    assert "/mnt/builds is gone" in driver.reply(1, "say")["line"]
    assert driver.state.disk.phase is DiskPhase.ABSENT


@pytest.mark.parametrize(
    ("argv", "env", "workspace"),
    [
        (["build", "--target-dir", "/x"], {}, Workspace("/src/app")),
        (["build", "--target-dir=/x"], {}, Workspace("/src/app")),
        (["build"], {"CARGO_TARGET_DIR": "/x"}, Workspace("/src/app")),
        (["build"], {"CARGO_BUILD_TARGET_DIR": "/x"}, Workspace("/src/app")),
        (["build"], {}, Workspace("/src/app", config=CargoConfig("/x", target_dir_by_option=True))),
        (["install", "--path", "."], {}, Workspace("/src/app")),
        (["build"], {}, Workspace(None, outside="nothing here")),
    ],
)
def test_no_disk_is_mounted_for_what_is_not_redirected(driver, argv, env, workspace):
    driver.begin(1, *argv, env=env, workspace=workspace)
    assert driver.reply(1, "go")["argv"] == argv
    assert driver.reply(1, "go")["target_dir"] is None
    assert not driver.asked(disk_actions.EnsureDisk)


def test_unmount_is_refused_while_builds_run_and_says_which(driver):
    build_id = driver.run(1, "test")
    driver.receive(9, messages.DiskRequest(verb="unmount"))
    refusal = driver.reply(9, "error")
    assert refusal["slug"] == "disk-busy"
    assert f"{build_id} (`cargo test` in /src/app)" in refusal["message"]
    driver.receive(1, messages.Ended(exit=0))
    driver.receive(9, messages.DiskRequest(verb="unmount"))
    assert driver.asked(disk_actions.UnmountDisk) == [disk_actions.UnmountDisk(DISK, force=False)]
    driver.post(disk_events.DiskUnmounted())
    assert driver.reply(9, "disk")["line"] == "the RAM disk is unmounted"


def test_recreate_unmounts_and_mounts_and_answers_once(driver):
    driver.run(1)
    driver.receive(1, messages.Ended(exit=0))
    driver.receive(9, messages.DiskRequest(verb="recreate"))
    driver.post(disk_events.DiskUnmounted())
    assert [type(one) for one in driver.done[-2:]] == [actions.Log, disk_actions.EnsureDisk]
    driver.mount()
    assert [m["type"] for to, m in driver.sent if to == 9] == ["disk"]


def test_a_build_that_comes_while_the_disk_is_unmounted_gets_a_new_one(driver):
    driver.run(1)
    driver.receive(1, messages.Ended(exit=0))
    driver.receive(9, messages.DiskRequest(verb="unmount"))
    driver.begin(2)
    assert driver.state.builds["b2"].phase is BuildPhase.WAITING_FOR_DISK
    driver.post(disk_events.DiskUnmounted())
    assert len(driver.asked(disk_actions.EnsureDisk)) == 2
    driver.mount()
    driver.make_target_dirs()
    assert driver.reply(2, "go")["target_dir"] == PATH


def test_a_resize_that_is_refused_leaves_the_disk_mounted(driver):
    driver.run(1)
    driver.receive(9, messages.DiskRequest(verb="resize", size_mib=10))
    assert driver.asked(disk_actions.ResizeDisk) == [disk_actions.ResizeDisk(DISK, 10)]
    driver.post(disk_events.DiskFailed("resize-refused", "10 MiB is below the 2.0 GiB in use"))
    assert driver.reply(9, "error")["slug"] == "resize-refused"
    assert driver.state.disk.phase is DiskPhase.MOUNTED


@pytest.mark.parametrize(
    ("verb", "slug"), [("format", "usage-mistake"), ("resize", "disk-unavailable")]
)
def test_a_disk_request_that_makes_no_sense_is_refused(driver, verb, slug):
    driver.receive(9, messages.DiskRequest(verb=verb))
    assert driver.reply(9, "error")["slug"] == slug


def test_disk_requests_are_refused_when_no_disk_is_wanted():
    driver = Driver(settings(disk=None), looked=False)
    driver.receive(9, messages.DiskRequest(verb="mount"))
    assert driver.reply(9, "error")["slug"] == "disk-unavailable"
    driver.begin(1)
    assert driver.reply(1, "go")["target_dir"] is None


def test_a_new_size_in_the_configuration_resizes_the_mounted_disk(driver):
    driver.run(1)
    bigger = type(SPEC)(SPEC.mount_point, 8192, SPEC.inodes)
    driver.post(events.SettingsLoaded(settings(disk=bigger), conn=9))
    assert driver.asked(disk_actions.ResizeDisk) == [disk_actions.ResizeDisk(DISK, 8192)]
    assert driver.reply(9, "ok")


@pytest.mark.parametrize(("sizes", "resized"), [
    ((8192, 4096), [8192, 4096]),
    ((8192, 4096, 8192), [8192]),  # what holds in the end is there
])  # fmt: skip
def test_a_size_that_comes_while_the_disk_is_resized_holds_afterwards(driver, sizes, resized):
    driver.run(1)
    for size_mib in sizes:
        spec = type(SPEC)(SPEC.mount_point, size_mib, SPEC.inodes)
        driver.post(events.SettingsLoaded(settings(disk=spec)))
    for size_mib in resized:
        driver.post(disk_events.DiskReady(replace(DISK, size_mib=size_mib), EMPTY))
    assert [one.size_mib for one in driver.asked(disk_actions.ResizeDisk)] == resized
    assert not driver.state.disk.is_changing


def test_a_size_that_somebody_asked_for_holds_until_the_configuration_has_another(driver):
    driver.run(1)
    driver.receive(9, messages.DiskRequest(verb="resize", size_mib=8192))
    driver.post(disk_events.DiskReady(replace(DISK, size_mib=8192), EMPTY))
    assert not driver.state.disk.is_changing


def test_the_status_names_builds_dirs_and_disk(driver):
    build_id = driver.run(1, "test", "-q")
    driver.post(disk_events.TargetDirMeasured(PATH, 4096, 3))
    driver.receive(9, messages.Status())
    status = driver.reply(9, "status")["status"]
    assert status["disk"]["mount_point"] == "/mnt/builds"
    (target_dir,) = status["target_dirs"]
    assert (target_dir["project"], target_dir["size_bytes"]) == ("app", 4096)
    assert target_dir["in_use_by"] == [build_id]
    (build,) = status["builds"]
    assert (build["verb"], build["phase"], build["pid"]) == ("test", "running", 100)


def test_the_disk_is_measured_at_each_tick_while_builds_run_and_seldom_when_idle(driver):
    def measured_in(ticks):
        driver.done = []
        for _ in range(ticks):
            driver.now_s += 0.5
            driver.post(events.Tick())
            driver.post(disk_events.DiskMeasured(EMPTY))
        return len(driver.asked(disk_actions.MeasureDisk))

    driver.run(1)
    assert measured_in(8) == 8
    driver.receive(1, messages.Ended(exit=0))
    driver.post(disk_events.DiskMeasured(EMPTY))
    assert measured_in(40) == 2


def test_usage_of_a_lost_disk_is_not_kept(driver):
    driver.post(disk_events.DiskMeasured(EMPTY))
    assert driver.state.disk.usage is None


def test_the_daemon_begins_by_looking_for_the_disk_that_an_earlier_one_left():
    driver = Driver(looked=False)
    driver.post(events.Tick())
    assert driver.asked(disk_actions.FindDisk) == [disk_actions.FindDisk(SPEC)]
    driver.receive(9, messages.DiskRequest(verb="unmount"))
    driver.begin(1)
    assert not driver.asked(disk_actions.EnsureDisk), "what is looked for is not made beside it"
    driver.mount()
    assert driver.reply(9, "error")["slug"] == "disk-busy", "the build that waited was first"
    driver.make_target_dirs()
    assert driver.reply(1, "go")["target_dir"] == PATH


def test_what_came_while_the_disk_was_looked_for_in_vain_goes_on():
    driver = Driver(looked=False)
    driver.receive(9, messages.DiskRequest(verb="unmount"))
    driver.begin(1)
    driver.now_s += 1
    driver.post(events.Tick())
    assert driver.reply(9, "wait")["reason"] == "the RAM disk is being looked for"
    driver.post(disk_events.DiskAbsent())
    assert driver.reply(9, "disk")["line"] == "the RAM disk is not mounted"
    assert driver.asked(disk_actions.EnsureDisk) == [disk_actions.EnsureDisk(SPEC)]


def test_a_refused_change_of_a_mounted_disk_is_no_failure_of_the_disk(driver):
    driver.run(1)
    driver.receive(9, messages.DiskRequest(verb="resize", size_mib=10))
    driver.post(disk_events.DiskFailed("resize-refused", "too small"))
    driver.receive(9, messages.Status())
    assert driver.reply(9, "status")["status"]["disk"]["failure"] is None


def test_a_look_at_the_disk_does_not_forget_what_a_build_has_just_used(driver):
    driver.run(1)
    driver.post(disk_events.TargetDirsFound((TargetDir(PATH, None, 1.0, 1.0),)))
    assert driver.state.target_dirs[PATH].root == "/src/app"


def test_after_one_build_has_lost_patience_with_the_disk_others_do_not_wait(driver):
    driver.begin(1)
    driver.now_s += DISK_PATIENCE_S
    driver.post(events.Tick())
    driver.begin(2, root="/src/other")
    assert driver.reply(2, "go")["target_dir"] is None
    driver.mount()
    driver.post(events.Closed(1))
    driver.post(events.Gone("b1/launcher", 100))
    driver.run(3)
    assert driver.reply(3, "go")["target_dir"] == PATH


def test_one_measurement_of_the_disk_is_under_way_at_a_time(driver):
    driver.run(1)
    for _ in range(20):
        driver.now_s += 1
        driver.post(events.Tick())
    assert len(driver.asked(disk_actions.MeasureDisk)) == 1
    driver.post(disk_events.DiskMeasured(EMPTY))
    driver.now_s += 1
    driver.post(events.Tick())
    assert len(driver.asked(disk_actions.MeasureDisk)) == 2


def test_news_of_an_earlier_disk_is_not_news_of_this_one(driver):
    driver.run(1)
    driver.post(disk_events.DiskLost("an earlier one", "it is gone"))
    assert driver.state.disk.phase is DiskPhase.MOUNTED


def test_a_disk_that_cannot_be_looked_at_now_is_looked_at_again_later(driver):
    driver.run(1)
    driver.now_s += 1
    driver.post(events.Tick())
    driver.post(disk_events.DiskUnmeasured("Too many open files"))
    assert driver.state.disk.phase is DiskPhase.MOUNTED
    driver.now_s += 1
    driver.post(events.Tick())
    assert len(driver.asked(disk_actions.MeasureDisk)) == 2
