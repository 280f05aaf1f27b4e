"""The way of a build from `begin` to the start of cargo: where it goes, and what it waits for."""

from typing import TYPE_CHECKING

from forge.core import cargo_args, disk_events, events, messages
from forge.core.actions import (
    Action,
    KeepNextBuild,
    Log,
    LookAtLauncher,
    MakeJobserver,
    RemoveJobserver,
    Resolve,
    Send,
    Watch,
)
from forge.core.build_cgroup import BUILD_OOM_SCORE_ADJ
from forge.core.build_lock import lock_path
from forge.core.builds import PAUSED_PHASES, Again, Build, BuildPhase
from forge.core.cargo_args import Kind
from forge.core.disk import Disk, DiskUsage
from forge.core.disk_actions import MakeTargetDir, RecordTargetDir
from forge.core.disk_life import DiskPhase
from forge.core.learned import key_of_work
from forge.core.moment import Moment
from forge.core.priority import patience_of, priority_of
from forge.core.redirect import decide
from forge.core.replies import error
from forge.core.shim import Shim
from forge.core.shim_life import ShimPhase
from forge.core.start import is_gated, plan_start, without_secrets
from forge.core.target_dirs import TMP_NAME
from forge.core.target_modes import TargetMode
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


WAIT_REASONS = {
    BuildPhase.RESOLVING: "the workspace is being found",
    BuildPhase.WAITING_FOR_DISK: "the RAM disk is {disk}",
    BuildPhase.WAITING_FOR_ROOM: "room is made on the RAM disk",
    BuildPhase.PREPARING: "the target dir is being made",
    BuildPhase.WAITING_FOR_SHIM: "the shim is being compiled, once",
}
"""What a launcher is told each second, by the phase of its build."""


class Launches:
    """The way of each build to its start."""

    def __init__(self, state: "State") -> None:
        self._state = state
        self._told_roots: set[str] = set()

    def begin(self, conn: int, message: messages.Begin, now: Moment) -> list[Action]:
        """Begin a build: find out first which workspace it is about."""
        if self._state.leases.on(conn):
            return [error(conn, "protocol-mismatch", "this connection already carries a build")]
        args = cargo_args.parse(message.argv)
        parent = self._state.builds.get(message.parent or "")
        build = Build(
            id=f"b{self._state.leases.take_number()}", conn=conn, pid=message.pid,
            cwd=message.cwd, args=args,
            env=message.env, via=message.via, interactive=message.interactive,
            parent=message.parent, began_at=now.wall_s, began_steady_s=now.steady_s,
            since=now.steady_s,
            priority=parent.priority if parent else priority_of(message.env, message.interactive),
            lender=self._state.reserved.lender_of(message.env, parent.id if parent else None),
            patience_s=patience_of(message.env),
            requeues=message.requeues, again=Again.read(message.again),
        )  # fmt: skip
        self._state.leases.keep(build)
        carries_on = {"build": build.id, "of": build.carried_on.build}
        return [
            *([Log("build.again", carries_on)] if build.again else []),
            KeepNextBuild(self._state.leases.next_build),
            Watch(build.launcher_key, message.pid),
            LookAtLauncher(build.id, message.pid),
            Resolve(conn, message.cwd, args.argv, message.env),
        ]

    def launcher_seen(self, event: events.LauncherSeen, now: Moment) -> list[Action]:
        """Take note of the limit that a launcher was started below."""
        build = self._state.builds.get(event.build)
        if build:
            build.own_limit = event.own_limit
        return []

    def resolved(self, event: events.Resolved, now: Moment) -> list[Action]:
        """Decide where a build goes, now that its workspace is known."""
        build = self._state.leases.on(event.conn)
        if build is None or build.phase is not BuildPhase.RESOLVING:
            return []
        workspace = event.workspace
        if workspace.argv is not None:
            build.args = cargo_args.parse(workspace.argv)
        mode = self._state.target_modes.of(workspace.root)
        redirect = decide(build.args, build.env, workspace, self._state.settings, mode)
        build.mode, build.unset = redirect.mode, redirect.unset
        build.root, build.base = workspace.root, workspace.base
        build.config = workspace.config
        build.is_redirected, build.why = redirect.wanted, redirect.why
        build.lock = lock_path(build.args, build.env, workspace, self.path_of(build))
        if redirect.note and workspace.root and workspace.root not in self._told_roots:
            self._told_roots.add(workspace.root)
            build.notes.append(redirect.note)
        actions = self._state.line.enter(build, now)
        path = self.path_of(build)
        if path and build.phase in PAUSED_PHASES and self._state.disk.disk:
            actions += self._state.tasks.provide(build, path)
        return actions

    def go_on(self, build: Build, now: Moment) -> list[Action]:
        """Take a build further whose turn it is."""
        if not build.is_redirected:
            return self.go(build, now, why=build.why)
        return self.place(build, now)

    def path_of(self, build: Build) -> str | None:
        """Return where a redirected build will have its target dir, if it is redirected."""
        mount_point = self._state.mount_point()
        if not build.is_redirected or build.root is None or mount_point is None:
            return None
        return f"{mount_point}/{target_dir_name(build.root)}"

    def place(self, build: Build, now: Moment) -> list[Action]:
        """Give a build its target dir: at once, or when the disk is there, or not at all."""
        disk = self._state.disk
        if disk.is_read_only and disk.phase is DiskPhase.MOUNTED:
            build.notes.append(
                "the RAM disk is read-only; building on the SSD"
                " (`forge disk recreate` makes a new one)"
            )
            return self.go(build, now, why="the RAM disk is read-only")
        if disk.phase is DiskPhase.MOUNTED and disk.disk and build.root and build.conn is not None:
            path = f"{disk.disk.mount_point}/{target_dir_name(build.root)}"
            waits = self._state.spills.before_build(build, path, now)
            if waits is None:
                waits = self._state.tasks.before_build(build, path, now)
            if waits is not None:
                return waits
            build.enters(BuildPhase.PREPARING, now.steady_s)
            return [self._make_target_dir(build, build.conn, disk.disk, path)]
        if disk.is_changing and disk.is_overdue:
            patience = show_duration(DISK_PATIENCE_S)
            build.notes.append(f"the RAM disk was not there within {patience}; building on the SSD")
            return self.go(build, now, why="the disk took too long")
        if not disk.is_changing and not disk.is_worth_a_try(now.steady_s):
            build.notes.append(f"no RAM disk: {disk.failure}; building on the SSD")
            return self.go(build, now, why="no RAM disk")
        build.enters(BuildPhase.WAITING_FOR_DISK, now.steady_s)
        return [*self.ensure_disk(), *self.tell_wait(build, now)]

    def _make_target_dir(self, build: Build, conn: int, disk: Disk, path: str) -> Action:
        settings, link = self._state.settings, f"{build.root}/target"
        is_apart = build.mode is TargetMode.BUILD_DIR  # its own `target` is where finals go
        tmp_dir = f"{disk.mount_point}/{TMP_NAME}/{build.id}-{build.pid}"
        return MakeTargetDir(
            conn, disk, path, build.root or "",
            link_from=link if settings.link_target and not is_apart else None,
            unlink_from=link if is_apart else None,
            tmp_dir=tmp_dir if settings.tmp_dir and build.args.kind is Kind.BUILD else None,
        )  # fmt: skip

    def ensure_disk(self) -> list[Action]:
        """Begin to mount, if that is wanted and not under way."""
        if self._state.disk.is_changing or self._state.settings.disk is None:
            return []
        return self._state.disk.ensure(self._state.settings.disk)

    def target_dir_ready(self, event: disk_events.TargetDirReady, now: Moment) -> list[Action]:
        """Start a build whose target dir is there."""
        build = self._state.leases.on(event.conn)
        if build is None or build.phase is not BuildPhase.PREPARING or build.root is None:
            return []
        disk = self._state.disk
        disk.usage = event.usage or disk.usage
        if disk.usage and disk.usage.free_bytes < FULL_BELOW_BYTES:
            return self._make_room(build, disk.usage, now)
        known = self._state.target_dirs.get(event.path)
        target_dir = self._state.target_index.used(build, event.path, now)
        build.target_dir, build.tmp_dir = event.path, event.tmp_dir
        build.is_cold = known is None or known.size_bytes == 0
        return [RecordTargetDir(target_dir), *self.go(build, now, why="default")]

    def _make_room(self, build: Build, usage: DiskUsage, now: Moment) -> list[Action]:
        """Let a build wait for room, if any is being made; else it goes to the SSD."""
        made = self._state.room.look(now)
        if self._state.room.evicting and not build.has_waited_for_room:
            build.has_waited_for_room = True
            build.enters(BuildPhase.WAITING_FOR_ROOM, now.steady_s)
            return [*made, *self.tell_wait(build, now)]
        why = f"the RAM disk is full ({show_bytes(usage.free_bytes)} free)"
        if build.root and self._state.spills.may_move(build.root, now.steady_s):
            self._state.spills.put_out(build.root, self._state.growth.unknown_bytes, why, now)
            return made + self.place(build, now)
        build.notes.append(f"{why}; building on the SSD")
        return made + self.go(build, now, why="the RAM disk is full")

    def target_dir_failed(self, event: disk_events.TargetDirFailed, now: Moment) -> list[Action]:
        """Try once more when the disk was lost; else build on the SSD."""
        actions: list[Action] = []
        if event.disk_lost and self._state.disk.phase is DiskPhase.MOUNTED:
            actions += self._state.disk_watch.lose(event.reason, now)
        build = self._state.leases.on(event.conn)
        if build is None or build.phase is not BuildPhase.PREPARING:
            return actions
        build.disk_tries += 1
        if event.disk_lost and build.disk_tries < 2:
            build.notes.append("the RAM disk had vanished; it was mounted anew")
            return actions + self.place(build, now)
        build.notes.append(f"the RAM disk cannot be used: {event.reason}; building on the SSD")
        return actions + self.go(build, now, why=event.reason)

    def go(self, build: Build, now: Moment, *, why: str) -> list[Action]:
        """Start a build whose place is known: at once, or when its gates are there."""
        build.why = why
        shim = self._state.shim
        if not (self._state.settings.gates and is_gated(build)):
            return self._start(build, now, None)
        actions = shim.ensure(build.env.get("PATH"), now.steady_s)
        if shim.phase is ShimPhase.BUILDING and not shim.is_overdue:
            build.enters(BuildPhase.WAITING_FOR_SHIM, now.steady_s)
            return actions + self.tell_wait(build, now)
        note = shim.note()
        if note:
            build.notes.append(note)
        return actions + self._start(build, now, shim.shim)

    def _start(self, build: Build, now: Moment, shim: Shim | None) -> list[Action]:
        """Put the start of cargo together, its jobserver first."""
        build.start = plan_start(build, self._state.settings, shim)
        build.is_gated = shim is not None
        if build.start.tokens is None:
            return self._grant(build, now)
        build.enters(BuildPhase.STARTING, now.steady_s)
        path = f"{self._state.settings.jobserver_dir}/{build.id}.jobs"
        return [MakeJobserver(build.id, path, build.start.tokens)]

    def jobserver_made(self, event: events.JobserverMade, now: Moment) -> list[Action]:
        """Start a build whose jobserver is there, or cannot be had: cargo then makes its own."""
        build = self._state.builds.get(event.build)
        if build is None or build.phase is not BuildPhase.STARTING:
            return [RemoveJobserver(event.build)]
        build.jobserver = event.path
        return self._grant(build, now)

    def _grant(self, build: Build, now: Moment) -> list[Action]:
        """Tell a launcher to start cargo."""
        start = build.start
        assert build.conn is not None and start, "a build that starts has a launcher and a plan"
        build.enters(BuildPhase.GRANTED, now.steady_s)
        cap = None if start.tokens is None else start.tokens + 1
        build.work_key = key_of_work(build.args.verb, build.args.profile, is_cold=build.is_cold)
        known = self._state.gates.learned.estimate_here(build.root, build.work_key)
        opened = self._state.gates.begin(build, cap, known.cpu_s if known else None, now)
        fields = {
            "build": build.id,
            "argv": without_secrets(build.args.argv),
            "root": build.root,
            "target_dir": build.target_dir,
            "why": build.why,
            "tokens": start.tokens,
            "gated": build.is_gated,
            "own_limit": build.own_limit,
        }
        jobserver = {"path": build.jobserver, "tokens": start.tokens}
        return [
            *opened,
            *self._state.jobservers.begin(build, start.tokens, now),
            Log("build.granted", fields),
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
                    "jobserver": jobserver if build.jobserver else None,
                    "cgroup": self._state.cgroup.procs_for(build),
                    "oom_score_adj": BUILD_OOM_SCORE_ADJ,
                    "cpu_cgroup": self._state.cgroup.cpu_procs_for(build),
                    "nice": self._state.inference.ranking.launch_nice,
                    "requeues": build.requeues,
                },
            ),
        ]

    def wake(self, now: Moment) -> list[Action]:
        """Place the builds that waited for the disk, which has changed."""
        waiting = [b for b in self._state.builds.values() if b.phase is BuildPhase.WAITING_FOR_DISK]
        return [action for build in waiting for action in self.place(build, now)]

    def room_made(self, now: Moment) -> list[Action]:
        """Place the builds that waited for room: there is some, or nobody makes any more."""
        waiting = [b for b in self._state.builds.values() if b.phase is BuildPhase.WAITING_FOR_ROOM]
        return [action for build in waiting for action in self.place(build, now)]

    def arm(self, now: Moment) -> list[Action]:
        """Start the builds that waited for the shim, which is there or cannot be had."""
        waiting = [b for b in self._state.builds.values() if b.phase is BuildPhase.WAITING_FOR_SHIM]
        return [action for build in waiting for action in self.go(build, now, why=build.why)]

    def say_wait(self, now: Moment) -> list[Action]:
        """Tell the builds that wait what for; those that waited too long go on without."""
        actions: list[Action] = []
        for build in list(self._state.builds.values()):
            waited_s = now.steady_s - build.since
            if build.phase is BuildPhase.WAITING_FOR_SHIM and waited_s >= SHIM_PATIENCE_S:
                self._state.shim.is_overdue = True
                patience = show_duration(SHIM_PATIENCE_S)
                build.notes.append(f"the shim was not there within {patience}; no gates")
                actions += self._start(build, now, None)
            elif build.phase is BuildPhase.WAITING_FOR_DISK and waited_s >= DISK_PATIENCE_S:
                self._state.disk.is_overdue = True
                actions += self.place(build, now)
            else:
                actions += self.tell_wait(build, now)
        return actions

    def wait_reason(self, build: Build, now: Moment) -> str | None:
        """Say what a build waits for before its cargo starts; None when for nothing."""
        if build.phase in PAUSED_PHASES:
            return self._state.line.reason(build, now)
        if build.phase is BuildPhase.RESTORING:
            return self._state.tasks.wait_reason(build)
        reason = WAIT_REASONS.get(build.phase)
        return reason.format(disk=self._state.disk.phase) if reason else None

    def tell_wait(self, build: Build, now: Moment) -> list[Action]:
        """Tell a launcher what its build waits for, if it does."""
        reason = self.wait_reason(build, now)
        if build.conn is None or reason is None:
            return []
        since_s = round(now.steady_s - build.began_steady_s, 1)
        return [Send(build.conn, {"type": "wait", "reason": reason, "since_s": since_s})]
