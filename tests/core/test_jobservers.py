"""Jobservers driven through the state: looks, moves, threads that leave units fewer cores."""

from forge.core import actions, events, messages
from forge.core.jobservers import LOOK_AGAIN_S, LOOK_ALONE_EVERY_S, LOOK_EVERY_S
from tests.core.driver import Driver, settings


def tick(driver, after_s=LOOK_EVERY_S):
    driver.now_s += after_s + 0.001
    driver.post(events.Tick())


def unit(driver, conn, build):
    driver.receive(conn, messages.Unit(build=build, pid=conn, crate=f"c{conn}", kinds=["lib"]))


def report(driver, build):
    return driver.state.jobservers.report(build)


def test_a_lone_build_has_all_its_tokens_and_is_looked_at_rarely():
    driver = Driver(settings(cores=8))
    build = driver.run(1)
    assert driver.fifos == {build: 7}
    looks = len(driver.asked(actions.LookAtTokens))
    driver.fifos[build] = 0  # rustc's threads have taken all
    tick(driver)
    assert len(driver.asked(actions.LookAtTokens)) == looks
    tick(driver, LOOK_ALONE_EVERY_S)
    assert len(driver.asked(actions.LookAtTokens)) == looks + 1
    assert driver.state.gates.budget.capacity == 8, "its tokens bound it already"
    assert report(driver, build)["used"] == 7


def test_threads_of_one_build_leave_the_units_of_others_fewer_cores():
    driver = Driver(settings(cores=4))
    first = driver.run(1, root="/src/a")
    driver.fifos[first] = 0  # its make has taken all that there were
    second = driver.run(2, root="/src/b")
    tick(driver), tick(driver)
    assert driver.state.gates.budget.capacity == 1
    unit(driver, 10, second), unit(driver, 11, second)
    assert driver.reply(10, "go")
    assert "1 of 1 core busy" in driver.reply(11, "wait")["reason"]
    driver.fifos[first] = 3
    tick(driver)
    assert driver.reply(11, "go")
    assert driver.state.gates.budget.capacity == 4


def test_a_token_on_its_way_between_two_units_is_not_taken_for_a_thread():
    driver = Driver(settings(cores=4))
    first = driver.run(1, root="/src/a")
    driver.run(2, root="/src/b")
    tick(driver)
    driver.fifos[first] -= 1
    tick(driver)
    assert driver.state.gates.budget.capacity == 4
    tick(driver)
    assert driver.state.gates.budget.capacity == 3, "two looks agree"


def test_a_build_that_ends_leaves_all_to_the_other_at_once():
    driver = Driver(settings(cores=4))
    first = driver.run(1, root="/src/a")
    second = driver.run(2, root="/src/b")
    unit(driver, 10, first)
    tick(driver)
    assert driver.state.jobservers.tokens.withdrawn()
    driver.receive(10, messages.UnitEnded(exit=0))
    driver.receive(1, messages.Ended(exit=0))
    assert driver.fifos == {second: 3}
    assert driver.state.jobservers.tokens.withdrawn() == {}


def test_a_core_that_becomes_free_is_a_reason_to_look_soon():
    driver = Driver(settings(cores=4))
    first = driver.run(1, root="/src/a")
    driver.run(2, root="/src/b")
    unit(driver, 10, first)
    tick(driver)
    looks = len(driver.asked(actions.LookAtTokens))
    tick(driver, LOOK_AGAIN_S)
    assert len(driver.asked(actions.LookAtTokens)) == looks
    driver.receive(10, messages.UnitEnded(exit=0))
    tick(driver, LOOK_AGAIN_S)
    assert len(driver.asked(actions.LookAtTokens)) == looks + 1


def test_the_cores_of_tests_are_not_for_threads():
    driver = Driver(settings(cores=4))
    build = driver.run(1, "test")
    test = messages.Test(build=build, pid=5, binary="/t/ui-1f", name="ui", threads=3)
    driver.receive(10, test)
    tick(driver)
    assert driver.fifos[build] == 1
    driver.receive(10, messages.TestEnded(exit=0))
    tick(driver)
    assert driver.fifos[build] == 3


def test_tokens_that_nobody_can_hold_any_more_are_put_back_and_logged():
    driver = Driver(settings(cores=8))
    build = driver.run(1)
    driver.fifos[build] = 2  # 5 are gone with the process that had them
    driver.holders[build] = 1
    for _ in range(4):
        tick(driver, LOOK_ALONE_EVERY_S)
    assert driver.fifos[build] == 6
    healed = [one for one in driver.asked(actions.Log) if one.decision == "jobserver.healed"]
    assert [one.fields["tokens"] for one in healed] == [4]


def test_tokens_that_came_from_nowhere_are_taken_out():
    driver = Driver(settings(cores=8))
    build = driver.run(1)
    driver.fifos[build] = 9
    tick(driver, LOOK_ALONE_EVERY_S)
    assert driver.fifos[build] == 7


def test_a_look_that_is_never_answered_is_asked_again():
    driver = Driver(settings(cores=8))
    build = driver.run(1)
    del driver.fifos[build]  # it cannot be read
    for _ in range(3):
        tick(driver, 10.0)
    assert report(driver, build)["granted"] == 7
    assert len(driver.asked(actions.LookAtTokens)) >= 3


def test_an_adopted_build_is_looked_at_when_its_launcher_knows_what_it_had():
    for tokens, known in ((3, True), (None, False)):
        driver = Driver(settings(cores=4, jobserver_dir="/state/jobs"))
        driver.fifos["b7"] = 1
        driver.receive(
            1,
            messages.Adopt(
                pid=100, build="b7", cargo_pid=101, cwd="/", argv=["build"],
                jobserver="/state/jobs/b7.jobs", tokens=tokens,
            ),
        )  # fmt: skip
        assert (report(driver, "b7") is not None) is known


def test_more_cores_by_the_settings_are_for_units_at_once():
    driver = Driver(settings(cores=2))
    driver.run(1)
    driver.post(events.SettingsLoaded(settings(cores=6)))
    assert driver.state.gates.budget.capacity == 6
