"""Builds from `begin` to their end: where each goes, when it starts, and what is left of it."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from forge.core import cargo_args, events, messages
from forge.core.actions import (
    Action,
    EndOrphan,
    KeepNextBuild,
    Log,
    MakeJobserver,
    MakeTargetDir,
    MeasureTargetDir,
    RecordTargetDir,
    RemoveJobserver,
    Resolve,
    Send,
    Unwatch,
    Watch,
)
from forge.core.builds import Build, BuildPhase
from forge.core.disk_life import DiskPhase
from forge.core.gates import Tally
from forge.core.moment import Moment
from forge.core.redirect import decide
from forge.core.replies import error
from forge.core.shim import Shim
from forge.core.shim_life import ShimPhase
from forge.core.start import is_gated, plan_start
from forge.core.target_dirs import TargetDir
from forge.core.units import show_bytes, show_duration
from forge.core.workspace import target_dir_name

if TYPE_CHECKING:
    from forge.core.state import State

SHIM_PATIENCE_S = 30.0
"""A build waits so long for the shim to be compiled (2 s, measured), then goes without gates."""

DISK_PATIENCE_S = 20.0
"""A build waits so long for the disk, then it goes on without."""

FULL_BELOW_BYTES = 64 * 1024 * 1024
"""With less room than this no build starts on the disk: it would end in `No space left`."""


class Launches:
    """The builds that are known, by id, and the policy over them."""

    def __init__(self, state: "State", next_build: int) -> None:
        self._state = state
        self.builds: dict[str, Build] = {}
        self._by_conn: dict[int, Build] = {}
        self.next_build = next_build
        self._told_roots: set[str] = set()

    def begin(self, conn: int, message: messages.Begin, now: Moment) -> list[Action]:
        """Begin a build: find out first which workspace it is about."""
        if self._by_conn.get(conn):
            return [error(conn, "protocol-mismatch", "this connection already carries a build")]
        args = cargo_args.parse(message.argv)
        build = Build(
            id=f"b{self.next_build}", conn=conn, pid=message.pid, cwd=message.cwd, args=args,
            env=message.env, via=message.via, interactive=message.interactive,
            parent=message.parent, began_at=now.wall_s, began_steady_s=now.steady_s,
            since=now.steady_s,
        )  # fmt: skip
        self.next_build += 1
        self._keep(build)
        return [
            KeepNextBuild(self.next_build),
            Watch(build.launcher_key, message.pid),
            Resolve(conn, message.cwd, args.directory, args.manifest_path, args.verb, message.env),
        ]

    def resolved(self, event: events.Resolved, now: Moment) -> list[Action]:
        """Decide where a build goes, now that its workspace is known."""
        build = self._by_conn.get(event.conn)
        if build is None or build.phase is not BuildPhase.RESOLVING:
            return []
        workspace = event.workspace
        redirect = decide(build.args, build.env, workspace, self._state.settings)
        build.unset = redirect.unset
        build.root, build.config = workspace.root, workspace.config
        if redirect.note and workspace.root and workspace.root not in self._told_roots:
            self._told_roots.add(workspace.root)
            build.notes.append(redirect.note)
        if not redirect.wanted:
            return self._go(build, now, why=redirect.why)
        return self._place(build, now)

    def _place(self, build: Build, now: Moment) -> list[Action]:
        """Give a build its target dir: at once, or when the disk is there, or not at all."""
        disk = self._state.disk
        if disk.phase is DiskPhase.MOUNTED and disk.disk and build.root and build.conn is not None:
            path = f"{disk.disk.mount_point}/{target_dir_name(build.root)}"
            build.enters(BuildPhase.PREPARING, now.steady_s)
            link_from = f"{build.root}/target" if self._state.settings.link_target else None
            return [MakeTargetDir(build.conn, disk.disk, path, build.root, link_from)]
        if not disk.is_changing and not disk.is_worth_a_try(now.steady_s):
            build.notes.append(f"no RAM disk: {disk.failure}; building on the SSD")
            return self._go(build, now, why="no RAM disk")
        build.enters(BuildPhase.WAITING_FOR_DISK, now.steady_s)
        return [*self._ensure_disk(), *self._say_wait(build, now)]

    def _ensure_disk(self) -> list[Action]:
        if self._state.disk.is_changing or self._state.settings.disk is None:
            return []
        return self._state.disk.ensure(self._state.settings.disk)

    def target_dir_ready(self, event: events.TargetDirReady, now: Moment) -> list[Action]:
        """Start a build whose target dir is there."""
        build = self._by_conn.get(event.conn)
        if build is None or build.phase is not BuildPhase.PREPARING or build.root is None:
            return []
        self._state.disk.usage = event.usage
        if event.usage.free_bytes < FULL_BELOW_BYTES:
            free = show_bytes(event.usage.free_bytes)
            build.notes.append(f"the RAM disk is full ({free} free); building on the SSD")
            return self._go(build, now, why="the RAM disk is full")
        known = self._state.target_dirs.get(event.path)
        target_dir = TargetDir(
            path=event.path,
            root=build.root,
            created_at=known.created_at if known else now.wall_s,
            last_used_at=now.wall_s,
            builds=(known.builds if known else 0) + 1,
            size_bytes=known.size_bytes if known else None,
            files=known.files if known else 0,
        )
        self._state.target_dirs[event.path] = target_dir
        build.target_dir = event.path
        return [RecordTargetDir(target_dir), *self._go(build, now, why="default")]

    def target_dir_failed(self, event: events.TargetDirFailed, now: Moment) -> list[Action]:
        """Try once more when the disk was lost; else build on the SSD."""
        actions: list[Action] = []
        if event.disk_lost and self._state.disk.phase is DiskPhase.MOUNTED:
            actions += self._state.lose_disk(event.reason, now)
        build = self._by_conn.get(event.conn)
        if build is None or build.phase is not BuildPhase.PREPARING:
            return actions
        build.disk_tries += 1
        if event.disk_lost and build.disk_tries < 2:
            build.notes.append("the RAM disk had vanished; it was mounted anew")
            return actions + self._place(build, now)
        build.notes.append(f"the RAM disk cannot be used: {event.reason}; building on the SSD")
        return actions + self._go(build, now, why=event.reason)

    def _go(self, build: Build, now: Moment, *, why: str) -> list[Action]:
        """Start a build whose place is known: at once, or when its gates are there."""
        build.why = why
        shim = self._state.shim
        if not (self._state.settings.gates and is_gated(build)):
            return self._start(build, now, None)
        actions = shim.ensure(build.env.get("PATH"), now.steady_s)
        if shim.phase is ShimPhase.BUILDING:
            build.enters(BuildPhase.WAITING_FOR_SHIM, now.steady_s)
            return actions + self._say_wait(build, now)
        note = shim.note()
        if note:
            build.notes.append(note)
        return actions + self._start(build, now, shim.shim)

    def _start(self, build: Build, now: Moment, shim: Shim | None) -> list[Action]:
        """Tell a launcher to start cargo."""
        if build.conn is None:
            return self._forget(build)
        start = plan_start(build, self._state.settings, shim)
        build.enters(BuildPhase.GRANTED, now.steady_s)
        self._state.gates.tallies[build.id] = Tally()
        actions: list[Action] = []
        if start.tokens is not None:
            path = f"{self._state.settings.jobserver_dir}/{build.id}.jobs"
            build.jobserver = path
            actions.append(MakeJobserver(build.id, path, start.tokens))
        fields = {"build": build.id, "argv": list(build.args.argv), "root": build.root}
        return [
            *actions,
            Log(
                "build.granted",
                {
                    **fields,
                    "target_dir": build.target_dir,
                    "why": build.why,
                    "tokens": start.tokens,
                    "gated": shim is not None,
                },
            ),
            Send(
                build.conn,
                {
                    "type": "go",
                    "build": build.id,
                    "argv": list(start.argv),
                    "env": dict(start.env),
                    "unset": list(start.unset),
                    "notes": build.notes,
                    "target_dir": build.target_dir,
                    "jobserver": {"path": build.jobserver} if build.jobserver else None,
                },
            ),
        ]

    def started(self, conn: int, message: messages.Started, now: Moment) -> list[Action]:
        """Take note that cargo runs."""
        build = self._by_conn.get(conn)
        if build is None or build.phase is not BuildPhase.GRANTED:
            return [error(conn, "protocol-mismatch", "`started` without a build that was granted")]
        build.cargo_pid = message.pid
        build.enters(BuildPhase.RUNNING, now.steady_s)
        return [Watch(build.cargo_key, message.pid), Log("build.started", {"build": build.id})]

    def ended(self, conn: int, message: messages.Ended, now: Moment) -> list[Action]:
        """Take note of how cargo ended."""
        build = self._by_conn.get(conn)
        if build is None:
            return [error(conn, "protocol-mismatch", "`ended` without a build")]
        took_s = round(now.steady_s - build.began_steady_s, 3)
        fields = {"build": build.id, "exit": message.exit, "signal": message.signal}
        tally = asdict(self._state.gates.tallies.get(build.id, Tally()))
        return [Log("build.ended", {**fields, "wall_s": took_s, **tally}), *self._forget(build)]

    def adopt(self, conn: int, message: messages.Adopt, now: Moment) -> list[Action]:
        """Take over a build from a daemon that is gone."""
        if conn in self._by_conn:
            return [error(conn, "protocol-mismatch", "this connection already carries a build")]
        known = self.builds.get(message.build)
        if known and known.pid == message.pid and known.conn is None:
            known.conn = conn
            self._keep(known)
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
            parent=None, began_at=now.wall_s, began_steady_s=now.steady_s,
            since=now.steady_s, phase=BuildPhase.RUNNING,
            target_dir=message.target_dir, cargo_pid=message.cargo_pid,
        )  # fmt: skip
        self._state.gates.tallies[build_id] = Tally()
        jobserver: list[Action] = []
        if message.jobserver and _lies_in(message.jobserver, self._state.settings.jobserver_dir):
            build.jobserver = message.jobserver
            jobserver = [MakeJobserver(build_id, message.jobserver, 0)]
        target_dir = self._state.target_dirs.get(message.target_dir or "")
        build.root = target_dir.root if target_dir else None
        self._keep(build)
        return [
            KeepNextBuild(self.next_build),
            Watch(build.launcher_key, message.pid),
            Watch(build.cargo_key, message.cargo_pid),
            Log("build.adopted", {"build": build_id, "target_dir": message.target_dir}),
            Send(conn, {"type": "adopted", "build": build_id}),
            *jobserver,
            *([] if self._state.disk.disk else self._ensure_disk()),
        ]

    def closed(self, event: events.Closed, now: Moment) -> list[Action]:
        """Keep a build whose launcher may have lost only us: its watch tells whether it died."""
        build = self._by_conn.get(event.conn)
        if build is None:
            return []
        self._disconnect(build)
        if build.phase is BuildPhase.RUNNING:
            return []
        return [Log("build.left", {"build": build.id, "phase": build.phase}), *self._forget(build)]

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
        elif build.cargo_pid is not None and not build.cargo_gone:
            self._disconnect(build)
            build.enters(BuildPhase.ORPHANED, now.steady_s)
            return [Log("build.orphaned", {"build": build.id}), EndOrphan(build.cargo_key)]
        return [Log("build.gone", {"build": build.id, "part": part}), *self._forget(build)]

    def _forget(self, build: Build) -> list[Action]:
        self._disconnect(build)
        del self.builds[build.id]
        self._state.gates.tallies.pop(build.id, None)
        actions: list[Action] = [Unwatch(build.launcher_key), Unwatch(build.cargo_key)]
        if build.jobserver:
            actions.append(RemoveJobserver(build.id))
        if build.target_dir and build.phase is not BuildPhase.PREPARING:
            actions.append(MeasureTargetDir(build.target_dir))
            actions += self._state.disk.measure()
        return actions

    def _keep(self, build: Build) -> None:
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
        assert held <= self.builds.keys(), "a connection holds a build that is gone"

    def tell_all_on_disk(self, line: str) -> list[Action]:
        """Say a line to the people whose builds use the disk."""
        return [
            Send(build.conn, {"type": "say", "line": line})
            for build in self.builds.values()
            if build.target_dir and build.conn is not None
        ]

    def on_disk(self) -> list[Build]:
        """Return the builds that use the RAM disk now."""
        return [
            build
            for build in self.builds.values()
            if build.target_dir or build.phase is BuildPhase.PREPARING
        ]

    def wake(self, now: Moment) -> list[Action]:
        """Place the builds that waited for the disk, which has changed."""
        waiting = [b for b in self.builds.values() if b.phase is BuildPhase.WAITING_FOR_DISK]
        return [action for build in waiting for action in self._place(build, now)]

    def arm(self, now: Moment) -> list[Action]:
        """Start the builds that waited for the shim, which is there or cannot be had."""
        waiting = [b for b in self.builds.values() if b.phase is BuildPhase.WAITING_FOR_SHIM]
        return [action for build in waiting for action in self._go(build, now, why=build.why)]

    def say_wait(self, now: Moment) -> list[Action]:
        """Tell the builds that wait what for; those that waited too long go on without."""
        actions: list[Action] = []
        for build in list(self.builds.values()):
            if build.phase is BuildPhase.WAITING_FOR_SHIM:
                patient = now.steady_s - build.since < SHIM_PATIENCE_S
                actions += self._say_wait(build, now) if patient else self._start(build, now, None)
            if build.phase is not BuildPhase.WAITING_FOR_DISK:
                continue
            if now.steady_s - build.since < DISK_PATIENCE_S:
                actions += self._say_wait(build, now)
                continue
            patience = show_duration(DISK_PATIENCE_S)
            build.notes.append(f"the RAM disk was not there within {patience}; building on the SSD")
            actions += self._go(build, now, why="the disk took too long")
        return actions

    def _say_wait(self, build: Build, now: Moment) -> list[Action]:
        if build.conn is None:
            return []
        since_s = round(now.steady_s - build.since, 1)
        reason = f"the RAM disk is {self._state.disk.phase}"
        if build.phase is BuildPhase.WAITING_FOR_SHIM:
            reason = "the shim is being compiled, once"
        return [Send(build.conn, {"type": "wait", "reason": reason, "since_s": since_s})]


def build_number(build_id: str) -> int | None:
    """Return the number in a build's id, `b17`; None when it is no id of ours."""
    digits = build_id.removeprefix("b")
    ours = build_id.startswith("b") and digits.isascii() and digits.isdigit() and len(digits) < 16
    return int(digits) if ours else None


def _lies_in(path: str, directory: str) -> bool:
    name = path.removeprefix(f"{directory}/")
    return name != path and "/" not in name and build_number(name.removesuffix(".jobs")) is not None
