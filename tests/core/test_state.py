import itertools

import pytest

from forge.core import actions, disk_actions, disk_events, events, messages
from forge.core.disk import DiskUsage
from forge.core.workspace import CargoConfig, Workspace, target_dir_name
from tests.core.driver import GIB, Driver, settings

PATH = f"/mnt/builds/{target_dir_name('/src/app')}"
FULL = DiskUsage(6 * GIB, 6 * GIB, 1024, 1_000_000, 900_000)


@pytest.fixture
def driver():
    return Driver()


def test_a_build_that_waits_hears_from_the_daemon_each_second(driver):
    driver.begin(1)
    for _ in range(3):
        driver.now_s += 1.0
        driver.post(events.Tick())
    waits = [message for _, message in driver.sent if message["type"] == "wait"]
    assert [wait["since_s"] for wait in waits] == [0.0, 1.0, 2.0, 3.0]


def test_a_target_dir_from_a_cargo_config_gives_way_and_is_reported_once(driver):
    workspace = Workspace("/src/app", config=CargoConfig("out", "/src/app/.cargo/config.toml"))
    driver.run(1, workspace=workspace)
    driver.receive(1, messages.Ended(exit=0))
    driver.run(2, workspace=workspace)
    assert "gives way to the RAM disk" in driver.reply(1, "go")["notes"][0]
    assert driver.reply(2, "go")["notes"] == []
    assert driver.reply(2, "go")["target_dir"] == PATH


def test_a_target_dir_from_a_cargo_config_can_be_kept():
    driver = Driver(settings(override_config_target_dir=False))
    driver.begin(
        1, workspace=Workspace("/src/app", config=CargoConfig("out", "/src/app/.cargo/config.toml"))
    )
    assert driver.reply(1, "go")["target_dir"] is None
    assert driver.reply(1, "go")["notes"] == []


def test_an_external_subcommand_is_redirected_by_variables_that_a_nested_build_recognises(driver):
    driver.run(1, "hack", "check")
    go = driver.reply(1, "go")
    assert go["argv"] == ["hack", "check"]
    inherited = {name: go["env"][name] for name in ("CARGO_TARGET_DIR", "FORGE_TARGET_DIR")}
    assert inherited == {"CARGO_TARGET_DIR": PATH, "FORGE_TARGET_DIR": PATH}
    driver.run(2, "build", root="/src/other", env=inherited)
    nested = driver.reply(2, "go")
    assert nested["target_dir"] != PATH
    assert {"CARGO_TARGET_DIR", "FORGE_TARGET_DIR"} <= set(nested["unset"])


def test_a_killed_launcher_takes_its_cargo_along(driver):
    build_id = driver.run(1)
    driver.post(events.Closed(1))
    assert build_id in driver.state.builds, "the launcher may have lost only us"
    driver.post(events.Gone(f"{build_id}/launcher", 100))
    assert driver.asked(actions.EndOrphan) == [actions.EndOrphan(f"{build_id}/cargo")]
    driver.post(events.Gone(f"{build_id}/cargo", 101))
    assert not driver.state.builds


@pytest.mark.parametrize("order", list(itertools.permutations(("cargo", "close", "launcher"))))
def test_in_whatever_order_a_build_falls_apart_nothing_of_it_stays(driver, order):
    build_id = driver.run(1)
    for part in order:
        driver.post(events.Closed(1) if part == "close" else events.Gone(f"{build_id}/{part}", 100))
    assert not driver.state.builds


@pytest.mark.parametrize("answered", [False, True])
def test_a_launcher_that_goes_before_cargo_starts_leaves_nothing(driver, answered):
    driver.begin(1)
    if answered:
        driver.mount()
        driver.make_target_dirs()
    driver.post(events.Closed(1))
    driver.post(events.Gone("b1/launcher", 100))
    assert not driver.state.builds


def test_a_build_of_the_daemon_before_is_adopted_with_its_id(driver):
    adopt = messages.Adopt(
        pid=100, build="b41", cargo_pid=101, cwd="/src/app", argv=["build"], target_dir=PATH
    )
    driver.receive(1, adopt)
    assert driver.reply(1, "adopted")["build"] == "b41"
    assert driver.asked(disk_actions.EnsureDisk), "its disk is taken over as well"
    driver.mount()
    driver.receive(9, messages.DiskRequest(verb="unmount"))
    assert driver.reply(9, "error")["slug"] == "disk-busy"
    driver.begin(2)
    assert "b42" in driver.state.builds


@pytest.mark.parametrize("claimed", ["b1", "../../etc", "b99999999999999999999", "x"])
def test_an_adopted_build_gets_a_new_id_when_its_own_will_not_do(driver, claimed):
    driver.run(5)
    adopt = messages.Adopt(pid=100, build=claimed, cargo_pid=101, cwd="/", argv=["build"])
    driver.receive(1, adopt)
    assert driver.reply(1, "adopted")["build"] == "b2"


def test_a_launcher_that_lost_only_us_comes_back_to_its_own_build(driver):
    build_id = driver.run(1)
    driver.post(events.Closed(1))
    driver.receive(
        2, messages.Adopt(pid=100, build=build_id, cargo_pid=101, cwd="/", argv=["build"])
    )
    assert driver.reply(2, "adopted")["build"] == build_id
    assert len(driver.state.builds) == 1


@pytest.mark.parametrize("message", [messages.Started(pid=1), messages.Ended(exit=0)])
def test_a_message_out_of_turn_is_refused(driver, message):
    driver.receive(1, message)
    assert driver.reply(1, "error")["slug"] == "protocol-mismatch"


def test_one_connection_carries_one_build(driver):
    driver.run(1)
    driver.receive(1, messages.Begin(pid=1, cwd="/", argv=["build"], env={}))
    assert driver.reply(1, "error")["slug"] == "protocol-mismatch"
    assert len(driver.state.builds) == 1


def test_a_wrong_configuration_is_reported_and_the_old_one_holds(driver):
    before = driver.state.settings
    driver.post(events.SettingsRefused("forge.toml:3: `disk.size` cannot be 5", "write …", conn=9))
    assert driver.reply(9, "error")["slug"] == "config-invalid"
    assert driver.state.settings is before


def test_target_dirs_are_measured_when_their_build_ends_and_forgotten_when_gone(driver):
    driver.run(1)
    driver.receive(1, messages.Ended(exit=101))
    assert driver.asked(disk_actions.MeasureTargetDir) == [disk_actions.MeasureTargetDir(PATH)]
    driver.post(disk_events.TargetDirMeasured(PATH, None))
    assert driver.state.target_dirs == {}


def test_a_question_is_answered_without_a_build(driver):
    driver.receive(9, messages.Resolve(cwd="/src/app", argv=["build"], env={}))
    driver.post(events.Resolved(9, Workspace("/src/app")))
    reply = driver.reply(9, "resolved")
    assert (reply["root"], reply["target_dir"], reply["redirected"]) == ("/src/app", PATH, True)
    assert not driver.state.builds


def test_stop_leaves_builds_alone(driver):
    driver.run(1)
    driver.receive(9, messages.Stop())
    assert driver.asked(actions.Quit)
    assert not driver.asked(actions.EndOrphan)


def test_an_alias_is_handed_to_cargo_expanded_so_that_options_find_their_place(driver):
    whole = ("run", "-q", "-p", "m", "--", "dist", "-j8")
    driver.run(1, "xtask", "dist", "-j8", workspace=Workspace("/src/app", argv=whole))
    assert driver.reply(1, "go")["argv"][2:] == list(whole)
    assert driver.reply(1, "go")["target_dir"] == PATH


def test_whatever_a_build_waits_for_its_launcher_hears_of_it_each_second(driver):
    driver.receive(1, messages.Begin(pid=1, cwd="/", argv=["build"], env={}))
    driver.now_s += 1
    driver.post(events.Tick())
    assert driver.reply(1, "wait")["reason"] == "the workspace is being found"
    driver.post(events.Resolved(1, Workspace("/src/app")))
    driver.mount()
    driver.now_s += 1
    driver.post(events.Tick())
    assert driver.reply(1, "wait")["reason"] == "the target dir is being made"
