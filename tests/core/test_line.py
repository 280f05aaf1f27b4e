"""Builds that wait for other builds: for their target dir, for admission, and for how long."""

import pytest

from forge.core import actions, events, messages
from forge.core.build_lock import NEVER_LOCKED_S
from forge.core.moment import Moment
from forge.core.shares import Priority
from forge.core.shim import Shim
from tests.core.driver import Driver, settings


def driver_with(limit: int = 1, **changes) -> Driver:
    driver = Driver(settings(builds_at_once=limit, cores=8, **changes))
    driver.begin(99, "metadata")
    driver.mount()
    driver.make_target_dirs()
    driver.post(events.Closed(99))
    driver.sent.clear()
    return driver


@pytest.fixture
def driver():
    return driver_with()


def go(driver, conn):
    driver.make_target_dirs()
    return [message for to, message in driver.sent if to == conn and message["type"] == "go"]


def end(driver, conn):
    driver.receive(conn, messages.Ended(exit=0))
    driver.make_target_dirs()


def wait(driver, conn):
    return driver.reply(conn, "wait")["reason"]


def test_a_build_beyond_the_limit_waits_and_is_told_for_whom(driver):
    driver.run(1, root="/src/one")
    driver.begin(2, root="/src/two")
    driver.begin(3, root="/src/three")
    assert not go(driver, 2)
    assert wait(driver, 2) == "waiting for a build to end: 1 at work (b2 (one)), at most 1"
    assert "1 ahead: b3 (two)" in wait(driver, 3)
    end(driver, 1)
    assert go(driver, 2) and not go(driver, 3)


def test_a_build_that_is_left_by_its_launcher_leaves_the_line(driver):
    driver.run(1, root="/src/one")
    driver.begin(2, root="/src/two")
    driver.begin(3, root="/src/three")
    driver.post(events.Closed(2))
    end(driver, 1)
    assert go(driver, 3)


def test_metadata_stands_in_no_line(driver):
    driver.run(1, root="/src/one")
    driver.begin(2, "metadata", root="/src/two")
    assert go(driver, 2)


def test_a_build_inside_another_never_waits_for_it(driver):
    outer = driver.run(1, root="/src/one")
    driver.begin(2, root="/src/one", parent=outer)
    assert go(driver, 2)
    driver.begin(3, root="/src/two", parent="b4711")  # of another daemon: nobody waits for it
    assert not go(driver, 3)


def test_an_editors_check_is_not_stuck_behind_a_long_build(driver):
    driver.run(1, root="/src/one")
    driver.begin(2, root="/src/two")
    driver.begin(3, "check", root="/src/three", env={"VSCODE_PID": "7"})
    assert go(driver, 3) and not go(driver, 2)


def test_two_builds_of_one_target_dir_follow_each_other():
    driver = driver_with(limit=9)
    driver.run(1)
    driver.begin(2, "check")
    driver.begin(3, "build", "--release")
    assert go(driver, 3), "another profile is locked for itself"
    assert not go(driver, 2)
    assert wait(driver, 2) == (
        "waiting for b2 (`cargo build`), which builds in the same target dir"
    )
    assert driver.state.line.admission.line() == [], "it takes nobody's place meanwhile"
    end(driver, 1)
    assert go(driver, 2)


def test_a_program_that_cargo_runs_keeps_nobody_waiting():
    driver = driver_with(limit=1)
    build = driver.run(1, "run")
    driver.begin(2, "check")
    driver.begin(3, root="/src/other")
    driver.post(events.Tick())
    assert driver.asked(actions.ProbeLock)[-1].build == build
    driver.post(events.LockSeen(build, locked=True))
    assert not go(driver, 2)
    driver.post(events.Tick())
    driver.post(events.LockSeen(build, locked=False))
    assert go(driver, 2) and not go(driver, 3), "the limit holds for what compiles"
    driver.receive(2, messages.Started(pid=201))
    end(driver, 2)
    assert go(driver, 3)
    assert build in driver.state.builds


def test_nobody_looks_at_locks_while_nobody_waits():
    driver = driver_with(limit=9)
    driver.run(1)
    driver.post(events.Tick())
    assert not driver.asked(actions.ProbeLock)


def test_a_build_that_locks_nothing_for_long_holds_nobody_up():
    driver = driver_with(limit=9)
    build = driver.run(1)
    driver.begin(2)
    for _ in range(2):
        driver.post(events.LockSeen(build, locked=False))
        driver.now_s += NEVER_LOCKED_S
    assert go(driver, 2)


def test_a_test_that_starts_ends_the_wait_for_what_was_compiled():
    driver = driver_with(limit=9)
    build = driver.run(1, "test")
    driver.begin(2)
    driver.receive(50, messages.Test(build=build, pid=7, binary="/t/app-1f", name="app"))
    assert go(driver, 2)


def test_a_build_gives_up_when_it_has_waited_as_long_as_it_was_told():
    driver = driver_with(limit=1)
    driver.run(1, root="/src/one")
    driver.begin(2, root="/src/two", env={"FORGE_WAIT_TIMEOUT": "5"})
    driver.now_s += 4.9
    driver.post(events.Tick())
    assert "b3" in driver.state.builds
    driver.now_s += 0.1
    driver.post(events.Tick())
    answer = driver.reply(2, "end")
    assert answer["exit"] == 75
    assert answer["line"].startswith("gave up after 5.0 s: waiting for a build to end")
    assert "b3" not in driver.state.builds


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        ("/src/one", "waiting for b2 (`cargo build`), which builds in the same target dir"),
        ("/src/two", "waiting for a build to end: 1 at work (b2 (one)), at most 1"),
    ],
)
def test_a_build_that_is_not_to_wait_is_sent_away_at_once(root, reason):
    driver = driver_with(limit=1)
    driver.run(1, root="/src/one")
    driver.begin(2, root=root, env={"FORGE_WAIT_TIMEOUT": "0"})
    answer = driver.reply(2, "end")
    assert (answer["exit"], answer["line"]) == (75, f"gave up at once: {reason}")
    assert "b3" not in driver.state.builds
    end(driver, 1)
    driver.run(3, root=root, env={"FORGE_WAIT_TIMEOUT": "0"})  # nobody to wait for


def test_builds_that_lose_patience_at_once_each_get_their_answer():
    driver = driver_with(limit=1)
    driver.run(1, root="/src/one")
    for conn in (2, 3, 4):  # the first has the target dir, for which the others wait
        driver.begin(conn, root="/src/two", env={"FORGE_WAIT_TIMEOUT": "5"})
    driver.begin(5, root="/src/two")
    driver.now_s += 5
    driver.post(events.Tick())
    assert [driver.reply(conn, "end")["exit"] for conn in (2, 3, 4)] == [75, 75, 75]
    end(driver, 1)
    assert go(driver, 5)


def test_a_wait_counts_from_the_beginning_of_the_build():
    driver = driver_with(limit=1)
    driver.run(1, root="/src/one")
    driver.begin(2, root="/src/one")  # waits for the target dir, then in the line
    driver.now_s += 3
    driver.begin(3, root="/src/two")
    driver.receive(7, messages.SetPriority(build="b4", priority="interactive"))
    end(driver, 1)
    driver.now_s += 4
    driver.post(events.Tick())
    wait = driver.reply(2, "wait")
    assert (wait["since_s"], wait["reason"][:27]) == (7.0, "waiting for a build to end:")


def test_a_build_that_runs_never_loses_patience():
    driver = driver_with(limit=1)
    driver.run(1, env={"FORGE_WAIT_TIMEOUT": "1s"})
    driver.now_s += 100
    driver.post(events.Tick())
    assert "b2" in driver.state.builds


def test_held_nothing_begins_until_it_is_resumed(driver):
    driver.receive(7, messages.Hold(on=True))
    driver.begin(1, root="/src/one")
    assert "the machine is held" in wait(driver, 1)
    driver.receive(7, messages.Hold(on=False))
    assert go(driver, 1)
    assert driver.reply(7, "ok")["line"] == "builds go on"


def test_held_units_wait_and_those_that_run_go_on():
    driver = driver_with(gates=True)
    driver.state.step(
        events.ShimReady(Shim("k", "/g/rustc-gate", "/g/linkers", "/g/test-gate", "h")),
        Moment(driver.now_s, 0),
    )
    build = driver.run(1)
    driver.receive(20, messages.Unit(build=build, pid=1, crate="a", kinds=["lib"]))
    driver.receive(7, messages.Hold(on=True))
    driver.receive(21, messages.Unit(build=build, pid=2, crate="b", kinds=["lib"]))
    assert driver.reply(7, "ok")["line"] == "the machine is held; 1 unit still to end"
    assert "held" in wait(driver, 21)
    driver.receive(20, messages.UnitEnded(exit=0))
    driver.receive(7, messages.Hold(on=False))
    assert driver.reply(21, "go")


def test_a_waiting_build_is_cancelled_and_its_launcher_sent_away(driver):
    driver.run(1, root="/src/one")
    driver.begin(2, root="/src/two")
    driver.receive(7, messages.CancelBuild(build="b3"))
    assert driver.reply(2, "end") == {
        "type": "end",
        "line": "b3 was cancelled by `forge cancel`",
        "exit": 130,
    }
    assert driver.reply(7, "ok")["line"] == "b3 (two) is cancelled; it was waiting in line"


def test_a_running_build_is_cancelled_with_its_gates_and_the_builds_inside_it(driver):
    outer = driver.run(1, root="/src/one")
    inner = driver.run(2, root="/src/two", parent=outer)
    driver.receive(20, messages.Unit(build=inner, pid=1, crate="a", kinds=["lib"]))
    driver.receive(7, messages.CancelBuild(build=outer))
    assert [one.key for one in driver.asked(actions.EndTree)] == ["b2/cargo", "b3/cargo"]
    assert all(driver.reply(conn, "end") for conn in (1, 2, 20))
    assert driver.state.builds[outer].is_cancelled
    driver.receive(1, messages.Ended(signal=15))
    assert outer not in driver.state.builds


@pytest.mark.parametrize("build", ["b99", "", "x" * 100])
def test_a_build_that_is_not_there_cannot_be_cancelled(driver, build):
    driver.receive(7, messages.CancelBuild(build=build))
    assert driver.reply(7, "error")["slug"] == "no-such-build"
    driver.receive(7, messages.SetPriority(build=build, priority="batch"))
    assert driver.reply(7, "error")["slug"] == "no-such-build"


def test_a_build_that_becomes_urgent_overtakes(driver):
    driver.run(1, root="/src/one")
    driver.begin(2, root="/src/two")
    driver.begin(3, root="/src/three")
    driver.receive(7, messages.SetPriority(build="b4", priority="interactive"))
    assert driver.reply(7, "ok")["line"] == "b4 (three) is interactive now"
    assert driver.state.builds["b4"].priority is Priority.INTERACTIVE
    end(driver, 1)
    assert go(driver, 3) and not go(driver, 2)


def test_there_are_two_priorities(driver):
    driver.run(1)
    driver.receive(7, messages.SetPriority(build="b2", priority="urgent"))
    assert "`urgent`" in driver.reply(7, "error")["message"]


def test_a_build_inside_another_is_as_urgent_as_that(driver):
    outer = driver.run(1, env={"FORGE_PRIORITY": "interactive"})
    inner = driver.run(2, root="/src/two", parent=outer)
    assert driver.state.builds[inner].priority is Priority.INTERACTIVE


def test_adopted_builds_count_and_their_target_dirs_are_taken(driver):
    build = driver.run(1)
    driver.receive(1, messages.Ended(exit=0))
    path = "/mnt/builds/" + driver.state.target_dirs.popitem()[0].rpartition("/")[2]
    driver.state.target_dirs.clear()
    driver.receive(
        5,
        messages.Adopt(
            pid=500, build="b40", cargo_pid=501, cwd="/src/app", argv=["build"], target_dir=path
        ),
    )
    assert build not in driver.state.builds
    driver.begin(6, root="/src/two")
    assert not go(driver, 6)
