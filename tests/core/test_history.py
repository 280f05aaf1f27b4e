"""What a build leaves behind: what its units cost, where its time went, and what is learned."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.core import actions, disk_events, events, messages
from forge.core.behind import Behind, What, asking_link, asking_test, asking_unit
from forge.core.disk import DiskUsage
from forge.core.history import MAX_PARTS, SLOWEST, Recorder, Tally, build_record
from forge.core.launches import FULL_BELOW_BYTES
from forge.core.learned import Learned, key_of_unit, key_of_work
from forge.core.moment import Moment
from forge.core.report import status_report
from forge.core.shares import UNKNOWN_WORK_S
from forge.core.shim import Shim
from forge.core.state import State
from tests.core.driver import GIB, Driver, settings

SHIM = Shim("k1", "/c/gate", "/c/linkers", "/c/test-gate", "h")


def unit(name="serde", **fields):
    given = {"build": "b1", "pid": 1, "crate": name, "kinds": ["lib"], "id": f"{name}-1", **fields}
    return messages.Unit(**given)


def ended(cpu_s=1.0, **fields):
    return messages.UnitEnded(**{"exit": 0, "user_s": cpu_s, "peak_kib": 100, **fields})


def run(recorder, message, begin_s, end_s, how=None):
    """Let a unit start when it asks, and end."""
    one = asking_unit(1, message, begin_s)
    one.started_s = begin_s
    recorder.ended(one, how or ended(), end_s)


def learned_from(recorder, **options):
    return {one.key.split()[1]: one for one in recorder.observations("/src", **options)}


def test_what_ended_well_is_learned_with_its_chain():
    recorder = Recorder(100.0)
    run(recorder, unit("serde"), 100.0, 103.0)
    run(recorder, unit("app", externs=["serde-1"]), 103.0, 104.0)
    seen = learned_from(recorder)
    assert (seen["serde"].run_s, seen["serde"].rank_s) == (3.0, 4.0)
    assert (seen["app"].root, seen["app"].rank_s) == ("/src", 1.0)


@pytest.mark.parametrize("how", [{"exit": 101}, {"exit": None, "signal": 9}, {"exit": None}])
def test_a_unit_that_failed_teaches_nothing_and_is_counted(how):
    recorder = Recorder(0.0)
    run(recorder, unit("app"), 0.0, 0.1, ended(**how))
    assert learned_from(recorder) == {}
    assert recorder.tally.units == 1
    assert recorder.details()["slowest"][0]["name"] == "app"


def test_a_build_that_is_not_whole_teaches_costs_and_no_chains():
    recorder = Recorder(0.0)
    run(recorder, unit("serde"), 0.0, 3.0)
    seen = learned_from(recorder, is_whole=False)["serde"]
    assert (seen.run_s, seen.rank_s) == (3.0, None)


def test_of_two_versions_of_a_crate_the_longer_chain_counts():
    """Otherwise the rank of `syn` would fall and rise within each build."""
    recorder = Recorder(0.0)
    run(recorder, unit("syn", id="syn-1"), 0.0, 2.0)
    run(recorder, unit("syn", id="syn-2"), 0.0, 2.0)
    run(recorder, unit("app", externs=["syn-1"]), 2.0, 9.0)
    ranks = [one.rank_s for one in recorder.observations("/src") if " syn " in one.key]
    assert ranks == [9.0, 9.0]


def test_a_test_is_part_of_the_chain_of_what_it_tests():
    recorder = Recorder(0.0)
    run(recorder, unit("app", kinds=["test"], id="app-77"), 0.0, 2.0)
    message = messages.Test(build="b1", pid=1, binary="/t/debug/deps/app-77", name="app")
    test = asking_test(2, message, 2.0, cores=2, lender=None)
    test.started_s = 2.0
    recorder.ended(test, messages.TestEnded(exit=0, user_s=10.0), 32.0)
    by_kind = {one.key.split()[0]: one for one in recorder.observations("/src")}
    assert by_kind["unit"].rank_s == 32.0
    assert (by_kind["test"].rank_s, by_kind["test"].cpu_s) == (None, 10.0)
    assert [one["name"] for one in recorder.details()["critical_path"]] == ["app", "app"]


def test_a_link_is_counted_and_told_and_its_time_is_its_rustcs():
    recorder = Recorder(0.0)
    link = asking_link(2, messages.Link(build="b1", pid=1, output="/t/app"), 1.0)
    link.started_s = 1.0
    recorder.ended(link, messages.LinkEnded(exit=0, user_s=4.0, peak_kib=900), 3.0)
    run(recorder, unit("app"), 0.0, 3.0, ended(5.0))
    assert (recorder.tally.links, recorder.tally.link_peak_kib) == (1, 900)
    assert recorder.tally.cpu_s == 5.0, "wait4 counts what rustc waited for"
    assert [one["kind"] for one in recorder.details()["slowest"]] == ["unit", "link"]
    assert [one["name"] for one in recorder.details()["critical_path"]] == ["app"]
    assert list(learned_from(recorder)) == ["app"]


def test_a_unit_that_an_earlier_daemon_started_is_as_long_as_its_gate_says():
    recorder = Recorder(100.0)
    run(recorder, unit("syn"), 100.0, 100.5, ended(60.0, wall_s=60.0))
    assert learned_from(recorder)["syn"].run_s == 60.0


def test_who_was_waited_for_is_told_the_longest_first():
    recorder = Recorder(0.0)
    for ahead, waited_s in ((("b2", "b3"), 5.0), (("b3",), 1.0), (("b4",), 0.0), ((), 2.0)):
        roots: dict[str, str | None] = {build: f"/src/{build}" for build in ahead}
        one = Behind(1, "b1", What.UNIT, "x", asked_s=10.0, ahead=roots)
        recorder.started(one, 10.0 + waited_s)
    behind = recorder.details()["behind"]
    assert behind == [
        {"build": "b3", "root": "/src/b3", "wait_s": 6.0},
        {"build": "b2", "root": "/src/b2", "wait_s": 5.0},
    ]
    assert recorder.tally.waited_s == 8.0


def test_beyond_so_many_parts_units_are_counted_and_chains_are_not_learned():
    recorder = Recorder(0.0)
    for i in range(MAX_PARTS + 3):
        run(recorder, unit(f"c{i}"), float(i), i + 1.0)
    assert (recorder.tally.units, recorder.tally.cpu_s) == (MAX_PARTS + 3, MAX_PARTS + 3.0)
    seen = list(recorder.observations("/src"))
    assert len(seen) == len(recorder.parts) == MAX_PARTS
    assert {one.rank_s for one in seen} == {None}, "what ended last, and all depends on, is missing"


def test_the_largest_build_that_is_remembered_takes_a_few_tens_of_megabytes():
    recorder = Recorder(0.0)
    tracemalloc.start()
    for i in range(MAX_PARTS // 10):
        externs = [f"crate{j:05}-0123456789abcdef" for j in range(max(0, i - 5), i)]
        run(recorder, unit(f"crate{i:05}", externs=externs), i, i + 1.0)
    used_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used_bytes < 5_000_000, "2.9 MB measured for a tenth of it"


OF_BUILDS = [What.UNIT, What.LINK, What.TEST]


@given(st.lists(st.tuples(st.sampled_from(OF_BUILDS), st.floats(0, 100), st.integers(0, 999))))
def test_a_tally_is_the_sum_of_its_parts(rows):
    tally = Tally()
    for what, cpu_s, peak_kib in rows:
        tally.count(what, ended(cpu_s, peak_kib=peak_kib))
    assert tally.units + tally.links + tally.tests == len(rows)
    used_s = sum(cpu_s for what, cpu_s, _ in rows if what is not What.LINK)
    assert tally.cpu_s == pytest.approx(used_s)
    assert tally.peak_kib == max((peak_kib for *_, peak_kib in rows), default=0)


def test_only_the_slowest_are_told():
    recorder = Recorder(0.0)
    for i in range(SLOWEST + 5):
        run(recorder, unit(f"c{i}"), 0.0, float(i))
    slowest = recorder.details()["slowest"]
    assert [one["run_s"] for one in slowest] == [float(i) for i in range(14, 4, -1)]


# What is learned when a build is over


@pytest.fixture
def driver():
    driver = Driver(settings(gates=True, cores=8))
    driver.post(events.ShimReady(SHIM))
    return driver


def compile_one(driver, conn, build, name, took_s, **how):
    driver.receive(conn, unit(name, build=build))
    driver.now_s += took_s
    driver.receive(conn, ended(took_s, **how))
    driver.post(events.Closed(conn))


def end(driver, conn, exit_code=0):
    driver.receive(conn, messages.Ended(exit=exit_code))
    driver.post(events.Closed(conn))


def recorded(driver):
    return driver.asked(actions.RecordBuild)[-1]


def known(driver, *, is_cold, root="/src/app"):
    key = key_of_work("build", "dev", is_cold=is_cold)
    return driver.state.gates.learned.estimate_here(root, key)


def measure(driver, build, size_bytes):
    path = driver.state.builds[build].target_dir
    driver.post(disk_events.TargetDirMeasured(path, size_bytes, 10))


def test_a_build_that_ended_well_is_recorded_and_learned(driver):
    build = driver.run(1)
    compile_one(driver, 11, build, "serde", 30.0)
    end(driver, 1)
    record = recorded(driver).record
    assert (record["wall_s"], record["wait_s"], record["cpu_s"]) == (30.0, 0.0, 30.0)
    assert (record["exit"], record["cancelled"], record["units"]) == (0, False, 1)
    assert {one.key.split()[0] for one in recorded(driver).learned} == {"unit", "build"}
    assert known(driver, is_cold=True).cpu_s == 30.0


def test_the_time_in_line_is_no_part_of_what_a_build_takes():
    driver = Driver(settings(builds_at_once=1))
    first = driver.run(1)
    driver.begin(2, root="/src/other")
    driver.now_s += 500.0
    end(driver, 1)
    driver.make_target_dirs()
    driver.receive(2, messages.Started(pid=201))
    compile_one(driver, 12, str(driver.reply(2, "go")["build"]), "syn", 20.0)
    end(driver, 2)
    assert first != recorded(driver).record["id"]
    assert recorded(driver).record["wait_s"] == 500.0
    assert known(driver, is_cold=True, root="/src/other").run_s == 20.0


@pytest.mark.parametrize("how", ["failed", "killed", "cancelled", "cancelled too late", "gone"])
def test_a_build_that_did_not_end_well_does_not_teach_that_work_is_cheap(driver, how):
    build = driver.run(1)
    compile_one(driver, 11, build, "serde", 2.0)
    match how:
        case "failed":
            end(driver, 1, 101)
        case "killed":
            driver.receive(1, messages.Ended(signal=9))
        case "cancelled" | "cancelled too late":
            driver.receive(9, messages.CancelBuild(build=build))
            end(driver, 1, 130 if how == "cancelled" else 0)
        case _:
            driver.post(events.Closed(1))
            driver.post(events.Gone(f"{build}/launcher", 100))
            driver.post(events.Gone(f"{build}/cargo", 101))
    assert not driver.state.builds
    assert known(driver, is_cold=True) is None
    (serde,) = recorded(driver).learned
    assert (serde.runs[0][0], serde.rank_s) == (2.0, None)


def test_small_rebuilds_leave_what_a_cold_build_costs(driver):
    build = driver.run(1)
    compile_one(driver, 11, build, "serde", 300.0)
    measure(driver, build, 5 * GIB)
    end(driver, 1)
    for conn in range(2, 22):
        build = driver.run(conn)
        compile_one(driver, 100 + conn, build, "app", 1.0)
        end(driver, conn)
    assert known(driver, is_cold=True).cpu_s == 300.0
    assert known(driver, is_cold=False).cpu_s == 1.0
    assert driver.state.gates.learned.estimate("/src/app", serde_key()).run_s == 300.0


def test_a_target_dir_is_cold_once_though_nobody_has_measured_it_yet(driver):
    """The walk that measures it takes a while, and a quick second build is no cold one."""
    build = driver.run(1)
    compile_one(driver, 11, build, "serde", 300.0)
    end(driver, 1)
    driver.run(2)
    end(driver, 2)
    assert known(driver, is_cold=True).seen == 1
    assert known(driver, is_cold=False).cpu_s == 0.0


def test_after_cargo_clean_a_build_is_cold_again(driver):
    for conn, size_bytes in ((1, 0), (2, None), (3, None)):
        build = driver.run(conn)
        path = driver.state.builds[build].target_dir
        end(driver, conn)
        driver.post(disk_events.TargetDirMeasured(path, size_bytes))
    assert known(driver, is_cold=True).seen == 3
    assert known(driver, is_cold=False) is None


def test_a_build_that_fails_again_and_again_keeps_the_chains_that_are_known(driver):
    build = driver.run(1)
    compile_one(driver, 11, build, "serde", 10.0)
    driver.receive(12, unit("app", build=build, externs=["serde-1"]))
    driver.now_s += 50.0
    driver.receive(12, ended(50.0))
    end(driver, 1)
    for conn in range(2, 22):
        compile_one(driver, 100 + conn, driver.run(conn), "serde", 10.0)
        end(driver, conn, 101)
    assert driver.state.gates.learned.estimate("/src/app", serde_key()).rank_s == 60.0


def test_a_build_is_expected_to_cost_what_it_did(driver):
    assert work_expected(driver, driver.run(1)) == UNKNOWN_WORK_S
    compile_one(driver, 11, "b1", "serde", 7.0)
    end(driver, 1)
    compile_one(driver, 12, driver.run(2), "serde", 3.0)
    end(driver, 2)
    assert work_expected(driver, driver.run(3)) == 3.0


def test_a_build_on_a_full_disk_is_on_the_ssd_where_nobody_knows_what_is_cold(driver):
    driver.begin(1)
    driver.mount()
    driver.make_target_dirs(DiskUsage(6 * GIB, 6 * GIB, FULL_BELOW_BYTES - 1, 10, 10))
    assert not driver.state.builds["b1"].is_cold


def work_expected(driver, build):
    return driver.state.gates.budget._builds[build].left_s


def serde_key():
    return key_of_unit(unit("serde"))


def test_a_memory_that_is_empty_is_the_one_that_is_filled():
    learned = Learned()
    assert State(settings(), learned=learned).gates.learned is learned


@pytest.mark.parametrize(
    ("env", "client"),
    [
        ({}, None),
        ({"SSH_CONNECTION": "10.0.0.5 4711 10.0.0.1 22"}, None),  # `ssh HOST cargo build`: a login
        (
            {"FORGE_IDENTITY": "laptop", "SSH_CONNECTION": "10.0.0.5 4711 10.0.0.1 22"},
            {"key": "laptop", "from": "10.0.0.5"},
        ),
        ({"FORGE_IDENTITY": "x" * 5000}, {"key": "x" * 64, "from": ""}),
    ],
)
def test_a_build_of_another_machine_is_remembered_with_its_key_and_where_it_came_from(
    driver, env, client
):
    driver.begin(1, "build", env=env)
    (build,) = driver.state.builds.values()
    assert build_record(build, Recorder(0.0), 1.0)["client"] == client
    report = status_report(driver.state, Moment(driver.now_s, driver.now_s))
    assert report["builds"][0]["client"] == client
