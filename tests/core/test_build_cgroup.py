"""The cgroup of builds through the state: who goes there, and below which ceiling."""

from forge.core import actions, events, messages
from forge.core.build_cgroup import BUILD_OOM_SCORE_ADJ, BuildCgroup
from forge.core.disk import Disk, DiskKind
from forge.core.memory import Reading, Swap
from forge.core.swapped_out import SwappedOut
from forge.core.units import MIB
from tests.core.driver import Driver, settings

GIB = 1024 * MIB
CGROUP = BuildCgroup("/c/opta-forge-0-1", 1, True, ("a caveat",))


def measured(driver, total_bytes=24 * GIB, out_bytes=0):
    swap = Swap(GIB, 0, 0, out_bytes)
    driver.now_s += 1
    driver.post(
        events.MemoryMeasured(Reading(driver.now_s, total_bytes, total_bytes // 2, swap), {})
    )


def opened(**changes):
    driver = Driver(settings(low_water_mib=1024, **changes))
    driver.post(events.BuildCgroupOpened(CGROUP))
    return driver


def ceilings(driver):
    return [one.ceiling_bytes for one in driver.asked(actions.LimitBuilds)]


def report(driver):
    driver.receive(99, messages.Status())
    return driver.reply(99, "status")["status"]


def test_a_daemon_begins_by_asking_for_the_cgroup():
    assert Driver().asked(actions.OpenBuildCgroup) == [actions.OpenBuildCgroup()]
    assert not Driver(settings(cgroup=False)).asked(actions.OpenBuildCgroup)


def test_a_build_is_told_to_enter_and_what_to_offer_itself_with():
    driver = opened()
    driver.run(1)
    go = driver.reply(1, "go")
    assert go["cgroup"] == "/c/opta-forge-0-1/cgroup.procs"
    assert go["oom_score_adj"] == BUILD_OOM_SCORE_ADJ


def test_without_a_cgroup_a_build_runs_where_it_was_started():
    driver = Driver()
    driver.post(events.BuildCgroupMissing("permission denied"))
    driver.run(1)
    assert driver.reply(1, "go")["cgroup"] is None
    assert report(driver)["cgroup"]["failure"] == "permission denied"


def test_a_build_below_a_limit_of_its_own_is_not_taken_out_of_it():
    driver = opened()
    driver.receive(1, messages.Begin(pid=100, cwd="/src/app", argv=["build"], env={}))
    (look,) = driver.asked(actions.LookAtLauncher)
    assert look.pid == 100
    driver.post(events.LauncherSeen(look.build, "memory.max of /tight"))
    driver.post(events.LauncherSeen("b999", "memory.max of /gone"))
    assert driver.state.builds[look.build].own_limit == "memory.max of /tight"
    assert driver.state.cgroup.procs_for(driver.state.builds[look.build]) is None


def test_whether_a_build_went_there_is_known_from_its_launcher():
    driver = opened()
    driver.run(1)
    assert report(driver)["builds"][0]["in_cgroup"] is None, "an older launcher"
    driver.begin(2, root="/src/other")
    driver.make_target_dirs()
    driver.receive(2, messages.Started(pid=7, entered=False))
    assert report(driver)["builds"][1]["in_cgroup"] is False


def test_the_ceiling_is_the_machine_less_the_low_water_and_is_set_once():
    driver = opened()
    assert ceilings(driver) == [], "nothing was measured yet"
    measured(driver), measured(driver)
    assert ceilings(driver) == [23 * GIB]
    driver.post(events.BuildsLimited(23 * GIB))
    assert report(driver)["cgroup"]["ceiling_bytes"] == 23 * GIB
    measured(driver, total_bytes=8 * GIB)  # a limit above us was lowered
    assert ceilings(driver)[1:] == [7 * GIB]


def test_a_ceiling_that_cannot_be_set_is_logged_and_not_claimed():
    driver = opened()
    measured(driver)
    driver.post(events.BuildsLimited(23 * GIB, "device or resource busy"))
    (log,) = [one for one in driver.asked(actions.Log) if one.decision == "cgroup.unlimited"]
    assert log.fields["reason"] == "device or resource busy"
    assert report(driver)["cgroup"]["ceiling_bytes"] is None


def test_settings_turn_it_off_for_the_next_build_and_on_again():
    driver = opened()
    driver.post(events.SettingsLoaded(settings(cgroup=False)))
    driver.run(1)
    assert driver.reply(1, "go")["cgroup"] is None
    assert report(driver)["cgroup"]["failure"] == "off: builds.cgroup is false"
    driver.post(events.SettingsLoaded(settings()))
    driver.run(2, root="/src/other")
    assert driver.reply(2, "go")["cgroup"] == CGROUP.procs
    late = Driver(settings(cgroup=False))
    late.post(events.SettingsLoaded(settings()))
    assert late.asked(actions.OpenBuildCgroup)


def disk(token):
    return Disk(DiskKind.APFS, "/Volumes/OptaBuilds", 1024, 1, token)


def test_what_was_swapped_out_counts_from_the_mount():
    swapped = SwappedOut()
    swapped.look(None, 100)
    assert swapped.since_mount_bytes is None
    swapped.look(disk("a"), 150)
    assert swapped.since_mount_bytes == 0
    swapped.look(disk("a"), 400)
    assert swapped.since_mount_bytes == 250
    swapped.look(disk("b"), 500)  # it was made anew
    assert swapped.since_mount_bytes == 0
    swapped.look(disk("b"), 20)  # a counter that went back says nothing
    assert swapped.since_mount_bytes == 0
    swapped.look(disk("b"), None)
    assert swapped.since_mount_bytes is None


def test_the_status_tells_what_was_swapped_out_since_the_mount():
    driver = Driver()
    measured(driver, out_bytes=5)
    assert report(driver)["memory"]["swapped_out_since_mount_bytes"] is None
    driver.run(1)
    measured(driver, out_bytes=7)
    measured(driver, out_bytes=7 + MIB)
    assert report(driver)["memory"]["swapped_out_since_mount_bytes"] == MIB
