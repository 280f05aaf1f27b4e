"""Whatever happens in whatever order, the invariants hold and nothing is left behind."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from forge.core import actions, disk_events, events, messages
from forge.core.disk import DiskUsage
from forge.core.memory import Reading, Swap
from forge.core.units import MIB
from forge.core.workspace import Workspace
from tests.core.driver import DISK, EMPTY, GIB, Driver
from tests.core.driver import settings as given_settings

CONNS = st.integers(1, 4)
FULL = DiskUsage(6 * GIB, 6 * GIB, 0, 10, 10)


class Daemon(RuleBasedStateMachine):
    """Sends any message at any time and answers actions late, wrongly, or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(given_settings(builds_at_once=2))

    @rule(conn=CONNS, verb=st.sampled_from(["build", "install", "metadata", "nextest"]),
          env=st.sampled_from([{}, {"FORGE_WAIT_TIMEOUT": "20"}, {"FORGE_TEST": "b1"},
                               {"FORGE_RESERVATION": "r1"}]),
          parent=st.sampled_from([None, None, "b1", "b2"]), requeues=st.booleans(),
          again=st.sampled_from([None, "b1/1/0", "b2/0/1", "nonsense"]))  # fmt: skip
    def begin(self, conn, verb, env, parent, requeues, again):
        self.driver.receive(
            conn,
            messages.Begin(
                pid=conn, cwd="/", argv=[verb], env=env, parent=parent, requeues=requeues,
                again=again,
            ),
        )  # fmt: skip

    @rule(conn=CONNS, root=st.sampled_from(["/a", "/b", None]))
    def resolved(self, conn, root):
        self.driver.post(events.Resolved(conn, Workspace(root)))

    @rule()
    def target_dirs_made(self):
        self.driver.make_target_dirs()

    @rule(conn=CONNS, lost=st.booleans())
    def target_dir_failed(self, conn, lost):
        self.driver.post(disk_events.TargetDirFailed(conn, "/mnt/builds/x", "no", disk_lost=lost))

    @rule(usage=st.sampled_from([EMPTY, FULL]))
    def disk_ready(self, usage):
        if self.driver.state.disk.is_changing:
            self.driver.post(disk_events.DiskReady(DISK, usage))

    @rule(lost=st.booleans())
    def disk_failed(self, lost):
        if self.driver.state.disk.is_changing or lost:
            self.driver.post(disk_events.DiskFailed("disk-unavailable", "no", lost=lost))

    @rule(token=st.sampled_from([DISK.token, "another"]))
    def disk_lost(self, token):
        self.driver.post(disk_events.DiskLost(token, "no"))

    @rule()
    def disk_unmounted(self):
        if self.driver.state.disk.phase == "unmounting":
            self.driver.post(disk_events.DiskUnmounted())

    @rule(conn=CONNS, verb=st.sampled_from(["mount", "unmount", "recreate", "resize", "status"]),
          force=st.booleans())  # fmt: skip
    def disk_request(self, conn, verb, force):
        self.driver.receive(conn, messages.DiskRequest(verb=verb, size_mib=100, force=force))

    @rule(conn=CONNS)
    def started(self, conn):
        self.driver.receive(conn, messages.Started(pid=conn + 50))

    @rule(conn=CONNS, code=st.sampled_from([0, 101]))
    def ended(self, conn, code):
        self.driver.receive(conn, messages.Ended(exit=code))

    @rule(conn=st.integers(1, 8), build=st.sampled_from(["b1", "b2", "b7"]), running=st.booleans(),
          what=st.sampled_from(["unit", "lent unit", "unit inside", "link", "test"]))  # fmt: skip
    def unit(self, conn, build, running, what):
        message: messages.Message
        match what:
            case "link":
                message = messages.Link(build=build, pid=1, running=running)
            case "test":
                message = messages.Test(
                    build=build, pid=1, binary="/t", name="t", threads=2, running=running
                )
            case _:
                lender = {"lent unit": "b1", "unit inside": "r1"}.get(what)
                message = messages.Unit(
                    build=build, pid=1, crate="c", kinds=["lib"], lender=lender, running=running
                )
        self.driver.receive(conn, message)

    @rule(conn=st.integers(1, 8), memory_mib=st.sampled_from([0, 100, 3000, 20000, 99999]),
          cores=st.integers(0, 3), priority=st.sampled_from(["interactive", "batch", "x"]),
          timeout_s=st.sampled_from([None, None, 0.0, 20.0]), running=st.booleans(),
          lender=st.sampled_from([None, None, "r1", "b1"]),
          reservation=st.sampled_from([None, "r1", "b1"]))  # fmt: skip
    def reserve(self, conn, memory_mib, cores, priority, timeout_s, running, lender, reservation):
        self.driver.receive(
            conn,
            messages.Reserve(
                pid=conn, cwd="/", argv0="x", memory_mib=memory_mib, cores=cores,
                priority=priority, wait_timeout_s=timeout_s, running=running, lender=lender,
                reservation=reservation,
            ),
        )  # fmt: skip

    @rule(conn=st.integers(1, 8))
    def reserve_ended(self, conn):
        self.driver.receive(conn, messages.ReserveEnded(exit=0))

    @rule(available_mib=st.sampled_from([500, 500, 12000]) | st.integers(0, 24000),
          used_mib=st.integers(0, 5000), kills=st.sampled_from([None, 0, 3]),
          passed_s=st.sampled_from([0, 0.5, 5]))  # fmt: skip
    def memory_measured(self, available_mib, used_mib, kills, passed_s):
        self.driver.now_s += passed_s
        held = [one.ticket for one in self.driver.state.gates.memory.reservations.holders()]
        reading = Reading(
            self.driver.now_s, 24576 * MIB, available_mib * MIB, Swap(None, None), oom_kills=kills
        )
        self.driver.post(events.MemoryMeasured(reading, dict.fromkeys(held[:2], used_mib * MIB)))

    @rule()
    def memory_unmeasured(self):
        self.driver.post(events.MemoryUnmeasured("no /proc"))

    @rule(conn=st.integers(1, 8))
    def cancelled(self, conn):
        self.driver.receive(conn, messages.Cancelled())

    @rule(build=st.sampled_from(["b1", "b2", "b3", "b9", "r1", "r2"]))
    def cancel(self, build):
        self.driver.receive(20, messages.CancelBuild(build=build))

    @rule(build=st.sampled_from(["b1", "b2", "b3", "b9"]),
          priority=st.sampled_from(["interactive", "batch", "x"]))  # fmt: skip
    def set_priority(self, build, priority):
        self.driver.receive(20, messages.SetPriority(build=build, priority=priority))

    @rule(on=st.booleans())
    def hold(self, on):
        self.driver.receive(20, messages.Hold(on=on))

    @rule(build=st.sampled_from(["b1", "b2", "b3"]), locked=st.booleans())
    def lock_seen(self, build, locked):
        self.driver.post(events.LockSeen(build, locked))

    @rule()
    def status(self):
        self.driver.receive(20, messages.Status())

    @rule(conn=st.integers(1, 8), ended=st.sampled_from([{"exit": 0}, {"exit": 1}, {"signal": 9}]))
    def unit_ended(self, conn, ended):
        self.driver.receive(conn, messages.UnitEnded(peak_kib=1 << 20, **ended))

    @rule(conn=CONNS, build=st.sampled_from(["b1", "b2", "b7", "nonsense"]))
    def adopt(self, conn, build):
        self.driver.receive(
            conn,
            messages.Adopt(pid=conn, build=build, cargo_pid=conn + 50, cwd="/", argv=["build"]),
        )

    @rule(conn=CONNS)
    def closed(self, conn):
        self.driver.post(events.Closed(conn))

    @rule(build=st.sampled_from(["b1", "b2", "b3"]), part=st.sampled_from(["launcher", "cargo"]))
    def gone(self, build, part):
        self.driver.post(events.Gone(f"{build}/{part}", 1))

    @rule(passed_s=st.floats(0, 60))
    def tick(self, passed_s):
        self.driver.now_s += passed_s
        self.driver.post(events.Tick())

    @invariant()
    def each_grant_is_given_once(self):
        granted = [m["build"] for _, m in self.driver.sent if m["type"] == "go" and "build" in m]
        assert len(granted) == len(set(granted))

    def teardown(self):
        """When all connections and processes are gone, so are all builds."""
        driver = self.driver
        for build in list(driver.state.builds.values()):
            if build.conn is not None:
                driver.post(events.Closed(build.conn))
        for build in list(driver.state.builds.values()):
            driver.post(events.Gone(build.launcher_key, build.pid))
            driver.post(events.Gone(build.cargo_key, build.cargo_pid or 0))
        for conn in list(driver.state.gates.behind):
            driver.post(events.Closed(conn))
        assert not driver.state.builds
        assert not driver.state.gates.budget.running_cores
        assert not driver.state.gates.budget.report()
        assert not driver.state.gates.memory.reservations.holders()
        assert not driver.state.reserved.by_id
        assert not driver.state.line.in_order()


TestDaemon = Daemon.TestCase
TestDaemon.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


@given(st.lists(st.sampled_from(["close", "launcher", "cargo", "ended"]), max_size=8))
def test_no_order_of_endings_leaves_a_watch_behind(endings):
    driver = Driver()
    build_id = driver.run(1)
    for one in [*endings, "close", "launcher", "cargo"]:
        if one == "close":
            driver.post(events.Closed(1))
        elif one == "ended" and 1 in {b.conn for b in driver.state.builds.values()}:
            driver.receive(1, messages.Ended(exit=0))
        elif one in ("launcher", "cargo"):
            driver.post(events.Gone(f"{build_id}/{one}", 1))
    assert not driver.state.builds
    unwatched = {one.key for one in driver.asked(actions.Unwatch)}
    assert unwatched == {one.key for one in driver.asked(actions.Watch)}
