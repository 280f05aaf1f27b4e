"""Launchers, cargos, gates and the daemon die in any order, and nothing is lost or doubled.

The world here keeps to the protocol, so that builds get far: who is alive, what asks and what runs.
What the core believes is compared with it after each step; `test_state_properties.py` sends it
nonsense.
"""

from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from forge.core import actions, events, messages
from forge.core.behind import What
from forge.core.moment import Moment
from forge.core.workspace import Workspace
from tests.core.driver import Driver
from tests.core.driver import settings as given_settings

PICK = st.integers(0, 99)


@dataclass(eq=False)
class Launcher:
    """A launcher and its cargo. `phase`: waiting, granted, running, over."""

    pid: int
    root: str
    conn: int | None = None
    build: str | None = None
    phase: str = "waiting"
    lender: str | None = None
    parent: str | None = None
    is_alive: bool = True
    has_cargo: bool = False


@dataclass(eq=False)
class Gate:
    """A gate. `goes` counts how often it was let in since it asked."""

    conn: int
    message: Any
    cores: int
    lender: str | None = None
    runs: bool = False
    goes: int = 0


class World(RuleBasedStateMachine):
    """What is alive beside the daemon, and the daemon."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = count(1)
        self.cores = 2
        self.held = False
        self.launchers: list[Launcher] = []
        self.gates: dict[int, Gate] = {}
        self.strangers: list[Launcher | Gate] = []  # whom the present daemon does not know yet
        self.begin_daemon(1)

    # The daemon

    def begin_daemon(self, next_build):
        self.driver = Driver(self.settings())
        self.driver.state.leases.next_build = next_build
        self.heard = len(self.driver.sent)

    def settings(self):
        return given_settings(disk=None, cores=self.cores, builds_at_once=2)

    def post(self, event):
        """Give the daemon an event, and let everybody hear what it says."""
        self.driver.post(event)
        new, self.heard = self.driver.sent[self.heard :], len(self.driver.sent)
        for conn, message in new:
            self.hear(conn, message)

    def hear(self, conn, message):
        launcher = next((one for one in self.launchers if one.conn == conn), None)
        kind = message["type"]
        if kind == "go" and launcher:
            assert launcher.phase == "waiting", "a build was granted twice"
            launcher.phase, launcher.build = "granted", message["build"]
        elif kind == "go":
            gate = self.gates.get(conn)
            assert gate, "somebody was let in who is not there"
            gate.goes += 1
            gate.runs = True
            assert gate.goes == 1, "a gate was let in twice"
            assert self.driver.state.gates.behind[conn].runs
            if gate.cores and not gate.message.running and not gate.lender:
                budget = self.driver.state.gates.budget
                assert not self.held, "a unit started while the machine is held"
                assert budget.running_cores <= self.cores or len(budget.running()) == 1
        elif kind == "adopted" and launcher:
            launcher.build = message["build"]
        elif kind == "end" and launcher and not launcher.has_cargo:
            self.leave(launcher)

    # Rules

    @rule(root=st.sampled_from(["/a", "/b", "/c", "/d"]), verb=st.sampled_from(["build", "test"]),
          priority=st.sampled_from(["batch", "interactive"]), starts=st.booleans())  # fmt: skip
    def launch(self, root, verb, priority, starts):
        one = Launcher(next(self.numbers), root)
        self.begin(one, verb, {"FORGE_PRIORITY": priority})
        if starts and one.phase == "granted":
            self.start_cargo(one)

    @precondition(lambda self: self.tests())
    @rule(pick=PICK)
    def launch_inside_a_test(self, pick):
        outer = self.picked(self.tests(), pick).message.build
        number = next(self.numbers)
        one = Launcher(number, f"/inner/{number}", lender=outer, parent=outer)
        self.begin(one, "build", {"FORGE_TEST": outer})
        if one.phase == "granted":
            self.start_cargo(one)
            for _ in range(pick % 4):
                self.gate_asks_of(one, "unit", 1)

    @precondition(lambda self: self.those("granted"))
    @rule(pick=PICK)
    def cargo_starts(self, pick):
        self.start_cargo(self.picked(self.those("granted"), pick))

    @precondition(lambda self: self.those("running"))
    @rule(pick=PICK, what=st.sampled_from(["unit", "unit", "link", "test", "test"]),
          threads=st.integers(1, 3), times=st.integers(1, 4))  # fmt: skip
    def gates_ask(self, pick, what, threads, times):
        one = self.picked(self.those("running"), pick)
        for _ in range(times if what == "unit" else 1):
            self.gate_asks_of(one, what, threads)

    @precondition(lambda self: self.those("running"))
    @rule(pick=PICK, tests=st.integers(1, 3))
    def tests_build(self, pick, tests):
        """Tests of one core each start, and the first builds: trybuild does that."""
        one = self.picked(self.those("running"), pick)
        self.gate_asks_of(one, "test", 1)
        if self.tests() and not one.lender:
            self.launch_inside_a_test(3)
            for _ in range(tests):
                self.gate_asks_of(one, "test", 1)

    @precondition(lambda self: self.running())
    @rule(pick=PICK, exit_code=st.sampled_from([0, 101]))
    def gate_ends(self, pick, exit_code):
        gate = self.picked(self.running(), pick)
        self.post(events.Received(gate.conn, messages.UnitEnded(exit=exit_code, user_s=1.0)))
        self.gate_closes(gate)

    @precondition(lambda self: self.gates)
    @rule(pick=PICK, inside=st.booleans())
    def gate_dies(self, pick, inside):
        gates = list(self.gates.values())
        lent = [gate for gate in gates if gate.lender]
        self.gate_closes(self.picked(lent if inside and lent else gates, pick))

    @precondition(lambda self: self.those("running"))
    @rule(pick=PICK, exit_code=st.sampled_from([0, 101]))
    def build_ends(self, pick, exit_code):
        one = self.picked(self.those("running"), pick)
        one.has_cargo = False
        self.post(events.Received(one.conn, messages.Ended(exit=exit_code)))
        self.leave(one)

    @precondition(lambda self: self.known())
    @rule(pick=PICK, closed_first=st.booleans())
    def launcher_is_killed(self, pick, closed_first):
        self.kill_launcher(self.picked(self.known(), pick), closed_first)

    def kill_launcher(self, one, closed_first):
        one.is_alive = False
        name, conn, one.conn = one.build or self.name_on(one.conn), one.conn, None
        end = [events.Closed(conn), events.Gone(f"{name}/launcher", one.pid)]
        for event in end if closed_first else end[::-1]:
            self.post(event)
        one.phase = "orphaned" if one.has_cargo else "over"
        self.forget_the_dead()

    @precondition(lambda self: self.with_cargo())
    @rule(pick=PICK, tells=st.booleans())
    def cargo_dies(self, pick, tells=True):
        one = self.picked(self.with_cargo(), pick)
        one.has_cargo = False
        self.post(events.Gone(f"{one.build}/cargo", one.pid + 10_000))
        self.forget_the_dead()
        if one.is_alive and one.conn is not None and tells:
            self.post(events.Received(one.conn, messages.Ended(signal=9)))
            self.leave(one)
        elif one.is_alive and one.conn is not None:
            self.kill_launcher(one, closed_first=False)

    @precondition(lambda self: self.those("running"))
    @rule(pick=PICK)
    def connection_is_lost(self, pick):
        one = self.picked(self.those("running"), pick)
        conn, one.conn = one.conn, None
        self.post(events.Closed(conn))
        self.strangers.append(one)

    @rule(back=st.integers(0, 9))
    def daemon_restarts(self, back):
        """A new daemon begins; `back` of those that live reach it before anything else happens."""
        number = self.driver.state.leases.next_build
        for one in self.launchers:
            if one.conn is not None and one.phase == "running":
                self.strangers.append(one)
        self.launchers = [one for one in self.launchers if one.is_alive and one.phase == "running"]
        for one in self.launchers:
            one.conn = None
        self.strangers += self.gates.values()
        self.strangers = [one for one in self.strangers if not self.is_over(one)]
        self.gates = {}
        self.held = False
        self.begin_daemon(number)
        for pick in range(min(back, len(self.strangers))):
            self.stranger_comes_back(pick * 7)

    @precondition(lambda self: self.strangers)
    @rule(pick=PICK)
    def stranger_comes_back(self, pick):
        one = self.picked(self.strangers, pick)
        self.strangers.remove(one)
        if isinstance(one, Gate):
            return self.ask(replace(one.message, running=one.runs))
        one.conn = next(self.numbers)
        self.post(events.Received(one.conn, messages.Adopt(
            pid=one.pid, build=one.build, cargo_pid=one.pid + 10_000, cwd="/", argv=["build"],
            parent=one.parent,
        )))  # fmt: skip
        if not one.has_cargo:  # it died meanwhile
            self.post(events.Received(one.conn, messages.Ended(signal=9)))
            self.leave(one)
        return None

    @rule(on=st.booleans())
    def hold(self, on):
        self.held = on
        self.post(events.Received(900_000, messages.Hold(on=on)))

    @precondition(lambda self: self.driver.state.builds)
    @rule(pick=PICK, priority=st.sampled_from(["batch", "interactive"]))
    def set_priority(self, pick, priority):
        build = self.picked(list(self.driver.state.builds), pick)
        self.post(
            events.Received(900_000, messages.SetPriority(build=build, priority=priority))
        )  # fmt: skip

    @precondition(lambda self: self.driver.state.builds)
    @rule(pick=PICK)
    def cancel(self, pick):
        builds = list(self.driver.state.builds.values())
        build = self.picked(builds, pick)
        inside = [one for one in builds if one.parent == build.id]
        self.post(events.Received(900_000, messages.CancelBuild(build=build.id)))
        for one in [build, *inside]:
            assert one.is_cancelled or one.id not in self.driver.state.builds, "it goes on"

    @rule(cores=st.integers(1, 5))
    def set_cores(self, cores):
        self.cores = cores
        self.post(events.SettingsLoaded(self.settings()))

    @rule(passed_s=st.sampled_from([0.01, 0.06, 0.3, 2.0, 60.0]))
    def time_passes(self, passed_s):
        self.driver.now_s += passed_s
        self.post(events.Tick())

    # What must hold

    @invariant()
    def the_core_knows_what_runs_and_waits(self):
        state = self.driver.state
        behind = state.gates.behind
        assert behind.keys() == self.gates.keys()
        assert {conn for conn, one in behind.items() if one.runs} == {
            conn for conn, one in self.gates.items() if one.runs
        }
        on_budget = [one for one in behind.values() if one.runs and not one.lender]
        cores = sum(one.cores for one in on_budget if one.what is not What.LINK)
        assert state.gates.budget.running_cores == cores
        lent = {conn for conn, gate in self.gates.items() if gate.lender and gate.runs}
        assert state.gates.lent.running() == lent
        assert state.gates.lent.waiting() == {
            conn for conn, gate in self.gates.items() if gate.lender and not gate.runs
        }

    @invariant()
    def whoever_is_known_has_somebody_behind_it(self):
        builds = self.driver.state.builds
        alive = {one.build or self.name_on(one.conn) for one in self.launchers}
        assert builds.keys() <= alive, "a build is known whose launcher and cargo are gone"
        for one in self.launchers:
            if one.conn is not None:
                assert self.name_on(one.conn) in builds, "a build is forgotten that is alive"

    @invariant()
    def something_runs_or_is_about_to(self):
        state = self.driver.state
        waiting = [one for one in state.gates.behind.values() if not one.runs]
        on_budget = [one for one in waiting if not one.lender]
        if on_budget and not self.held:
            budget = state.gates.budget
            assert budget.running_cores or budget.due_s is not None, "all wait and nothing runs"
        admitted = state.line.admission._admitted
        assert admitted or self.held or not state.line.admission.line(), "they wait for nobody"
        for build in state.builds.values():
            is_at_work = build.phase == "running" and not build.is_compiled
            assert build.id in admitted or not is_at_work, f"{build.id} is at work uncounted"
        for lender in {one.lender for one in waiting if one.lender}:
            tests = [one.cores for one in state.gates.of(lender, What.TEST, running=True)]
            lent = [one for one in state.gates.behind.values() if one.lender == lender and one.runs]
            assert len(lent) >= sum(tests), f"cores of the tests of {lender} are idle"
        for one in waiting:
            assert state.gates.why_waits(one, now_of(self.driver))

    def teardown(self):
        """All that is left gets its turn, whatever has happened, and ends; nothing is kept."""
        self.hold(False)
        while self.strangers:
            self.stranger_comes_back(0)
        for _ in range(10_000):
            if not (self.launchers or self.gates):
                break
            self.end_something()
        state = self.driver.state
        assert not self.gates and not self.launchers, "somebody waits for ever"
        assert not state.builds and not state.gates.behind
        assert not state.gates.crowd.by_build and not state.gates.recorders
        assert not state.gates.budget.report() and not state.gates.budget.running_cores
        assert not state.gates.lent._accounts and not state.jobservers.tokens.accounts
        assert not state.line.in_order() and not state.line.admission._admitted
        assert not state.leases._by_conn
        watched = {one.key for one in self.driver.asked(actions.Watch)}
        assert watched <= {one.key for one in self.driver.asked(actions.Unwatch)}

    def end_something(self):
        self.driver.now_s += 1.0
        self.post(events.Tick())
        if self.running():
            self.gate_ends(0, 0)
        elif self.those("granted"):
            self.cargo_starts(0)
        elif any(not gate.runs for gate in self.gates.values()):
            pass
        elif self.those("running"):
            self.build_ends(0, 0)
        elif self.with_cargo():
            self.cargo_dies(0)

    # The world

    def begin(self, one, verb, env):
        one.conn = next(self.numbers)
        self.launchers.append(one)
        begin = messages.Begin(
            pid=one.pid, cwd="/", argv=[verb], env=env, parent=one.parent
        )  # fmt: skip
        self.post(events.Received(one.conn, begin))
        self.post(events.Resolved(one.conn, Workspace(one.root)))

    def start_cargo(self, one):
        one.phase, one.has_cargo = "running", True
        self.post(events.Received(one.conn, messages.Started(pid=one.pid + 10_000)))

    def gate_asks_of(self, one, what, threads):
        of: dict[str, Any] = {"build": one.build, "pid": 1}
        match what:
            case "unit":
                self.ask(messages.Unit(crate="c", kinds=["lib"], lender=one.lender, **of))
            case "link":
                self.ask(messages.Link(**of))
            case "test" if not one.lender:  # inside a test, a test does not ask
                self.ask(messages.Test(binary="/t", name="t", threads=threads, **of))
            case _:
                pass

    def ask(self, message):
        conn = next(self.numbers)
        cores = 0 if isinstance(message, messages.Link) else 1
        self.gates[conn] = Gate(conn, message, cores, getattr(message, "lender", None))
        self.post(events.Received(conn, message))

    def gate_closes(self, gate):
        del self.gates[gate.conn]
        self.post(events.Closed(gate.conn))

    def leave(self, one):
        """A launcher ends, whose cargo is over or never was."""
        conn, one.conn, one.is_alive, one.phase = one.conn, None, False, "over"
        self.forget_the_dead()
        if conn is not None:
            self.post(events.Closed(conn))

    def forget_the_dead(self):
        self.launchers = [one for one in self.launchers if one.is_alive or one.has_cargo]
        self.strangers = [one for one in self.strangers if not self.is_over(one)]

    def is_over(self, one):
        return isinstance(one, Launcher) and not one.is_alive

    def those(self, phase):
        return [one for one in self.launchers if one.phase == phase and one.conn is not None]

    def known(self):
        return [one for one in self.launchers if one.is_alive and one.conn is not None]

    def with_cargo(self):
        known = self.driver.state.builds
        return [one for one in self.launchers if one.has_cargo and one.build in known]

    def running(self):
        return [gate for gate in self.gates.values() if gate.runs]

    def tests(self):
        return [gate for gate in self.running() if isinstance(gate.message, messages.Test)]

    def picked(self, some, pick):
        return some[pick % len(some)]

    def name_on(self, conn):
        build = self.driver.state.leases.on(conn)
        return build.id if build else None


def now_of(driver):
    return Moment(driver.now_s, 1_700_000_000 + driver.now_s)


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
