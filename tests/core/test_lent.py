from hypothesis import given
from hypothesis import strategies as st

from forge.core import events, messages
from forge.core.lent import Lent
from tests.core.driver import Driver, settings


def test_units_inside_a_test_use_its_cores_and_no_more():
    lent = Lent()
    assert lent.ask("b1", 1, cores=2) == [1]
    assert lent.ask("b1", 2, cores=2) == [2]
    assert lent.ask("b1", 3, cores=2) == []
    assert lent.ask("b2", 4, cores=0) == [4], "one always runs"
    assert lent.release("b1", 1, cores=2) == [3]
    lent.check()


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3))))
def test_nothing_is_lost_whatever_comes_and_goes(steps):
    lent, alive, started = Lent(), set(), set()
    for ticket, comes, cores in steps:
        if comes and ticket not in alive:
            alive.add(ticket)
            started |= set(lent.ask("b", ticket, cores))
        elif not comes and ticket in alive:
            alive.discard(ticket)
            started.discard(ticket)
            started |= set(lent.release("b", ticket, cores))
        lent.check()
        assert lent.running() == started
        assert lent.running() | lent.waiting() == alive


def test_a_build_inside_a_test_that_holds_every_core_goes_on():
    driver = Driver(settings(cores=2))
    outer = driver.run(1, "test")
    test = messages.Test(build=outer, pid=5, binary="/t/ui-1f", name="ui", threads=2)
    driver.receive(10, test)
    assert driver.reply(10, "go")
    inner = driver.run(2, root="/src/case", parent=outer, env={"FORGE_TEST": outer})
    unit = messages.Unit(build=inner, pid=6, crate="case", kinds=["bin"], lender=outer)
    for conn in (11, 12, 13):
        driver.receive(conn, unit)
    assert driver.reply(11, "go") and driver.reply(12, "go")
    assert driver.reply(13, "wait")["reason"] == f"waiting for a core of the tests of {outer}"
    driver.receive(11, messages.UnitEnded(exit=0))
    assert driver.reply(13, "go")


def test_the_cores_of_all_tests_that_run_are_lent():
    driver = Driver(settings(cores=8))
    outer = driver.run(1, "test")
    test = messages.Test(build=outer, pid=5, binary="/t/ui-1f", name="ui", threads=1)
    driver.receive(10, test)
    inner = driver.run(2, root="/src/case", parent=outer, env={"FORGE_TEST": outer})
    unit = messages.Unit(build=inner, pid=6, crate="case", kinds=["bin"], lender=outer)
    for conn in (20, 21, 22):
        driver.receive(conn, unit)
    assert driver.state.gates.lent.running() == {20}
    driver.receive(11, test)
    assert driver.state.gates.lent.running() == {20, 21}, "two tests hold two cores"
    driver.post(events.Closed(22))
    driver.receive(20, messages.UnitEnded(exit=0))
    assert driver.state.gates.lent.running() == {21}
    assert not driver.state.gates.lent.waiting()


def test_a_test_that_an_earlier_daemon_started_lends_its_cores():
    driver = Driver(settings(cores=8))
    outer = driver.run(1, "test")
    inner = driver.run(2, root="/src/case", parent=outer, env={"FORGE_TEST": outer})
    unit = messages.Unit(build=inner, pid=6, crate="case", kinds=["bin"], lender=outer)
    for conn in (20, 21, 22):  # they reach the new daemon before their test does
        driver.receive(conn, unit)
    driver.receive(
        10,
        messages.Test(build=outer, pid=5, binary="/t/ui", name="ui", threads=2, running=True),
    )
    assert driver.state.gates.lent.running() == {20, 21}


def test_a_test_takes_half_the_machine_until_more_is_known():
    driver = Driver(settings(cores=8))
    build = driver.run(1, "test")
    told: list[tuple[str, int | None]] = [("x", None), ("x", 3), ("x", 99), ("rust_out", None)]
    for conn, (name, threads) in enumerate(told, 10):
        test = messages.Test(build=build, pid=5, binary="/t/x", name=name, threads=threads)
        driver.receive(conn, test)
    assert [driver.state.gates.behind[conn].cores for conn in range(10, 14)] == [4, 3, 8, 1]
    assert driver.reply(12, "wait")["reason"].startswith("waiting for this build's own units")
    driver.receive(10, messages.TestEnded(exit=0, user_s=1.0, peak_kib=77))
    driver.receive(11, messages.TestEnded(exit=101))
    assert driver.reply(12, "go")
    assert driver.state.gates.recorders[build].tally.tests == 2
    assert driver.state.gates.recorders[build].tally.test_peak_kib == 77


def test_what_runs_already_is_counted_and_not_asked():
    driver = Driver(settings(cores=1))
    build = driver.run(1)
    for conn in (10, 11):  # both were started by an earlier daemon
        driver.receive(
            conn, messages.Unit(build=build, pid=1, crate="a", kinds=["lib"], running=True)
        )
        assert driver.reply(conn, "go")
    driver.receive(12, messages.Unit(build=build, pid=1, crate="b", kinds=["lib"]))
    driver.receive(10, messages.UnitEnded(exit=0))
    assert not [one for to, one in driver.sent if to == 12 and one["type"] == "go"]
    driver.receive(11, messages.UnitEnded(exit=0))
    assert driver.reply(12, "go")
