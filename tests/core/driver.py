"""Drives `State` as the daemon would, with doors that answer at once: for tests of policy."""

from typing import Any

from forge.core import actions, disk_actions, disk_events, events, messages
from forge.core.disk import Disk, DiskKind, DiskSpec, DiskUsage
from forge.core.memory_map import propose
from forge.core.moment import Moment
from forge.core.settings import Settings
from forge.core.state import State
from forge.core.tokens import Move
from forge.core.workspace import Workspace

GIB = 1024**3
SPEC = DiskSpec("/mnt/builds", 6144, 1_000_000)
DISK = Disk(DiskKind.TMPFS, "/mnt/builds", 6144, device_id=40, token="t")
BUFFER_MIB = 4896
MAP = propose(24 * 1024, {"ram_disk": 6144, "linker_buffer": BUFFER_MIB})
EMPTY = DiskUsage(6 * GIB, 0, 6 * GIB, 1_000_000, 1)


def settings(**changes: Any) -> Settings:
    given = {"disk": SPEC, "memory_map": MAP, "cores": 2, "gates": False}
    return Settings(**{**given, "jobserver_dir": "/state/jobs", "builds_at_once": 99, **changes})


class Driver:
    """A state, a clock that only moves when told, and all actions that were asked for."""

    def __init__(self, given: Settings | None = None, *, looked: bool = True) -> None:
        self.state = State(given or settings())
        self.now_s = 1000.0
        self.done: list[actions.Action] = []
        self.sent: list[tuple[int, dict[str, Any]]] = []
        self.answers_jobservers = True
        self.is_disk_there = True
        self.fifos: dict[str, int] = {}
        self.holders: dict[str, int] = {}
        if looked:
            self.find_no_disk()

    def find_no_disk(self) -> None:
        """Answer the look for an earlier daemon's disk, with which each daemon begins."""
        self.post(events.Tick())
        self.post(disk_events.DiskAbsent())

    def post(self, event: events.Event) -> list[actions.Action]:
        asked = self.state.step(event, Moment(self.now_s, 1_700_000_000 + self.now_s))
        self.state.check()
        self.done += asked
        self.sent += [
            (one.conn, dict(one.message)) for one in asked if isinstance(one, actions.Send)
        ]
        if self.answers_jobservers:
            for one in asked:
                self._answer_for_fifos(one)
        return asked

    def _answer_for_fifos(self, one: actions.Action) -> None:
        match one:
            case actions.MakeJobserver():
                self.fifos[one.build] = one.tokens
                self.post(events.JobserverMade(one.build, one.path))
            case actions.RemoveJobserver():
                self.fifos.pop(one.build, None)
            case actions.LookAtTokens():
                seen = {build: self.fifos[build] for build in one.builds if build in self.fifos}
                self.post(events.TokensSeen(seen))
            case actions.CountHolders():
                self.post(events.HoldersCounted({b: self.holders.get(b, 0) for b in one.cargos}))
            case actions.MoveTokens():
                self.post(events.TokensMoved(tuple(self._moved(move) for move in one.moves)))
            case disk_actions.LookAtDisk() if self.is_disk_there:
                self.post(disk_events.DiskSighted(one.disk.token, writable=True))
            case _:
                pass

    def _moved(self, move: Move) -> Move:
        """Move bytes as a FIFO would: no more can be taken out than are in it."""
        count = max(move.count, -self.fifos.get(move.build, 0))
        if move.build in self.fifos:
            self.fifos[move.build] += count
        return Move(move.build, count if move.build in self.fifos else 0, heals=move.heals)

    def receive(self, conn: int, message: messages.Message) -> list[actions.Action]:
        return self.post(events.Received(conn, message))

    def begin(self, conn: int, *argv: str, root: str | None = "/src/app", **fields: Any) -> None:
        """A launcher asks, and its workspace is found."""
        env = fields.pop("env", {})
        workspace = fields.pop("workspace", Workspace(root, outside="" if root else "nothing here"))
        self.receive(
            conn,
            messages.Begin(
                pid=conn * 100, cwd="/src/app", argv=list(argv or ("build",)), env=env, **fields
            ),
        )
        self.post(events.Resolved(conn, workspace))

    def mount(self, usage: DiskUsage = EMPTY) -> None:
        self.post(disk_events.DiskReady(DISK, usage))

    def make_target_dirs(self, usage: DiskUsage = EMPTY) -> None:
        """Answer all MakeTargetDir that were asked for."""
        asked = [one for one in self.done if isinstance(one, disk_actions.MakeTargetDir)]
        self.done = [one for one in self.done if not isinstance(one, disk_actions.MakeTargetDir)]
        for one in asked:
            self.post(disk_events.TargetDirReady(one.conn, one.path, usage))

    def run(self, conn: int, *argv: str, **fields: Any) -> str:
        """Bring a build all the way to running cargo; return its id."""
        self.begin(conn, *argv, **fields)
        if self.state.disk.is_changing:
            self.mount()
        self.make_target_dirs()
        build_id = str(self.reply(conn, "go")["build"])
        self.receive(conn, messages.Started(pid=conn * 100 + 1))
        return build_id

    def reply(self, conn: int, kind: str) -> dict[str, Any]:
        """Return the last message of a kind that was sent to a connection."""
        found = [message for to, message in self.sent if to == conn and message["type"] == kind]
        assert found, f"nothing of type {kind} was sent to {conn}: {self.sent}"
        return found[-1]

    def asked(self, kind: type) -> list[Any]:
        return [one for one in self.done if isinstance(one, kind)]
