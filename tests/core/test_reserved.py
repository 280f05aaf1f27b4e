"""`forge reserve`: bytes and cores for any command, and builds that live on them."""

import pytest

from forge.core import actions, events, messages
from forge.core.memory import Reading, Swap
from forge.core.moment import Moment
from forge.core.pressure import Rung
from forge.core.units import MIB
from tests.core.driver import Driver, settings

GIB_MIB = 1024
BUFFER_MIB = 4896  # what the map of 24 GiB gives to linkers


def driver_of(cores=4):
    return Driver(settings(cores=cores))


def reserve(driver, conn, memory_gib=0, cores=1, **fields):
    driver.receive(
        conn,
        messages.Reserve(
            **{
                "pid": conn, "cwd": "/src", "argv0": "docker", "priority": "batch",
                "memory_mib": int(memory_gib * GIB_MIB), "cores": cores, **fields,
            }
        ),
    )  # fmt: skip


def measure(driver, available_gib, **used_gib):
    """Read the memory: so much is available above the low water, and holders use so much."""
    low_water_bytes = driver.state.memory.low_water_bytes
    available = int(available_gib * 1024) * MIB + low_water_bytes
    reading = Reading(driver.now_s, 24 * 1024 * MIB, available, Swap(0, 0, 0, 0))
    used = {int(conn[1:]): int(gib * 1024) * MIB for conn, gib in used_gib.items()}
    driver.post(events.MemoryMeasured(reading, used))


def unit(driver, conn, build, **fields):
    driver.receive(conn, messages.Unit(build=build, pid=conn, crate="c", kinds=["lib"], **fields))


def link(driver, conn, build, input_mib):
    driver.receive(
        conn,
        messages.Link(build=build, pid=conn, input_bytes=input_mib * MIB, linker_kind="lld"),
    )


def went(driver, *conns):
    started = {to for to, message in driver.sent if message["type"] == "go"}
    return [conn in started for conn in conns]


def reason(driver, conn):
    return driver.reply(conn, "wait")["reason"]


def decisions(driver, prefix="reserve."):
    logs = driver.asked(actions.Log)
    return [one.decision for one in logs if one.decision.startswith(prefix)]


def now(driver):
    return Moment(driver.now_s, 0.0)


def test_a_command_starts_with_its_bytes_and_cores_and_gives_all_back():
    driver = driver_of()
    reserve(driver, 1, 3, 2, name="import")
    go = driver.reply(1, "go")
    assert go["env"] == {"FORGE_RESERVATION": go["reservation"]}
    (shown,) = driver.state.reserved.report(now(driver))
    assert (shown["id"], shown["name"], shown["memory_mib"], shown["cores"], shown["wait"]) == (
        go["reservation"], "import", 3 * GIB_MIB, 2, None,
    )  # fmt: skip
    assert driver.state.gates.budget.running_cores == 2
    driver.receive(1, messages.ReserveEnded(exit=0, wall_s=5.0, user_s=1.0, peak_kib=77))
    assert driver.state.gates.budget.running_cores == 0
    assert driver.state.gates.memory.reservations.beside_bytes == 0
    assert driver.state.reserved.report(now(driver)) == []
    assert decisions(driver) == ["reserve.granted", "reserve.ended"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"memory_gib": 25}, "25.0 GiB cannot be reserved: this machine has 24.0 GiB"),
        ({"memory_gib": -1}, "-1024 MiB and 1 cores cannot be reserved"),
        ({"cores": -2}, "0 MiB and -2 cores cannot be reserved"),
        ({"priority": "high"}, "there is no priority `high`"),
    ],
)
def test_what_this_machine_can_never_give_is_refused(fields, says):
    driver = driver_of()
    reserve(driver, 1, **fields)
    assert driver.reply(1, "error") == {
        "type": "error", "slug": "usage-mistake", "message": says, "hint": None,
    }  # fmt: skip
    assert not driver.state.gates.behind


def test_more_cores_than_there_are_means_all_of_them():
    driver = driver_of(cores=4)
    reserve(driver, 1, 0, 99)
    assert went(driver, 1) == [True]
    assert driver.state.gates.budget.running_cores == 4


def test_a_command_may_need_more_than_the_linker_buffer_where_memory_is_there():
    driver = driver_of()
    measure(driver, 20)
    reserve(driver, 1, 18)
    assert went(driver, 1) == [True]
    assert driver.state.gates.memory.reservations.booked_bytes == 0, "it is beside the buffer"


def test_a_command_waits_for_room_even_when_nothing_else_is_booked():
    driver = driver_of()
    measure(driver, 2)
    reserve(driver, 1, 18)
    assert reason(driver, 1) == (
        "waiting for memory: 2.0 GiB free, this command needs 18.0 GiB (for 0.0 s)"
    )
    assert driver.state.gates.budget.running_cores == 0, "no core sleeps meanwhile"
    measure(driver, 19)
    assert went(driver, 1) == [True]


def test_without_a_reading_the_buffer_is_what_commands_may_have():
    driver = driver_of()
    reserve(driver, 1, 4), reserve(driver, 2, 4), reserve(driver, 3, 18)
    assert went(driver, 1, 2, 3) == [True, False, False]
    assert "1 ahead" in reason(driver, 3)
    driver.receive(1, messages.ReserveEnded(exit=0))
    assert went(driver, 2, 3) == [True, False]


def test_two_that_do_not_fit_go_one_after_the_other():
    driver = driver_of()
    measure(driver, 20)
    reserve(driver, 1, 15), reserve(driver, 2, 15)
    assert went(driver, 1, 2) == [True, False]
    driver.post(events.Closed(1))
    assert went(driver, 2) == [True]
    assert decisions(driver)[-3:] == ["reserve.waits", "reserve.left", "reserve.granted"]


def test_what_is_reserved_and_not_touched_is_promised_once():
    driver = driver_of()
    measure(driver, 20)
    reserve(driver, 1, 15)
    measure(driver, 6, c1=14)
    reserve(driver, 2, 5)
    assert went(driver, 2) == [True]
    measure(driver, 6, c1=14)
    reserve(driver, 3, 1)
    assert went(driver, 3) == [False]


def test_links_go_on_one_by_one_however_much_is_reserved():
    driver = driver_of()
    measure(driver, 20)
    reserve(driver, 1, 20)
    build = driver.run(2)
    link(driver, 10, build, 1000), link(driver, 11, build, 1000)
    assert went(driver, 10, 11) == [True, False], "a build must end, if slowly"
    driver.receive(10, messages.LinkEnded(exit=0))
    assert went(driver, 11) == [True]


def test_links_are_held_back_for_a_command_that_they_keep_waiting_and_not_for_ever():
    driver = driver_of()
    measure(driver, 10)
    build = driver.run(2)
    link(driver, 10, build, 1000)
    reserve(driver, 1, 9)
    conn = 11
    while conn < 40:
        link(driver, conn, build, 700)
        if not went(driver, conn)[0]:
            break
        driver.receive(10, messages.LinkEnded(exit=0)) if conn == 11 else None
        driver.receive(conn, messages.LinkEnded(exit=0)) if conn > 11 else None
        conn += 1
    assert 11 < conn < 20, "one buffer may pass, and no more"
    driver.receive(11, messages.LinkEnded(exit=0))
    assert went(driver, 1) == [True]


def test_links_are_not_held_back_for_a_command_that_waits_for_another_command():
    driver = driver_of()
    measure(driver, 20)
    reserve(driver, 1, 10), reserve(driver, 2, 15)
    build = driver.run(3)
    for conn in range(10, 30):
        link(driver, conn, build, 500), link(driver, conn + 100, build, 500)
        assert went(driver, conn, conn + 100) == [True, True]
        driver.receive(conn, messages.LinkEnded(exit=0))
        driver.receive(conn + 100, messages.LinkEnded(exit=0))


def test_a_command_waits_for_cores_with_its_bytes_in_hand_and_units_go_on():
    driver = driver_of(cores=2)
    build = driver.run(2)
    unit(driver, 10, build), unit(driver, 11, build)
    reserve(driver, 1, 4, 2)
    assert reason(driver, 1).startswith("waiting for a core: 2 of 2 cores busy, this needs 2")
    link(driver, 12, build, 2000)
    assert went(driver, 12) == [True], "bytes beside the buffer keep no linker waiting"
    for conn in (12, 10, 11):
        driver.receive(conn, messages.UnitEnded(exit=0))
    driver.now_s += 1
    driver.post(events.Tick())
    assert went(driver, 1) == [True]
    unit(driver, 13, build)
    assert went(driver, 13) == [False]
    driver.post(events.Closed(1))
    driver.now_s += 1
    driver.post(events.Tick())
    assert went(driver, 13) == [True]


def test_a_long_command_does_not_make_its_group_wait_afterwards():
    driver = driver_of(cores=1)
    reserve(driver, 1, 0, 1, priority="interactive")
    driver.now_s += 3600
    people = driver.run(2, env={"FORGE_PRIORITY": "interactive"})
    agents = driver.run(3, root="/src/agents")
    unit(driver, 10, agents), unit(driver, 11, people)
    driver.receive(1, messages.ReserveEnded(exit=0, wall_s=3600.0))
    driver.now_s += 1
    driver.post(events.Tick())
    assert went(driver, 10, 11) == [False, True]


def test_nothing_starts_while_the_machine_is_held():
    driver = driver_of()
    driver.receive(20, messages.Hold(on=True))
    reserve(driver, 1, 1, 0), reserve(driver, 2, 1, 1)
    assert went(driver, 1, 2) == [False, False]
    assert reason(driver, 1) == "waiting: the machine is held"
    assert reason(driver, 2).startswith("waiting: the machine is held")
    driver.receive(20, messages.Hold(on=False))
    assert went(driver, 1, 2) == [True, True]


def test_nothing_that_books_bytes_starts_while_memory_is_short_and_nothing_is_stopped():
    driver = driver_of()
    reserve(driver, 1, 1, 1)
    for _ in range(9):
        driver.now_s += 1
        measure(driver, -0.5)
    assert driver.state.memory.ladder.rung >= Rung.SHUT_LINKS
    reserve(driver, 2, 1, 1)
    assert reason(driver, 2).startswith("waiting: memory is short, so nothing heavy starts")
    assert not [kind for to, m in driver.sent if to == 1 and (kind := m["type"]) != "go"]


def test_its_cores_are_elsewhere_for_the_job_tokens_of_builds():
    driver = driver_of(cores=4)
    build = driver.run(2)
    assert driver.state.jobservers.due_s
    driver.now_s += 1
    driver.post(events.Tick())
    assert driver.fifos[build] == 3, "alone it has all"
    reserve(driver, 1, 0, 3)
    driver.now_s += 5
    driver.post(events.Tick())
    assert driver.fifos[build] <= 1, "three cores are a command's"
    driver.post(events.Closed(1))
    driver.now_s += 5
    driver.post(events.Tick())
    assert driver.fifos[build] == 3


class TestInside:
    """What runs inside a command lives on what it holds."""

    def command(self, driver, cores=2, memory_gib=4):
        reserve(driver, 1, memory_gib, cores)
        return str(driver.reply(1, "go")["reservation"])

    def build(self, driver, conn, reservation, **fields):
        env = {"FORGE_RESERVATION": reservation}
        return driver.run(conn, root=f"/src/{conn}", env=env, **fields)

    def test_a_build_uses_its_cores_though_it_holds_them_all(self):
        driver = driver_of(cores=2)
        reservation = self.command(driver)
        inner = self.build(driver, 2, reservation)
        for conn in (10, 11, 12):
            unit(driver, conn, inner, lender=reservation)
        assert went(driver, 10, 11, 12) == [True, True, False]
        assert reason(driver, 12) == f"waiting for a core of {reservation}"
        driver.receive(10, messages.UnitEnded(exit=0))
        assert went(driver, 12) == [True]

    def test_its_links_never_wait_for_bytes(self):
        driver = driver_of(cores=2)
        measure(driver, 10)
        outer = driver.run(5)
        link(driver, 9, outer, 2400)
        inner = self.build(driver, 2, self.command(driver))
        link(driver, 10, inner, 2400)
        assert went(driver, 9, 10) == [True, True]

    def test_its_tests_use_its_cores_and_lend_them_on(self):
        driver = driver_of(cores=2)
        reservation = self.command(driver)
        inner = self.build(driver, 2, reservation)
        test = messages.Test(build=inner, pid=5, binary="/t/ui-1f", name="ui", threads=2)
        driver.receive(10, test), driver.receive(11, test), driver.receive(12, test)
        assert went(driver, 10, 11, 12) == [True, True, False]
        env = {"FORGE_TEST": inner, "FORGE_RESERVATION": reservation}
        innermost = driver.run(3, root="/src/case", parent=inner, env=env)
        unit(driver, 13, innermost, lender=inner)
        assert went(driver, 13) == [True]

    def test_a_build_stands_in_no_line(self):
        driver = Driver(settings(cores=4, builds_at_once=1))
        driver.run(5)
        assert self.build(driver, 2, self.command(driver))

    def test_a_command_inside_a_command_or_a_test_has_no_cores_and_waits_for_nothing(self):
        driver = driver_of(cores=2)
        measure(driver, 4)
        reservation = self.command(driver)
        reserve(driver, 2, 15, 2, lender=reservation)
        assert driver.reply(2, "go")["env"] == {}
        assert driver.state.gates.budget.running_cores == 2
        assert driver.state.gates.memory.reservations.beside_bytes == 19 * 1024 * MIB
        driver.receive(2, messages.ReserveEnded(exit=0))
        assert driver.state.gates.budget.running_cores == 2

    @pytest.mark.parametrize("ends", [True, False])
    def test_what_outlives_it_or_it_has_no_cores_for_asks_as_any_build(self, ends):
        driver = driver_of(cores=2)
        reservation = self.command(driver, cores=2 if ends else 0)
        if ends:
            driver.receive(1, messages.ReserveEnded(exit=0))
        inner = self.build(driver, 2, reservation)
        unit(driver, 10, inner, lender=reservation)
        assert went(driver, 10) == [True]
        assert driver.state.gates.budget.running_cores == 1

    def test_units_that_it_leaves_behind_go_on_one_by_one(self):
        driver = driver_of(cores=2)
        reservation = self.command(driver)
        inner = self.build(driver, 2, reservation)
        for conn in (10, 11, 12):
            unit(driver, conn, inner, lender=reservation)
        driver.post(events.Closed(1))
        driver.receive(10, messages.UnitEnded(exit=0))
        assert went(driver, 12) == [False]
        driver.receive(11, messages.UnitEnded(exit=0))
        assert went(driver, 12) == [True]


class TestTheNextDaemon:
    def test_a_command_that_runs_is_counted_under_its_old_id(self):
        driver = driver_of(cores=2)
        measure(driver, 2)
        reserve(driver, 1, 8, 2, running=True, reservation="r41")
        assert driver.reply(1, "go")["reservation"] == "r41"
        assert driver.state.gates.budget.running_cores == 2
        assert driver.asked(actions.KeepNextBuild)[-1].number == 42
        reserve(driver, 2, 1)
        assert went(driver, 2) == [False]

    @pytest.mark.parametrize("claimed", ["r41", "b41", "r", "", None])
    def test_an_id_that_is_taken_or_none_gives_way_to_a_new_one(self, claimed):
        driver = driver_of()
        reserve(driver, 1, 1, running=True, reservation="r41")
        reserve(driver, 2, 1, running=True, reservation=claimed)
        assert driver.reply(2, "go")["reservation"] == "r42"

    def test_builds_inside_go_on_living_on_it_whoever_comes_back_first(self):
        driver = driver_of(cores=2)
        unit(driver, 10, "b7", lender="r3")
        unit(driver, 11, "b7", lender="r3")
        assert went(driver, 10, 11) == [True, False], "one always runs"
        adopt = messages.Adopt(pid=5, build="b7", cargo_pid=6, cwd="/", argv=["build"], lender="r3")
        driver.receive(5, adopt)
        reserve(driver, 1, 1, 2, running=True, reservation="r3")
        assert went(driver, 11) == [True]
        unit(driver, 12, "b7", lender="r3")
        assert reason(driver, 12) == "waiting for a core of r3"


class TestGivingUp:
    def test_one_that_is_not_to_wait_is_sent_away_at_once(self):
        driver = driver_of()
        measure(driver, 1)
        reserve(driver, 1, 2, wait_timeout_s=0.0)
        assert driver.reply(1, "end") == {
            "type": "end",
            "line": "gave up at once: waiting for memory: 1.0 GiB free, this command needs 2.0 GiB"
            " (for 0.0 s)",
            "exit": 75,
        }
        assert not driver.state.gates.behind

    def test_one_waits_as_long_as_it_may(self):
        driver = driver_of()
        measure(driver, 1)
        reserve(driver, 1, 2, wait_timeout_s=20.0)
        driver.now_s += 19
        driver.post(events.Tick())
        assert driver.state.reserved.by_id
        driver.now_s += 1
        driver.post(events.Tick())
        assert driver.reply(1, "end")["line"].startswith("gave up after 20 s: waiting for memory")
        assert not driver.state.reserved.by_id
        assert decisions(driver) == ["reserve.waits", "reserve.impatient"]

    @pytest.mark.parametrize(("available_gib", "was"), [(1, "waiting"), (8, "running")])
    def test_one_is_cancelled_where_it_stands(self, available_gib, was):
        driver = driver_of()
        measure(driver, available_gib)
        reserve(driver, 1, 2)
        (name,) = driver.state.reserved.by_id
        driver.receive(20, messages.CancelBuild(build=name))
        assert driver.reply(20, "ok")["line"] == f"{name} is cancelled; it was {was}"
        end = driver.reply(1, "end")
        assert (end["exit"], end["line"]) == (130, f"{name} was cancelled by `forge cancel`")
        assert bool(driver.state.reserved.by_id) is (was == "running"), "it ends as it ends"
