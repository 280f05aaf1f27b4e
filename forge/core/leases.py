"""The leases of builds: who holds one, and how it ends.

A lease is the launcher's connection together with its process; forge.core.builds tells the rest.
"""

from typing import TYPE_CHECKING

from forge.core import cargo_args, events, messages
from forge.core.actions import (
    Action,
    AdoptJobserver,
    EndOrphan,
    KeepNextBuild,
    Log,
    RecordBuild,
    RemoveJobserver,
    Send,
    Unwatch,
    Watch,
)
from forge.core.build_lock import lock_path
from forge.core.builds import Build, BuildPhase
from forge.core.cargo_args import Kind
from forge.core.disk_actions import RemoveTmpDir
from forge.core.history import Recorder, build_record
from forge.core.learned import Observation
from forge.core.moment import Moment
from forge.core.replies import error
from forge.core.workspace import Workspace

if TYPE_CHECKING:
    from forge.core.state import State


LOGGED = (
    "root", "exit", "signal", "wall_s", "units", "links", "tests", "lost", "cpu_s", "waited_s",
    "peak_kib", "link_peak_kib",
)  # fmt: skip
"""What the decision log tells of a build that is over; the database has the rest."""


class Leases:
    """The builds that are known, by id and by connection.

    Invariant: a build without a connection runs, and its processes are watched.
    """

    def __init__(self, state: "State", next_build: int) -> None:
        self._state = state
        self.builds: dict[str, Build] = {}
        self._by_conn: dict[int, Build] = {}
        self.next_build = next_build

    def on(self, conn: int) -> Build | None:
        """Return the build that a connection holds."""
        return self._by_conn.get(conn)

    def take_number(self) -> int:
        """Return the number of a new build."""
        self.next_build += 1
        return self.next_build - 1

    def started(self, conn: int, message: messages.Started, now: Moment) -> list[Action]:
        """Take note that cargo runs."""
        build = self._by_conn.get(conn)
        if build is None or build.phase is not BuildPhase.GRANTED:
            return [error(conn, "protocol-mismatch", "`started` without a build that was granted")]
        build.cargo_pid = message.pid
        build.is_in_cgroup = message.entered
        build.enters(BuildPhase.RUNNING, now.steady_s)
        how = {"wait_s": round(build.waited_s, 3), "in_cgroup": message.entered}
        return [
            Watch(build.cargo_key, message.pid),
            Log("build.started", {"build": build.id, **how}),
        ]

    def ended(self, conn: int, message: messages.Ended, now: Moment) -> list[Action]:
        """Take note of how cargo ended."""
        build = self._by_conn.get(conn)
        if build is None:
            return [error(conn, "protocol-mismatch", "`ended` without a build")]
        build.exit, build.signal = message.exit, message.signal
        if self._state.killed.waits_for_verdict(build):
            return self._state.killed.await_verdict(build, now)
        return self.forget(build, now)

    def adopt(self, conn: int, message: messages.Adopt, now: Moment) -> list[Action]:
        """Take over a build from a daemon that is gone."""
        if conn in self._by_conn:
            return [error(conn, "protocol-mismatch", "this connection already carries a build")]
        known = self.builds.get(message.build)
        if known and known.pid == message.pid and known.conn is None:
            known.conn = conn
            self.keep(known)
            return [Send(conn, {"type": "adopted", "build": known.id})]
        build_id = message.build
        number = build_number(build_id)
        if known or number is None:
            number = self.next_build
            build_id = f"b{number}"
        self.next_build = max(self.next_build, number + 1)
        build = Build(
            id=build_id, conn=conn, pid=message.pid, cwd=message.cwd,
            args=cargo_args.parse(message.argv), env={}, via="adopted", interactive=False,
            parent=message.parent, lender=message.lender,
            began_at=now.wall_s, began_steady_s=now.steady_s,
            since=now.steady_s, phase=BuildPhase.RUNNING,
            target_dir=message.target_dir, cargo_pid=message.cargo_pid,
        )  # fmt: skip
        jobserver: list[Action] = []
        if message.jobserver and _lies_in(message.jobserver, self._state.settings.jobserver_dir):
            build.jobserver = message.jobserver
            jobserver = [AdoptJobserver(build_id, message.jobserver)]
        target_dir = self._state.target_dirs.get(message.target_dir or "")
        spilled = self._state.spills.root_of(message.target_dir or "")
        build.root, build.is_spilled = (
            spilled or (target_dir.root if target_dir else None),
            bool(spilled),
        )
        if build.root and message.target_dir:
            workspace = Workspace(build.root)
            build.lock = lock_path(build.args, {}, workspace, message.target_dir)
        self.keep(build)
        self._state.line.adopt(build)
        return [
            *self._state.gates.begin(build, None, None, now),
            KeepNextBuild(self.next_build),
            Watch(build.launcher_key, message.pid),
            Watch(build.cargo_key, message.cargo_pid),
            Log("build.adopted", {"build": build_id, "target_dir": message.target_dir}),
            Send(conn, {"type": "adopted", "build": build_id}),
            *jobserver,
            *self._state.jobservers.begin(build, message.tokens, now),
            *([] if self._state.disk.disk else self._state.launches.ensure_disk()),
        ]

    def closed(self, event: events.Closed, now: Moment) -> list[Action]:
        """Keep a build whose launcher may have lost only us: its watch tells whether it died."""
        build = self._by_conn.get(event.conn)
        if build is None:
            return []
        self._disconnect(build)
        if build.failed_s is not None:
            return self.forget(build, now)  # it does not wait for our answer
        if build.phase is BuildPhase.RUNNING:
            return []
        return [
            Log("build.left", {"build": build.id, "phase": build.phase}),
            *self.forget(build, now),
        ]

    def gone(self, event: events.Gone, now: Moment) -> list[Action]:
        """End the cargo of a launcher that was killed; forget what is over."""
        build_id, _, part = event.key.partition("/")
        build = self.builds.get(build_id)
        if build is None:
            return []
        if part == "cargo":
            build.cargo_gone = True
            if build.conn is not None:
                return []  # its launcher tells how it ended
        elif build.cargo_pid is not None and not build.cargo_gone and build.failed_s is None:
            self._disconnect(build)
            build.enters(BuildPhase.ORPHANED, now.steady_s)
            return [Log("build.orphaned", {"build": build.id}), EndOrphan(build.cargo_key)]
        return [Log("build.gone", {"build": build.id, "part": part}), *self.forget(build, now)]

    def forget(self, build: Build, now: Moment) -> list[Action]:
        """Let go of a build and of all that it held."""
        self._disconnect(build)
        build.enters(build.phase, now.steady_s)
        recorder = self._state.gates.recorders.get(build.id)
        actions = self._remember(build, now)
        del self.builds[build.id]
        actions += self._state.gates.finish(build.id, now) + self._state.line.leave(build, now)
        actions += [Unwatch(build.launcher_key), Unwatch(build.cargo_key)]
        if build.jobserver:
            actions.append(RemoveJobserver(build.id))
        actions += self._state.jobservers.end(build.id, now)
        if build.tmp_dir and self._state.disk.disk:
            actions.append(RemoveTmpDir(self._state.disk.disk, build.tmp_dir))
        self._state.spills.ended(build)
        if build.target_dir and build.args.verb != "metadata":
            actions += self._state.target_index.walk_after(build, recorder)
            actions += self._state.disk.measure()
        return actions

    def _remember(self, build: Build, now: Moment) -> list[Action]:
        """Record a build, also one whose cargo never ran, and learn from it."""
        if build.args.kind is not Kind.BUILD:
            return []
        recorder = self._state.gates.recorders.get(build.id)
        if recorder is None:
            recorder = Recorder(build.began_steady_s, self._state.gates.budget.capacity)
            record = build_record(build, recorder, now.steady_s)
            return [RecordBuild(build.number, record, recorder.details(), ())]
        record = build_record(build, recorder, now.steady_s)
        is_whole = build.exit == 0 and not build.is_cancelled
        seen = list(recorder.observations(build.root, is_whole=is_whole))
        if is_whole and build.work_key:
            tally, run_s = recorder.tally, record["wall_s"] - record["wait_s"]
            seen.append(
                Observation(build.root or "", build.work_key, run_s, tally.cpu_s, tally.peak_kib)
            )
        grown = self._state.growth.ended(build, record["wall_s"])
        if is_whole and grown:
            seen.append(grown)
        learned = {one.key: self._state.gates.learned.observe(one, now.wall_s) for one in seen}
        return [
            Log("build.ended", {"build": build.id, **{name: record[name] for name in LOGGED}}),
            RecordBuild(build.number, record, recorder.details(), tuple(learned.values())),
        ]

    def refuse(self, build: Build, line: str, exit_code: int, now: Moment) -> list[Action]:
        """Send a launcher away whose cargo has not started."""
        build.exit = exit_code
        told: list[Action] = []
        if build.conn is not None:
            told.append(Send(build.conn, {"type": "end", "line": line, "exit": exit_code}))
        return told + self.forget(build, now)

    def keep(self, build: Build) -> None:
        """File a build under its id and its connection."""
        self.builds[build.id] = build
        if build.conn is not None:
            self._by_conn[build.conn] = build

    def _disconnect(self, build: Build) -> None:
        if build.conn is not None:
            del self._by_conn[build.conn]
            build.conn = None

    def check(self) -> None:
        """Assert the invariants: no build without a holder, one build a connection."""
        held = {build.id for build in self._by_conn.values()}
        for build in self.builds.values():
            on_its_own = (BuildPhase.GRANTED, BuildPhase.RUNNING, BuildPhase.ORPHANED)
            assert build.id in held or build.phase in on_its_own, f"{build.id} has no holder"
            assert (build.conn is None) == (build.id not in held), f"{build.id} is misfiled"
            waits_in_vain = build.failed_s is not None and build.conn is None
            assert not waits_in_vain, f"{build.id} is to be answered and has no launcher"
        assert held <= self.builds.keys(), "a connection holds a build that is gone"

    def on_disk(self) -> list[Build]:
        """Return the builds that use the RAM disk now."""
        return [
            build
            for build in self.builds.values()
            if (build.target_dir and not build.is_spilled) or build.phase is BuildPhase.PREPARING
        ]


def build_number(build_id: str) -> int | None:
    """Return the number in a build's id, `b17`; None when it is no id of ours."""
    digits = build_id.removeprefix("b")
    ours = build_id.startswith("b") and digits.isascii() and digits.isdigit() and len(digits) < 16
    return int(digits) if ours else None


def _lies_in(path: str, directory: str) -> bool:
    name = path.removeprefix(f"{directory}/")
    return name != path and "/" not in name and build_number(name.removesuffix(".jobs")) is not None
