"""The policies that share the virtual host's memory: the core of the daemon, and none at all."""

from collections import deque
from dataclasses import dataclass
from typing import Any

from forge.core import actions, events, messages
from forge.core.behind import What
from forge.core.memory import Reading, Swap
from forge.core.memory_map import propose
from forge.core.moment import Moment
from forge.core.settings import Settings
from forge.core.state import State
from forge.core.workspace import Workspace
from tests.sim.memory_day import Day
from tests.sim.memory_host import CORES, Host
from tests.sim.memory_ledger import TOTAL_BYTES
from tests.sim.memory_tasks import Task

EPOCH_S = 1_700_000_000.0
TICK_S = 1.0
READING_S = 0.004
"""From the question to the answer. The figures are of a moment in between."""

FIRST_GATE = 1_000_000
"""Connections of gates begin here; those of launchers are the numbers of their builds."""

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Decision:
    """A line of the daemon's log."""

    at_s: float
    name: str
    fields: dict[str, Any]


class ByForge:
    """Drives the core by messages and readings, and does what it asks for."""

    def __init__(self, host: Host, *, check_every: int = 1) -> None:
        self.host, self.check_every = host, check_every
        settings = Settings(
            disk=None, memory_map=propose(TOTAL_BYTES // MIB), cores=CORES, gates=False,
            jobserver_dir="/state/jobs",
        )  # fmt: skip
        self.state = State(settings)
        self.decisions: list[Decision] = []
        self._builds: dict[int, str] = {}
        self._queue: deque[events.Event] = deque()
        self._is_stepping = False
        self._ticked_s = 0.0

    def arrive(self, number: int) -> None:
        coming = self.host.day.builds[number]
        begin = messages.Begin(
            pid=number + 1, cwd="/", argv=[coming.verb], env={"FORGE_PRIORITY": coming.priority}
        )
        self._post(events.Received(number, begin))
        root = self.host.day.projects[coming.project].root
        self._post(events.Resolved(number, Workspace(root)))

    def ask(self, task: Task) -> None:
        build, conn = self._builds[task.build], FIRST_GATE + task.ticket
        if task.parent and task.link:
            self._post(events.Received(conn, messages.Link(
                build=build, pid=conn, crate=task.unit.crate, output=f"/t/deps/{task.name}",
                inputs=9, input_bytes=task.link.input_bytes, linker_kind="lld",
            )))  # fmt: skip
            return
        self._post(events.Received(conn, messages.Unit(
            build=build, pid=conn, crate=task.name, kinds=["bin" if task.link else "lib"],
        )))  # fmt: skip

    def ended(self, task: Task) -> None:
        kind = messages.LinkEnded if task.parent else messages.UnitEnded
        peak_kib = int(task.peak_bytes / 1024)
        conn = FIRST_GATE + task.ticket
        self._post(events.Received(conn, kind(exit=0, user_s=task.run_s, peak_kib=peak_kib)))
        self._post(events.Closed(conn))

    def cancelled(self, task: Task) -> None:
        self._post(events.Received(FIRST_GATE + task.ticket, messages.Cancelled()))

    def left(self, number: int) -> None:
        self._post(events.Received(number, messages.Ended(exit=0)))
        self._post(events.Closed(number))

    def tick(self) -> None:
        self._ticked_s = self.host.now_s
        self._post(events.Tick())

    def due_s(self) -> float:
        due_s = self.state.due_s
        usual_s = self._ticked_s + TICK_S * (1 if self.state.builds else 5)
        return usual_s if due_s is None else min(usual_s, max(due_s, self.host.now_s + 0.001))

    def check(self) -> None:
        """Assert what the core promises, by its own words and by what is seen from outside."""
        if self._is_stepping or self.host.events % self.check_every:
            return
        self.state.check()
        gates = self.state.gates
        holders = gates.memory.reservations.holders()
        asked = [gates.behind[one.ticket].want_bytes for one in holders]
        assert len(asked) <= 1 or sum(asked) <= gates.memory.reservations.buffer_bytes, (
            "links were granted beyond the buffer"
        )
        units = gates.budget.running_cores
        assert units <= CORES, f"{units} units run"

    def say(self) -> str:
        """Tell where the core stands, for a test that fails."""
        behind = self.state.gates.behind.values()
        running = sum(one.started_s is not None for one in behind)
        paused = sum(one.is_paused for one in behind)
        links = sum(one.what is What.LINK and one.started_s is None for one in behind)
        rung = self.state.memory.ladder.rung.title
        return f"{rung}: {running} running, {paused} paused, {links} links wait"

    def _post(self, event: events.Event) -> None:
        """Take an event in as the daemon does: one at a time, in order."""
        self._queue.append(event)
        if self._is_stepping:
            return
        self._is_stepping = True
        while self._queue:
            now_s = self.host.now_s
            for one in self.state.step(self._queue.popleft(), Moment(now_s, EPOCH_S + now_s)):
                self._perform(one)
        self._is_stepping = False

    def _perform(self, action: actions.Action) -> None:
        match action:
            case actions.Send():
                self._send(action.conn, action.message)
            case actions.MakeJobserver():
                self._post(events.JobserverMade(action.build, None))
            case actions.MeasureMemory():
                self.host.later(READING_S / 2, lambda: self._measure(tuple(action.pids)))
            case actions.Log():
                self.decisions.append(
                    Decision(self.host.now_s, action.decision, dict(action.fields))
                )
            case _:
                pass

    def _send(self, conn: int, message: Any) -> None:
        kind = message["type"]
        if conn >= FIRST_GATE:
            act = {"go": self.host.start, "cancel": self.host.cancel,
                   "pause": self.host.pause, "resume": self.host.resume}.get(kind)  # fmt: skip
            if act:
                act(conn - FIRST_GATE)
        elif kind == "go":
            self._builds[conn] = message["build"]
            self._post(events.Received(conn, messages.Started(pid=conn + 1)))
            self.host.begin(conn)

    def _measure(self, conns: tuple[int, ...]) -> None:
        host = self.host
        reading = Reading(host.now_s, TOTAL_BYTES, host.available_bytes, Swap(0, 0))
        used = {conn: host.used_bytes(conn - FIRST_GATE) for conn in conns}
        host.later(READING_S / 2, lambda: self._post(events.MemoryMeasured(reading, used)))


def by_forge(day: Day, *, check_every: int = 1) -> tuple[Host, ByForge]:
    """Run a day under the core, which is checked at each event, or at every so many."""
    host = Host(day, lambda host: ByForge(host, check_every=check_every))
    assert isinstance(host.policy, ByForge)
    return host.go(), host.policy


class Plain:
    """Every cargo for itself: all start what they can; only the lock of a target dir is kept."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._line: dict[int, deque[int]] = {}

    def arrive(self, number: int) -> None:
        line = self._line.setdefault(self.host.day.builds[number].project, deque())
        line.append(number)
        if len(line) == 1:
            self.host.begin(number)

    def left(self, number: int) -> None:
        line = self._line[self.host.day.builds[number].project]
        line.popleft()
        if line:
            self.host.begin(line[0])

    def ask(self, task: Task) -> None:
        self.host.start(task.ticket)

    def ended(self, task: Task) -> None: ...
    def cancelled(self, task: Task) -> None: ...
    def tick(self) -> None: ...
    def check(self) -> None: ...

    def due_s(self) -> float:
        return float("inf")
