"""Links, heavy units and heavy tests book bytes before they start; driven through the state."""

import pytest

from forge.core import events, messages
from forge.core.learned import Entry, Learned, Observation
from forge.core.memory_claims import claim_of_heavy, claim_of_link, key_of_link, known_of_link
from forge.core.memory_map import propose
from forge.core.units import MIB
from tests.core.driver import BUFFER_MIB, Driver, settings


def driver_of(cores=4):
    return Driver(settings(cores=cores))


def link(driver, conn, build, input_mib, *, crate="app", running=False):
    driver.receive(
        conn,
        messages.Link(
            build=build, pid=conn, crate=crate, output=f"/t/debug/deps/{crate}-{conn:016x}",
            input_bytes=input_mib * MIB, linker="/usr/bin/cc", linker_kind="lld", running=running,
        ),
    )  # fmt: skip


def unit(driver, conn, build, crate, **fields):
    driver.receive(conn, messages.Unit(build=build, pid=conn, crate=crate, kinds=["bin"], **fields))


def went(driver, conn):
    return any(to == conn and message["type"] == "go" for to, message in driver.sent)


def reason(driver, conn):
    return driver.reply(conn, "wait")["reason"]


def learn(driver, crate, peak_mib, times=1):
    """Let a build of the same project have compiled a crate before, with such a peak."""
    build = driver.run(90, root="/src/app")
    for _ in range(times):
        unit(driver, 91, build, crate)
        driver.receive(
            91, messages.UnitEnded(exit=0, wall_s=1.0, user_s=1.0, peak_kib=peak_mib * 1024)
        )
    driver.receive(90, messages.Ended(exit=0))


@pytest.mark.parametrize(
    ("kind", "input_mib", "want_mib"),
    [("lld", 100, 230), ("mold", 100, 230), ("ld", 100, 180), ("other", 100, 230), ("lld", 0, 30)],
)
def test_a_link_that_was_never_seen_books_by_its_inputs(kind, input_mib, want_mib):
    message = messages.Link(build="b1", pid=1, input_bytes=input_mib * MIB, linker_kind=kind)
    assert claim_of_link(message, None).want_bytes == want_mib * MIB


@pytest.mark.parametrize(
    ("output", "name"),
    [
        ("/t/debug/deps/hello-168579d8bac4f261", "hello"),
        ("/t/debug/deps/libserde_derive-168579d8bac4f261.so", "libserde_derive.so"),
        ("/t/debug/build/openssl-sys-0123456789abcdef/build_script_build-168579d8bac4f261",
         "openssl-sys/build_script_build"),
        ("/t/release/deps/tokio-util", "tokio-util"),  # no hash: a name with a dash
        (None, "app"),
    ],
)  # fmt: skip
def test_a_link_has_the_same_name_in_each_build(output, name):
    message = messages.Link(build="b1", pid=1, crate="app", output=output, linker_kind="lld")
    assert key_of_link(message, "dev", is_test=False) == f"link {name} dev  lld"


def test_a_binary_and_its_tests_have_one_name_and_are_told_apart():
    driver = driver_of()
    build = driver.run(1)
    unit(driver, 10, build, "app", id="app-1111111111111111")
    driver.receive(11, messages.Unit(build=build, pid=11, crate="app", kinds=["test"],
                                     id="app-2222222222222222"))  # fmt: skip
    for conn, file in ((12, "app-1111111111111111"), (13, "app-2222222222222222")):
        output = f"/t/debug/deps/{file}"
        driver.receive(conn, messages.Link(build=build, pid=conn, output=output, input_bytes=1))
    keys = [driver.state.gates.behind[conn].key for conn in (12, 13)]
    assert keys == ["link app dev  other", "link app dev  other test"]


@pytest.mark.parametrize(
    ("output", "is_known"),
    [
        ("/t/debug/deps/integration-168579d8bac4f261", False),
        ("/t/debug/deps/libserde_derive-168579d8bac4f261.so", True),
        ("/t/debug/deps/libserde_derive-168579d8bac4f261.dylib", True),
        ("/t/debug/build/libc-0123456789abcdef/build_script_build-168579d8bac4f261", True),
    ],
)
def test_of_another_project_only_parts_are_known_and_no_programs(output, is_known):
    message = messages.Link(build="b1", pid=1, output=output)
    key = key_of_link(message, "dev", is_test=False)
    learned = Learned()
    learned.observe(Observation("/src/other", key, 1.0, 1.0, 500_000), 1.0)
    assert (known_of_link(message, learned, "/src/app", key) is not None) is is_known
    assert known_of_link(message, learned, "/src/other", key) is not None


@pytest.mark.parametrize(("peak_mib", "want_mib"), [(46, 58), (80, 92), (100, 115), (1000, 1150)])
def test_the_margin_is_a_part_of_the_peak_and_never_less_than_what_differs_each_time(
    peak_mib, want_mib
):
    known = Entry("/src", "link app").after(
        Observation("/src", "link app", 1.0, 1.0, peak_mib * 1024), 1.0
    )
    message = messages.Link(build="b1", pid=1, input_bytes=1 << 40)
    assert claim_of_link(message, known.estimate()).want_bytes == pytest.approx(
        want_mib * MIB, abs=1
    )


def test_only_what_is_known_to_be_heavy_books_anything():
    driver = driver_of()
    learned = driver.state.gates.learned
    learned.observe(Observation("/a", "light", 1.0, 1.0, 500 * 1024), 0.0)
    learned.observe(Observation("/a", "heavy", 1.0, 1.0, 1000 * 1024), 0.0)
    assert claim_of_heavy(None).want_bytes == 0
    assert claim_of_heavy(learned.estimate("/a", "light")).want_bytes == 0
    assert claim_of_heavy(learned.estimate("/a", "heavy")).want_bytes == int(1000 * 1.15 * MIB)


def test_links_wait_when_the_buffer_is_full_and_are_told_what_for():
    driver = driver_of()
    build = driver.run(1)
    for conn in (10, 11, 12):
        link(driver, conn, build, 1000)  # 2030 MiB each
    assert [went(driver, conn) for conn in (10, 11, 12)] == [True, True, False]
    assert reason(driver, 12).startswith(
        "waiting for memory: 836 MiB free, this link needs 2.0 GiB (for 0.0 s)"
    )
    driver.receive(10, messages.LinkEnded(exit=0, peak_kib=1024))
    assert went(driver, 12)


def test_a_link_larger_than_the_buffer_runs_alone_and_says_so():
    driver = driver_of()
    build = driver.run(1)
    link(driver, 10, build, 10)
    link(driver, 11, build, 9000)
    link(driver, 12, build, 10)
    assert reason(driver, 11).startswith(
        "waiting to run alone: this link needs 17.6 GiB of 4.8 GiB"
    )
    assert not went(driver, 12), "it would only put the large one off"
    driver.receive(10, messages.LinkEnded(exit=0))
    assert went(driver, 11) and not went(driver, 12)
    driver.receive(11, messages.LinkEnded(exit=0))
    assert went(driver, 12)


def test_the_next_link_of_the_same_artifact_books_what_the_last_one_needed():
    driver = driver_of()
    build = driver.run(1)
    link(driver, 10, build, 1000)
    driver.receive(10, messages.LinkEnded(exit=0, wall_s=2.0, peak_kib=800 * 1024))
    driver.receive(1, messages.Ended(exit=0))
    build = driver.run(2)
    link(driver, 11, build, 1000)
    assert driver.state.gates.behind[11].want_bytes == int(800 * 1.15 * MIB)


def test_a_rustc_is_not_taken_to_need_what_its_linker_needed():
    driver = driver_of()
    build = driver.run(1)
    unit(driver, 10, build, "app"), link(driver, 11, build, 1000, crate="app")
    driver.receive(11, messages.LinkEnded(exit=0, peak_kib=900 * 1024))
    driver.receive(10, messages.UnitEnded(exit=0, wall_s=1.0, peak_kib=901 * 1024))
    unit(driver, 12, build, "lto"), link(driver, 13, build, 100, crate="lto")
    driver.receive(13, messages.LinkEnded(exit=0, peak_kib=200 * 1024))
    driver.receive(12, messages.UnitEnded(exit=0, wall_s=1.0, peak_kib=2000 * 1024))
    driver.receive(1, messages.Ended(exit=0))
    build = driver.run(2)
    unit(driver, 20, build, "app"), unit(driver, 21, build, "lto")
    wanted = [driver.state.gates.behind[conn].want_bytes // MIB for conn in (20, 21)]
    assert wanted == [0, 2300]


def test_a_link_whose_gate_vanishes_gives_its_bytes_back():
    driver = driver_of()
    build = driver.run(1)
    for conn in (10, 11, 12):
        link(driver, conn, build, 1000)
    driver.post(events.Closed(11))
    assert went(driver, 12)
    driver.post(events.Closed(12))
    driver.post(events.Closed(10))
    assert driver.state.gates.memory.reservations.booked_bytes == 0


def test_a_heavy_unit_waits_with_its_core_in_hand_and_says_for_what():
    driver = driver_of()
    learn(driver, "huge", 3000)
    build = driver.run(1)
    link(driver, 10, build, 1000)
    unit(driver, 11, build, "huge")
    assert reason(driver, 11).startswith("waiting for memory")
    assert driver.state.gates.budget.running_cores == 1
    unit(driver, 12, build, "small")
    assert went(driver, 12)
    driver.receive(10, messages.LinkEnded(exit=0))
    assert went(driver, 11)


def test_a_rustc_gives_its_own_bytes_up_when_its_linker_asks():
    driver = driver_of(cores=2)
    learn(driver, "one", 2000), learn(driver, "two", 2000)
    build = driver.run(1)
    unit(driver, 10, build, "one"), unit(driver, 11, build, "two")
    assert went(driver, 10) and went(driver, 11)
    link(driver, 20, build, 1200, crate="one")
    assert went(driver, 20), "else both rustcs would wait for each other's bytes"
    link(driver, 21, build, 1200, crate="two")
    assert went(driver, 21)


def test_what_is_linked_inside_a_test_waits_for_nothing():
    driver = driver_of(cores=2)
    outer = driver.run(1, "test")
    test = messages.Test(build=outer, pid=5, binary="/t/ui-1f", name="ui", threads=2)
    driver.receive(10, test)
    link(driver, 11, outer, 2400)
    inner = driver.run(2, root="/src/case", parent=outer, env={"FORGE_TEST": outer})
    link(driver, 12, inner, 2400, crate="case")
    assert went(driver, 12)
    assert driver.state.gates.memory.reservations.room_bytes < 0


def test_links_that_run_already_are_counted_by_the_next_daemon():
    driver = driver_of()
    build = driver.run(1)
    for conn in (10, 11, 12):
        link(driver, conn, build, 1200, running=True)
        assert went(driver, conn)
    link(driver, 13, build, 10)
    assert not went(driver, 13)
    for conn in (10, 11):
        driver.receive(conn, messages.LinkEnded(exit=0))
    assert went(driver, 13)


def test_a_larger_buffer_in_forge_toml_lets_waiting_links_go():
    driver = driver_of()
    build = driver.run(1)
    link(driver, 10, build, 2000), link(driver, 11, build, 2000)
    assert not went(driver, 11)
    larger = propose(24 * 1024, {"linker_buffer": 2 * BUFFER_MIB})
    driver.post(events.SettingsLoaded(settings(cores=4, memory_map=larger)))
    assert went(driver, 11)
