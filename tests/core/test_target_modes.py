"""The mode of a project, its temporary directory, and what is told of a path."""

import pytest

from forge.core import disk_actions, disk_events, events, messages
from forge.core.shim import Shim
from forge.core.workspace import target_dir_name
from tests.core.driver import Driver, settings

PATH = f"/mnt/builds/{target_dir_name('/src/app')}"


@pytest.fixture
def driver():
    return Driver(settings(cores=4, link_target=True))


def choose(driver, mode, root="/src/app"):
    return driver.receive(90, messages.SetTargetMode(root=root, mode=mode))


def made(driver):
    return driver.asked(disk_actions.MakeTargetDir)[-1]


def test_in_build_dir_cargo_is_told_where_what_lies_between_goes(driver):
    choose(driver, "build-dir")
    assert driver.asked(disk_actions.KeepTargetMode) == [
        disk_actions.KeepTargetMode("/src/app", "build-dir")
    ]
    driver.begin(1, "build")
    driver.mount()
    asked = made(driver)
    assert (asked.link_from, asked.unlink_from) == (None, "/src/app/target")
    driver.make_target_dirs()
    go = driver.reply(1, "go")
    assert go["argv"] == ["--config", f'build.build-dir="{PATH}"', "build"]
    assert go["target_dir"] == PATH


@pytest.mark.parametrize(
    ("argv", "env", "argv_sent"),
    [
        # no `--config` of cargo's: all of it is on the disk, at the same place
        (["nextest", "run"], {}, ["nextest", "run", "--target-dir", PATH]),
        # the user's own word
        (["build"], {"CARGO_BUILD_BUILD_DIR": "/x"}, ["build"]),
        (["build", "--target-dir", "/x"], {}, ["build", "--target-dir", "/x"]),
        (
            ["build", "--config", "build.build-dir='/x'"], {},
            ["build", "--config", "build.build-dir='/x'"],
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_told_or_was_told_by_the_user_is_not_told_it(driver, argv, env, argv_sent):
    choose(driver, "build-dir")
    driver.begin(1, *argv, env=env)
    if driver.state.disk.is_changing:
        driver.mount()
    driver.make_target_dirs()
    assert driver.reply(1, "go")["argv"] == argv_sent


def test_other_projects_and_a_mode_taken_back_are_target_dir(driver):
    choose(driver, "build-dir")
    choose(driver, "target-dir")
    assert driver.reply(90, "ok")["line"].endswith("target-dir from its next build on")
    driver.run(1)
    assert f'build.target-dir="{PATH}"' in driver.reply(1, "go")["argv"]


def test_a_mode_that_does_not_exist_is_refused(driver):
    choose(driver, "ssd")
    assert driver.reply(90, "error")["slug"] == "usage-mistake"
    assert driver.asked(disk_actions.KeepTargetMode) == []


def test_a_build_behind_gates_gets_a_temporary_directory_until_it_is_over():
    driver = Driver(settings(gates=True, tmp_dir=True))
    driver.begin(1)
    driver.mount()
    tmp_dir = made(driver).tmp_dir
    assert tmp_dir == "/mnt/builds/.tmp/b1-100"
    driver.post(disk_events.TargetDirReady(1, PATH, None, tmp_dir))
    driver.post(
        events.ShimReady(Shim("k", "/c/forge-shim", "/c/bin", "/c/gate/rustc-gate", "/c/l"))
    )
    assert driver.reply(1, "go")["env"]["FORGE_TMPDIR"] == tmp_dir
    assert "TMPDIR" not in driver.reply(1, "go")["env"]
    driver.receive(1, messages.Ended(exit=0))
    (removed,) = driver.asked(disk_actions.RemoveTmpDir)
    assert removed.path == tmp_dir


def test_none_is_wanted_where_it_is_not_set_or_nothing_is_built(driver):
    driver.begin(1)
    driver.mount()
    assert made(driver).tmp_dir is None
    other = Driver(settings(tmp_dir=True))
    other.begin(1, "metadata")
    other.mount()
    assert made(other).tmp_dir is None


def test_a_daemon_that_is_to_mount_at_its_start_does():
    driver = Driver(settings(mount_at_start=True))
    assert len(driver.asked(disk_actions.EnsureDisk)) == 1
    assert Driver(settings()).asked(disk_actions.EnsureDisk) == []


def why(driver, path):
    driver.receive(80, messages.AboutPath(path=path))
    return driver.reply(80, "about")


def test_of_a_target_dir_is_told_whose_it_is_and_why_it_is_there(driver):
    driver.run(1, "test", "--release")
    told = why(driver, f"{PATH}/release/app")
    assert told["target_dir"]["root"] == "/src/app"
    assert told["target_dir"]["in_use_by"] == ["b1"]
    assert told["why"] == [
        f"{PATH} is the target dir of /src/app",
        "b1 (`cargo test`, release, batch, by program) used it 0.0 s ago; 1 build so far",
        "it stays: b1 builds in it",
    ]
    driver.receive(1, messages.Ended(exit=0))
    choose(driver, "build-dir")
    assert why(driver, "/src/app/crates/x")["why"][-2:] == [
        "it holds what lies between; the project's own `target` has the results",
        "it stays until its room is needed: 6.0 GiB of 6.0 GiB are free",
    ]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/mnt/builds", "it is the RAM disk itself"),
        ("/mnt/builds/.tmp/b1-100/x", "it holds temporary files of b1, which runs"),
        ("/mnt/builds/.tmp/b7-100", "it holds temporary files of builds"),
        ("/mnt/builds/.opta-forge-disk.json", "it is Forge's own"),
        ("/mnt/builds/nothing", "no target dir of that name"),
        ("/src/appendix", "it is neither on the RAM disk nor in a project"),
        ("/mnt/builds-of-others/x", "it is neither on the RAM disk"),
        ("/mnt/builds/../other", "it is neither on the RAM disk"),
    ],
)
def test_of_other_paths_is_told_what_they_are(driver, path, told):
    driver.run(1)
    found = why(driver, path)
    assert found["target_dir"] is None
    assert found["why"][0].startswith(told)
