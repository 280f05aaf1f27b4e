import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.core.budget import Budget
from forge.core.shares import EVEN_SHARE, GRACE_S, WEIGHTS, Priority
from forge.core.waits import Why

INTERACTIVE, BATCH = Priority.INTERACTIVE, Priority.BATCH


class Driver:
    """Feeds a budget with endless units of `cost_s` and lets them end in order."""

    def __init__(self, capacity, **options):
        self.budget = Budget(capacity, **options)
        self.now_s = 0.0
        self.tickets = itertools.count(1)
        self.owner = {}
        self.cost_s = {}
        self.ends_s = {}
        self.had_s = {}
        self.starts = []

    def join(self, name, **options):
        self.took(self.budget.join(name, now_s=self.now_s, **options))

    def ask(self, name, cost_s=1.0, *, hint=True, **options):
        ticket = next(self.tickets)
        self.owner[ticket], self.cost_s[ticket] = name, cost_s
        expected_s = cost_s if hint else None
        asked = self.budget.ask(name, ticket, now_s=self.now_s, expected_s=expected_s, **options)
        self.took(asked)
        return ticket

    def took(self, tickets):
        for ticket in tickets:
            self.starts.append((self.now_s, self.owner[ticket], ticket))
            self.ends_s[ticket] = self.now_s + self.cost_s[ticket]

    def end_next(self):
        """Let the next unit end; return its build."""
        ticket = min(self.ends_s, key=self.ends_s.__getitem__)
        self.now_s = self.ends_s.pop(ticket)
        name = self.owner[ticket]
        self.had_s[name] = self.had_s.get(name, 0.0) + self.cost_s[ticket]
        self.took(self.budget.release(ticket, now_s=self.now_s))
        self.budget.check()
        return name


def why(budget, ticket, now_s=0.0):
    wait = budget.waiting(ticket, now_s=now_s)
    assert wait is not None, f"{ticket} does not wait"
    return wait


def started(driver):
    return [name for _, name, _ in driver.starts]


def test_units_never_run_beyond_the_capacity():
    driver = Driver(3)
    driver.join("a")
    for _ in range(10):
        driver.ask("a")
    assert started(driver) == ["a"] * 3
    assert driver.budget.running_cores == 3


def test_a_larger_capacity_is_used_at_once_and_a_smaller_one_as_units_end():
    driver = Driver(2)
    for _ in range(10):
        driver.ask("a")
    driver.took(driver.budget.set_capacity(4, now_s=0.0))
    assert driver.budget.running_cores == 4
    assert driver.budget.set_capacity(1, now_s=0.0) == []
    for _ in range(3):
        driver.end_next()
    assert driver.budget.running_cores == 1


@pytest.mark.parametrize("capacity", [0, 1, 4])
def test_alone_any_unit_runs_however_large(capacity):
    budget = Budget(capacity)
    assert budget.ask("a", 1, now_s=0.0, cores=99) == [1]
    assert budget.ask("a", 2, now_s=0.0) == []
    assert budget.release(1, now_s=1.0) == [2]


def test_a_build_runs_no_more_than_its_own_cap_and_leaves_the_rest():
    driver = Driver(8)
    driver.join("capped", cap=2)
    driver.join("free")
    for name in ["capped", "free"] * 8:
        driver.ask(name)
    assert started(driver).count("capped") == 2
    assert started(driver).count("free") == 6


def test_a_unit_larger_than_its_builds_cap_runs_when_the_build_runs_nothing_else():
    budget = Budget(8)
    budget.join("a", now_s=0.0, cap=2)
    assert budget.ask("a", 1, now_s=0.0) == [1]
    assert budget.ask("a", 2, now_s=0.0, cores=4) == []
    assert why(budget, 2).why is Why.OWN_CAP
    assert budget.release(1, now_s=1.0) == [2]


def test_a_unit_behind_one_that_its_builds_cap_keeps_back_waits_for_its_own_build():
    budget = Budget(8)
    budget.join("a", now_s=0.0, cap=2)
    for ticket, cores in ((1, 1), (2, 2), (3, 1)):
        budget.ask("a", ticket, now_s=0.0, cores=cores)
    assert (why(budget, 2).why, why(budget, 3).why) == (Why.OWN_CAP, Why.OWN_CAP)


def test_within_a_build_the_longest_chain_goes_first_and_what_is_not_known_before_it():
    driver = Driver(1)
    first = driver.ask("a")
    tickets = [driver.ask("a", rank_s=rank_s) for rank_s in (1.0, 9.0, None, 5.0, None, 9.0)]
    while driver.ends_s:
        driver.end_next()
    order = [ticket for _, _, ticket in driver.starts]
    assert order == [first, *(tickets[i] for i in (2, 4, 1, 5, 3, 0))]


def test_an_interactive_unit_gets_the_next_core_before_all_batch():
    driver = Driver(2)
    for i in range(40):
        driver.join(f"b{i}")
        driver.ask(f"b{i}")
        driver.ask(f"b{i}")
    driver.end_next()
    driver.join("me", priority=INTERACTIVE)
    driver.ask("me")
    driver.end_next()
    assert started(driver)[-1] == "me"


def test_a_build_can_change_its_priority_while_it_waits():
    driver = Driver(1)
    for name in ("a", "b", "c"):
        driver.join(name)
        driver.ask(name)
        driver.ask(name)
    assert driver.budget.set_priority("c", INTERACTIVE, now_s=0.0) == []
    assert driver.budget.set_priority("c", INTERACTIVE, now_s=0.0) == []
    assert driver.budget.set_priority("nobody", INTERACTIVE, now_s=0.0) == []
    driver.end_next()
    assert started(driver)[-1] == "c"


def test_batch_gets_its_part_beside_interactive_builds_that_never_stop():
    driver = Driver(4)
    driver.join("me", priority=INTERACTIVE)
    driver.join("agent")
    for _ in range(8):
        driver.ask("me")
        driver.ask("agent")
    for _ in range(1600):
        driver.ask(driver.end_next())
    part = driver.had_s["agent"] / sum(driver.had_s.values())
    weight = WEIGHTS[BATCH] / sum(WEIGHTS.values())
    assert part == pytest.approx(weight, rel=0.1)


def test_builds_go_one_after_another_and_the_small_ones_first():
    driver = Driver(1, grace_s=0.0)
    for name, work_s in (("large", 100.0), ("small", 5.0), ("unknown", None)):
        driver.join(name, work_s=work_s)
        for _ in range(5):
            driver.ask(name, 0.1)
    while driver.ends_s:
        driver.end_next()
    order = [name for name, _ in itertools.groupby(started(driver)) if name != "large"]
    assert order[0] == "small"
    last = {name: index for index, name in enumerate(started(driver))}
    assert last["small"] < last["unknown"] < last["large"]


def test_a_chain_that_outlasts_all_the_rest_goes_before_its_turn():
    driver = Driver(2, grace_s=0.0)
    driver.join("short", work_s=20.0)
    driver.join("long", work_s=40.0)
    for _ in range(20):
        driver.ask("short", rank_s=1.0)
    ticket = driver.ask("long", rank_s=40.0)
    driver.end_next()
    assert driver.starts[-1][2] == ticket


@pytest.mark.parametrize("builds", [2, 8, 40])
def test_dealt_out_evenly_everybody_has_the_same(builds):
    driver = Driver(32, even_share=1.0)
    for i in range(builds):
        driver.join(f"b{i}")
    for i in range(builds):
        for n in range(34):
            driver.ask(f"b{i}", 0.5 + (i * 7 + n * 3) % 10 / 5)
    for n in range(4000):
        driver.ask(driver.end_next(), 0.5 + n % 10 / 5)
    had = list(driver.had_s.values())
    assert len(had) == builds
    assert sum(had) ** 2 / (builds * sum(x * x for x in had)) >= 0.95


@pytest.mark.parametrize("hint", [True, False])
def test_who_comes_late_gets_its_share_from_then_on_and_no_more(hint):
    driver = Driver(4, even_share=1.0)
    driver.join("early")
    driver.join("late")
    for _ in range(8):
        driver.ask("early", hint=hint)
    for _ in range(1000):
        driver.ask(driver.end_next(), hint=hint)
    for _ in range(8):
        driver.ask("late", hint=hint)
    driver.had_s.clear()
    for _ in range(200):
        driver.ask(driver.end_next(), hint=hint)
    assert driver.had_s["late"] == pytest.approx(100, abs=8)


def test_a_wrong_expectation_is_made_good_when_the_unit_ends():
    driver = Driver(1, even_share=1.0)
    for name in ("a", "b"):
        driver.join(name)
    driver.budget.ask("a", 1001, now_s=0.0, expected_s=500.0)
    driver.budget.ask("b", 1002, now_s=0.0, expected_s=1.0)
    driver.budget.ask("a", 1003, now_s=0.0, expected_s=1.0)
    driver.budget.ask("b", 1004, now_s=0.0, expected_s=1.0)
    assert driver.budget.release(1001, now_s=0.1) == [1002]
    assert driver.budget.release(1002, now_s=1.1) == [1003]


@settings(max_examples=30, deadline=None)
@given(
    costs=st.lists(st.floats(0.1, 5.0), min_size=1, max_size=20),
    builds=st.integers(1, 5),
    cores=st.integers(1, 4),
    interactive=st.booleans(),
)
def test_a_build_that_waits_is_served_within_the_bound(costs, builds, cores, interactive):
    """The bound is the one of docs/design/budget.md#nobody-starves."""
    driver = Driver(cores)
    driver.join("mine", work_s=1e6)
    for i in range(builds):
        driver.join(f"b{i}", work_s=0.0)
    if interactive:
        driver.join("me", priority=INTERACTIVE)
    cost = itertools.cycle(costs)
    for name in ["me"] * interactive + [f"b{i}" for i in range(builds)] + ["mine"]:
        for _ in range(cores + 1):
            driver.ask(name, next(cost))
    longest_s = max(costs)
    weight = 1 + (WEIGHTS[INTERACTIVE] if interactive else 0)
    bound_s = weight * ((2 * builds + 2) / EVEN_SHARE + cores) * longest_s
    waited_s = handed_out_s = 0.0
    while handed_out_s < 1.2 * bound_s:
        seen = len(driver.starts)
        driver.ask(driver.end_next(), next(cost))
        for _, name, ticket in driver.starts[seen:]:
            handed_out_s += driver.cost_s[ticket]
            waited_s = 0.0 if name == "mine" else waited_s + driver.cost_s[ticket]
            assert waited_s <= bound_s
    assert "mine" in started(driver)


@pytest.mark.parametrize("large", [2, 5, 8])
def test_a_unit_that_needs_several_cores_is_passed_by_no_more_than_the_capacity(large):
    driver = Driver(8, even_share=1.0)
    for name in ("small", "large"):
        driver.join(name)
    for n in range(24):
        driver.ask("small", 1.0 + n / 100)
    ticket = driver.ask("large", cores=large)
    passed = 0
    while all(one != ticket for _, _, one in driver.starts):
        assert why(driver.budget, ticket).why in (Why.CORES, Why.ROOM)
        seen = len(driver.starts)
        driver.ask(driver.end_next(), 1.1)
        passed += len(driver.starts) - seen
    assert passed <= 8 + large


def test_while_cores_are_cleared_small_units_wait_and_know_why():
    driver = Driver(2, even_share=1.0)
    for name in ("small", "large", "other"):
        driver.join(name)
    for n in range(8):
        driver.ask("small", 1.0 + n / 10)
    ticket = driver.ask("large", cores=2)
    for _ in range(4):
        driver.ask("other")
    while driver.budget.running_cores == 2:
        driver.end_next()
    text = why(driver.budget, ticket, driver.now_s).text
    assert text.startswith("waiting for cores to be cleared: 1 of 2 cores busy, this needs 2")
    waits = [driver.budget.waiting(one, now_s=driver.now_s) for one in driver.owner]
    small = [wait for wait in waits if wait and wait.cores == 1]
    assert {wait.why for wait in small} == {Why.CLEARING}
    assert "while cores are cleared for a larger unit" in small[0].text
    driver.budget.release(ticket, now_s=driver.now_s)
    driver.budget.check()
    assert driver.budget.running_cores == 2


def test_the_first_in_turn_keeps_its_core_until_its_cargo_had_time_to_ask():
    budget = in_turn()
    assert budget.release(3, now_s=3.0) == []
    assert budget.due_s == 3.0 + GRACE_S
    assert budget.ask("first", 5, now_s=3.01) == [5]
    assert budget.due_s is None
    assert budget.release(5, now_s=3.1) == []
    budget.check()
    assert budget.tick(now_s=3.1 + GRACE_S / 2) == []
    assert budget.tick(now_s=3.1 + GRACE_S) == [4]


def in_turn():
    """One core: the even lane has had its part, the first in turn runs, the second waits."""
    budget = Budget(1)
    budget.join("first", now_s=0.0, work_s=10.0)
    budget.join("second", now_s=0.0, work_s=20.0)
    assert budget.ask("first", 1, now_s=0.0) == [1]
    budget.ask("second", 2, now_s=0.0)
    assert budget.release(1, now_s=1.0) == [2]
    budget.ask("first", 3, now_s=1.0)
    budget.ask("second", 4, now_s=1.0)
    assert budget.release(2, now_s=2.0) == [3]
    return budget


@pytest.mark.parametrize("change", ["leave", "move"])
def test_a_kept_core_is_free_when_its_build_leaves_or_moves(change):
    budget = in_turn()
    assert budget.release(3, now_s=3.0) == []
    if change == "leave":
        assert budget.leave("first", now_s=3.0) == [4]
    else:
        assert budget.set_priority("first", INTERACTIVE, now_s=3.0) == [4]


def test_the_even_lane_has_its_part_though_the_first_in_turn_always_asks_again():
    budget = in_turn()
    now_s, first, second = 2.0, 3, 0
    for ticket in range(10, 110):
        now_s += 1.0
        granted = budget.release(first, now_s=now_s)
        if granted:
            second += 1
            budget.ask("second", 1000 + ticket, now_s=now_s)
            now_s += 1.0
            budget.ask("first", ticket, now_s=now_s)
            assert budget.release(granted[0], now_s=now_s) == [ticket]
        else:
            assert budget.ask("first", ticket, now_s=now_s) == [ticket]
        first = ticket
    assert second == pytest.approx(100 * EVEN_SHARE, abs=2)


def test_held_nothing_starts_and_everybody_knows():
    budget = Budget(2)
    budget.join("a", now_s=0.0)
    budget.hold(True, now_s=0.0)
    assert budget.ask("a", 1, now_s=0.0) == []
    budget.check()
    assert why(budget, 1, 3.0).text == "waiting: the machine is held (for 3.0 s)"
    assert budget.hold(False, now_s=4.0) == [1]
    assert budget.waiting(1, now_s=4.0) is None
    assert budget.waiting(99, now_s=4.0) is None


def test_a_wait_names_who_is_ahead():
    driver = Driver(1)
    for i in range(5):
        driver.join(f"b{i}")
        driver.ask(f"b{i}")
        driver.ask(f"b{i}")
    driver.join("me", priority=INTERACTIVE)
    driver.ask("me")
    wait = why(driver.budget, 10, 2.0)
    assert wait.ahead == ("me", "b0", "b1", "b2", "b3")
    assert wait.text == (
        "waiting for a core: 1 of 1 core busy; behind me, b0, b1 and 2 more and 1 unit of its own "
        "build (for 2.0 s)"
    )


def test_a_build_at_its_cap_waits_for_itself():
    driver = Driver(4)
    driver.join("a", cap=1)
    driver.ask("a")
    ticket = driver.ask("a")
    text = why(driver.budget, ticket).text
    assert text == "waiting for this build's own units: it runs as many as it may (for 0.0 s)"


def test_the_report_tells_what_each_has_and_its_share():
    driver = Driver(4)
    for name in ("a", "b"):
        driver.join(name)
        for _ in range(4):
            driver.ask(name)
    a, b = driver.budget.report()
    assert (a.share_cores, b.share_cores) == (2.0, 2.0)
    assert (a.running + b.running, a.waiting + b.waiting) == (4, 4)
    assert (a.is_guest, a.priority, len(driver.budget.running())) == (False, BATCH, 4)


def test_joining_twice_and_releasing_twice_change_nothing():
    budget = Budget(2)
    budget.join("a", now_s=0.0)
    budget.join("a", now_s=0.0)
    assert budget.ask("a", 1, now_s=0.0) == [1]
    assert budget.ask("a", 1, now_s=0.0) == []
    budget.release(1, now_s=1.0)
    assert budget.release(1, now_s=1.0) == []
    assert budget.leave("a", now_s=1.0) == []
    assert budget.leave("a", now_s=1.0) == []
    assert budget.report() == []


def test_units_of_a_build_that_has_left_run_on_and_are_counted():
    budget = Budget(1)
    budget.join("a", now_s=0.0)
    budget.ask("a", 1, now_s=0.0)
    budget.ask("a", 2, now_s=0.0)
    assert budget.leave("a", now_s=0.0) == []
    assert budget.report()[0].is_guest
    assert budget.running_cores == 1
    assert budget.release(1, now_s=1.0) == [2]
    budget.release(2, now_s=2.0)
    assert budget.report() == []


def test_a_unit_of_an_unknown_build_is_served_and_a_late_join_makes_the_build_known():
    budget = Budget(1)
    assert budget.ask("stray", 1, now_s=0.0) == [1]
    assert budget.report()[0].is_guest
    budget.join("stray", now_s=0.0, priority=INTERACTIVE)
    budget.check()
    assert not budget.report()[0].is_guest
    assert budget.set_priority("stray", BATCH, now_s=0.0) == []
    budget.release(1, now_s=1.0)
    assert budget.leave("stray", now_s=1.0) == []
