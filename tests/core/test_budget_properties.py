"""Whatever happens in whatever order, nothing is lost, doubled, or left waiting without reason."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from forge.core.budget import Budget
from forge.core.shares import Priority
from forge.core.waits import Why

NAMES = st.sampled_from(["a", "b", "c", "d"])
PRIORITIES = st.sampled_from(list(Priority))
TICKETS = st.integers(1, 12)
CORES = st.sampled_from([1, 1, 1, 1, 2, 3, 9])


class Machine(RuleBasedStateMachine):
    """Joins, asks, releases, crashes and changes in random order; time only goes forward."""

    @initialize(capacity=st.integers(0, 5), even_share=st.sampled_from([0.1, 0.5, 1.0]))
    def begin(self, capacity, even_share):
        self.budget = Budget(capacity, even_share=even_share)
        self.now_s = 0.0
        self.asked: dict[int, int] = {}  # cores, by ticket that waits
        self.runs: dict[int, int] = {}

    def took(self, granted):
        for ticket in granted:
            assert ticket in self.asked, "granted twice, or never asked for"
            self.runs[ticket] = self.asked.pop(ticket)
        if granted:
            is_within = sum(self.runs.values()) <= self.budget.capacity
            assert is_within or len(self.runs) == 1, "more runs than the capacity allows"

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds):
        self.now_s += seconds
        self.took(self.budget.tick(now_s=self.now_s))

    @rule(name=NAMES, priority=PRIORITIES, cap=st.one_of(st.none(), st.integers(0, 3)),
          work_s=st.one_of(st.none(), st.floats(0, 100)))  # fmt: skip
    def join(self, name, priority, cap, work_s):
        self.took(
            self.budget.join(name, now_s=self.now_s, priority=priority, cap=cap, work_s=work_s)
        )

    @rule(name=NAMES)
    def leave(self, name):
        self.took(self.budget.leave(name, now_s=self.now_s))

    @rule(name=NAMES, ticket=TICKETS, cores=CORES,
          expected_s=st.one_of(st.none(), st.floats(-1, 1e9)),
          rank_s=st.one_of(st.none(), st.floats(0, 1e6)))  # fmt: skip
    def ask(self, name, ticket, cores, expected_s, rank_s):
        if ticket not in self.runs:
            self.asked.setdefault(ticket, cores)
        hints = {"cores": cores, "expected_s": expected_s, "rank_s": rank_s}
        self.took(self.budget.ask(name, ticket, now_s=self.now_s, **hints))

    @rule(ticket=TICKETS)
    def release(self, ticket):
        self.asked.pop(ticket, None)
        self.runs.pop(ticket, None)
        self.took(self.budget.release(ticket, now_s=self.now_s))

    @rule(capacity=st.integers(0, 5))
    def set_capacity(self, capacity):
        self.took(self.budget.set_capacity(capacity, now_s=self.now_s))

    @rule(name=NAMES, priority=PRIORITIES)
    def set_priority(self, name, priority):
        self.took(self.budget.set_priority(name, priority, now_s=self.now_s))

    @rule(on=st.booleans())
    def hold(self, on):
        self.took(self.budget.hold(on, now_s=self.now_s))

    @invariant()
    def all_is_accounted_for(self):
        self.budget.check()
        assert set(self.budget.running()) == self.runs.keys()
        assert self.budget.running_cores == sum(self.runs.values())
        report = self.budget.report()
        assert sum(one.waiting for one in report) == len(self.asked)
        assert sum(one.share_cores for one in report) <= self.budget.capacity + 1e-6

    @invariant()
    def what_waits_has_a_reason_that_holds(self):
        waits = [self.budget.waiting(one, now_s=self.now_s) for one in self.asked]
        busy = self.budget.running_cores >= self.budget.capacity and self.budget.running_cores > 0
        for wait in waits:
            assert wait is not None
            assert wait.text
            if wait.why is Why.CORES and self.budget.due_s is None:
                assert busy, f"a core is idle and nothing says why: {wait}"
            if wait.why is Why.CLEARING:
                assert Why.ROOM in [one.why for one in waits if one], "cleared for nobody"
            if wait.why is Why.ROOM:
                assert wait.cores > 1, "cores are cleared for a unit that needs one"

    def teardown(self):
        """However it came to this: all that waits still gets its turn, and all is returned."""
        self.took(self.budget.hold(False, now_s=self.now_s))
        while self.asked or self.runs:
            self.now_s += 1.0
            self.took(self.budget.tick(now_s=self.now_s))
            assert self.runs, "nothing runs and something waits"
            self.release(next(iter(self.runs)))
            self.budget.check()
        for name in ("a", "b", "c", "d"):
            self.took(self.budget.leave(name, now_s=self.now_s))
        assert self.budget.report() == []
        assert self.budget.running_cores == 0
        assert self.budget.due_s is None


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
