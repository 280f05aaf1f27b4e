"""What is kept of builds, however far they came, and what is told of them."""

from typing import Any

import pytest

from forge.core import actions, events, messages
from forge.core.history import MAX_CHARACTERS, MAX_PATH, MAX_WORDS
from forge.core.learned import Observation
from forge.core.outcome import Outcome
from forge.core.shim import Shim
from tests.core.driver import Driver, settings

SHIM = Shim("k1", "/c/gate", "/c/linkers", "/c/test-gate", "h")


def driver_with(**changes) -> Driver:
    driver = Driver(settings(**{"builds_at_once": 1, "cores": 1, **changes}))
    driver.begin(99, "metadata")
    driver.mount()
    driver.make_target_dirs()
    driver.post(events.Closed(99))
    return driver


@pytest.fixture
def driver():
    return driver_with()


def recorded(driver) -> dict[str, Any]:
    """What was kept of the build that ended last."""
    return dict(driver.asked(actions.RecordBuild)[-1].record)


def explained(driver, build: str) -> dict[str, Any]:
    driver.receive(50, messages.Explain(build=build))
    return dict(driver.reply(50, "explained")["build"])


def unit(driver, conn, build, crate, took_s=1.0, **fields):
    driver.receive(conn, messages.Unit(build=build, pid=conn, crate=crate, kinds=["lib"], **fields))
    driver.now_s += took_s


def end_unit(driver, conn):
    driver.receive(conn, messages.UnitEnded(exit=0, wall_s=1.0, user_s=1.0))


@pytest.mark.parametrize(
    ("ended", "outcome"),
    [
        (messages.Ended(exit=0), Outcome.DONE),
        (messages.Ended(exit=101), Outcome.FAILED),
        (messages.Ended(signal=9), Outcome.SIGNAL),
    ],
)
def test_a_build_whose_cargo_ran_is_kept_with_how_it_ended(driver, ended, outcome):
    driver.run(1)
    driver.now_s += 5
    driver.receive(1, ended)
    record = recorded(driver)
    assert (record["outcome"], record["exit"], record["signal"]) == (
        outcome, ended.exit, ended.signal,
    )  # fmt: skip
    assert record["wall_s"] == 5.0


def test_a_build_that_is_cancelled_in_line_is_kept_with_its_wait_and_whom_it_waited_for(driver):
    first = driver.run(1, root="/src/one")
    driver.begin(2, root="/src/two")
    driver.now_s += 12
    driver.receive(9, messages.CancelBuild(build="b3"))
    record = recorded(driver)
    assert (record["outcome"], record["exit"], record["cancelled"]) == ("cancelled", 130, True)
    assert (record["wait_s"], record["waits"]["waiting in line"]) == (12.0, 12.0)
    assert record["waited_behind"] == [{"build": first, "root": "/src/one"}]


def test_a_build_that_lost_patience_is_kept(driver):
    driver.run(1, root="/src/one")
    driver.begin(2, root="/src/two", env={"FORGE_WAIT_TIMEOUT": "5"})
    driver.now_s += 6
    driver.post(events.Tick())
    record = recorded(driver)
    assert (record["outcome"], record["exit"], record["wait_s"]) == ("gave up", 75, 6.0)


def test_a_build_whose_launcher_leaves_the_line_is_kept(driver):
    driver.run(1, root="/src/one")
    driver.begin(2, root="/src/two")
    driver.post(events.Closed(2))
    assert (recorded(driver)["outcome"], recorded(driver)["exit"]) == ("left", None)


def test_a_build_whose_launcher_was_killed_ended_nobody_knows_how(driver):
    build = driver.run(1)
    driver.post(events.Gone(f"{build}/launcher", 100))
    driver.post(events.Gone(f"{build}/cargo", 101))
    assert recorded(driver)["outcome"] == "unknown"


def test_a_build_that_never_ran_teaches_nothing_of_what_builds_cost(driver):
    driver.run(1, root="/src/one")
    driver.begin(2, root="/src/two")
    driver.receive(9, messages.CancelBuild(build="b3"))
    assert driver.asked(actions.RecordBuild)[-1].learned == ()


def test_what_builds_nothing_is_not_kept(driver):
    assert driver.asked(actions.RecordBuild) == []


def test_a_held_machine_is_nobodys_fault(driver):
    driver.receive(9, messages.Hold(on=True))
    driver.begin(2, root="/src/two")
    driver.now_s += 3
    driver.receive(9, messages.CancelBuild(build="b2"))
    assert recorded(driver)["waited_behind"] == []


def test_a_build_for_the_same_target_dir_waited_for_the_one_that_had_it():
    driver = driver_with(builds_at_once=9)
    first = driver.run(1, root="/src/app")
    driver.begin(2, root="/src/app")
    driver.receive(9, messages.CancelBuild(build="b3"))
    assert recorded(driver)["waited_behind"] == [{"build": first, "root": "/src/app"}]


def test_a_build_in_line_is_explained_with_the_phase_it_is_in(driver):
    first = driver.run(1, root="/src/one")
    driver.begin(2, root="/src/two")
    driver.now_s += 7
    told = explained(driver, "b3")
    assert (told["running"], told["outcome"], told["phase"]) == (True, None, "waiting in line")
    assert (told["wait_s"], told["wall_s"]) == (7.0, 7.0)
    assert told["wait"].startswith("waiting for a build to end")
    assert told["waited_behind"] == [{"build": first, "root": "/src/one"}]
    assert told["critical_path"] == []


def test_a_unit_that_waited_names_the_builds_that_had_the_cores_and_their_projects():
    driver = driver_with(builds_at_once=9, gates=True)
    driver.post(events.ShimReady(SHIM))
    first = driver.run(1, root="/src/one")
    second = driver.run(2, root="/src/two")
    unit(driver, 11, first, "serde")
    unit(driver, 12, second, "syn", took_s=4.0)
    driver.receive(1, messages.Ended(exit=0))  # it is over before the other is let in
    end_unit(driver, 11)
    driver.now_s += 2
    end_unit(driver, 12)
    told = explained(driver, second)
    assert told["behind"] == [{"build": first, "root": "/src/one", "wait_s": 4.0}]
    (node,) = told["critical_path"]
    assert (node["behind"], node["wait_s"], node["run_s"]) == ([first], 4.0, 2.0)
    assert told["cores"] == 1


def test_a_unit_waited_for_those_that_had_the_cores_first_and_for_those_that_had_them_last():
    driver = driver_with(builds_at_once=9, gates=True)
    driver.post(events.ShimReady(SHIM))
    for conn in (1, 2, 3):
        build = driver.run(conn, root=f"/src/{conn}")
        unit(driver, 10 + conn, build, "serde")
    order = []
    for _ in range(3):
        (one,) = [one for one in driver.state.gates.behind.values() if one.runs]
        order.append(one.build)
        driver.now_s += 2
        last = explained(driver, one.build)
        end_unit(driver, one.conn)
    assert [one["build"] for one in last["behind"]] == order[:2]


def test_what_a_build_does_now_is_told_as_well():
    driver = driver_with(gates=True)
    driver.post(events.ShimReady(SHIM))
    build = driver.run(1)
    unit(driver, 11, build, "serde")
    unit(driver, 12, build, "syn")
    told = explained(driver, build)
    assert (told["runs_now"], told["waits_now"]) == (["serde"], ["syn"])
    assert told["wait"].startswith("waiting for this build's own units")


def test_the_critical_path_of_a_test_run_goes_on_over_its_tests():
    driver = driver_with(gates=True, cores=4)
    driver.post(events.ShimReady(SHIM))
    build = driver.run(1, "test")
    unit(driver, 11, build, "app", id="app-77")
    end_unit(driver, 11)
    for conn, name in ((21, "app"), (22, "integration")):
        binary = f"/t/deps/{name}-77"
        driver.receive(conn, messages.Test(build=build, pid=conn, binary=binary, name=name))
        driver.now_s += 3
        driver.receive(conn, messages.TestEnded(exit=0, wall_s=3.0, user_s=3.0))
    names = [node["name"] for node in explained(driver, build)["critical_path"]]
    assert names == ["app", "app", "integration"]


def test_of_tests_that_ran_at_once_one_is_on_the_critical_path():
    driver = driver_with(gates=True, cores=8)
    driver.post(events.ShimReady(SHIM))
    build = driver.run(1, "test")
    for conn in (21, 22):
        driver.receive(
            conn, messages.Test(build=build, pid=conn, binary="/t/x", name=f"t{conn}", threads=1)
        )
    driver.now_s += 3
    for conn in (21, 22):
        driver.receive(conn, messages.TestEnded(exit=0, wall_s=3.0, user_s=3.0))
    assert [node["name"] for node in explained(driver, build)["critical_path"]] == ["t22"]


def test_how_long_something_stood_at_the_gates_counts_no_second_twice():
    driver = driver_with(gates=True, cores=4)
    driver.post(events.ShimReady(SHIM))
    build = driver.run(1)
    unit(driver, 11, build, "serde", took_s=2)
    unit(driver, 12, build, "syn", took_s=2)
    end_unit(driver, 11)
    driver.now_s += 1
    end_unit(driver, 12)
    driver.now_s += 10  # cargo's own
    unit(driver, 13, build, "app", took_s=3)
    end_unit(driver, 13)
    assert explained(driver, build)["at_gates_s"] == 8.0


def test_what_is_kept_is_bounded(driver):
    words = ["build", *(["--" + "x" * 5000] * 100)]
    build = driver.run(1, *words)
    before = None
    for number in range(MAX_PATH + 5):
        unit(driver, 11, build, f"c{number}", id=f"c{number}", externs=[before] if before else [])
        end_unit(driver, 11)
        before = f"c{number}"
    driver.receive(1, messages.Ended(exit=0))
    kept = driver.asked(actions.RecordBuild)[-1]
    assert len(kept.details["critical_path"]) == MAX_PATH
    assert kept.details["critical_path"][-1]["name"] == before
    assert len(kept.record["argv"]) == MAX_WORDS
    assert max(map(len, kept.record["argv"])) == MAX_CHARACTERS


def test_history_is_asked_of_the_database_with_what_is_wanted(driver):
    driver.receive(7, messages.History(limit=900, root="/src/one", failed=True))
    driver.receive(7, messages.History(limit=-1))
    assert driver.asked(actions.TellHistory) == [
        actions.TellHistory(7, 500, "/src/one", failed=True),
        actions.TellHistory(7, 1, None, failed=False),
    ]


def learned_of(driver, root: str, key: str = "unit serde") -> None:
    driver.state.gates.learned.observe(Observation(root, key, 1.0, 1.0, 700_000), 1.0)


@pytest.mark.parametrize(("root", "costs", "left"), [("/a", 1, 1), (None, 2, 0), ("/none", 0, 2)])
def test_what_was_learned_is_forgotten_of_one_workspace_or_of_all(driver, root, costs, left):
    learned_of(driver, "/a")
    learned_of(driver, "/b")
    driver.receive(50, messages.Forget(root=root, builds=True, dry_run=True))
    assert len(driver.state.gates.learned) == 2, "a dry run forgets nothing"
    driver.receive(50, messages.Forget(root=root, builds=True))
    assert driver.asked(actions.ForgetPast) == [
        actions.ForgetPast(50, root, costs, builds=True, dry_run=True),
        actions.ForgetPast(50, root, costs, builds=True, dry_run=False),
    ]
    assert len(driver.state.gates.learned) == left
    driver.state.gates.learned.check()


def test_a_link_whose_peak_was_forgotten_books_by_its_inputs_again(driver):
    build = driver.run(1)
    link = {"build": build, "pid": 6, "output": "/t/app", "input_bytes": 10 << 20}
    for conn, peak_kib in ((11, 900 << 10), (12, 1)):
        driver.receive(conn, messages.Link(**link))
        driver.receive(conn, messages.LinkEnded(exit=0, peak_kib=peak_kib))
    driver.receive(1, messages.Ended(exit=0))
    build = driver.run(2)
    booked = []
    for conn in (21, 22):
        driver.receive(conn, messages.Link(**{**link, "build": build}))
        booked.append(driver.state.gates.behind[conn].want_bytes >> 20)
        driver.receive(conn, messages.LinkEnded(exit=0, peak_kib=1))
        driver.receive(50, messages.Forget())
    assert booked == [1035, 50]
