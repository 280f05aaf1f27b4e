"""What is behind gates is found by build and by connection, without a walk through all of it."""

from hypothesis import given
from hypothesis import strategies as st

from forge.core import actions, events, messages
from forge.core.behind import Behind, Crowd, What
from tests.core.driver import Driver, settings

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "run", "start", "drop"]), st.integers(1, 9),
        st.sampled_from(["a", "b", "c", "d"]), st.sampled_from(list(What)),
    ),
    max_size=60,
)  # fmt: skip


def has_cores(one):
    return one.started_s is not None and one.cores > 0


@given(STEPS)
def test_the_crowd_agrees_with_a_walk_through_all(steps):
    crowd = Crowd()
    all_of_it: dict[int, Behind] = {}
    for what, conn, build, kind in steps:
        known = all_of_it.get(conn)
        if what in ("ask", "run") and known is None:
            one = Behind(conn, build, kind, "x", 0.0, cores=0 if kind is What.LINK else 2)
            one.started_s = 1.0 if what == "run" else None
            crowd.add(one)
            all_of_it[conn] = one
        elif what == "start" and known and known.started_s is None:
            crowd.start(known, 5.0)
            assert known.started_s == 5.0
        elif what == "drop" and known:
            crowd.drop(all_of_it.pop(conn))
        crowd.check()
        assert crowd.by_conn == all_of_it
        for name in "abcd":
            own = [one for one in all_of_it.values() if one.build == name]
            assert list(crowd.of(name)) == own
            others = {o.build for o in all_of_it.values() if has_cores(o) and o.build != name}
            beside = crowd.beside(name, 2)
            assert set(beside) <= others
            assert len(beside) == min(2, len(others))
        for name, build in crowd.by_build.items():
            units = [o for o in all_of_it.values() if o.build == name and o.what is What.UNIT]
            assert build.units_running == sum(o.started_s is not None for o in units)
            assert build.units_waiting == sum(o.started_s is None for o in units)


def test_each_that_waits_is_told_once_a_second_whenever_it_came():
    """Thousands may wait; told all at once, they would keep the daemon from all else."""
    driver = Driver(settings(cores=1))
    build = driver.run(1)
    for conn in range(10, 14):
        driver.receive(conn, messages.Unit(build=build, pid=1, crate="c", kinds=["lib"]))
        driver.now_s += 0.25
    told: dict[int, list[float]] = {conn: [] for conn in (11, 12, 13)}
    for _ in range(13):
        for one in driver.post(events.Tick()):
            if isinstance(one, actions.Send) and one.conn in told:
                told[one.conn].append(driver.now_s - 1000.0)
        driver.now_s += 0.25
    assert told == {11: [1.25, 2.25, 3.25], 12: [1.5, 2.5, 3.5], 13: [1.75, 2.75, 3.75]}
