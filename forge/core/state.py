"""The one place where things are decided: `State.step(event, now)` returns what is to be done.

The state is stepped by the daemon, by the tests and by the simulator alike. It asks nobody: time,
measurements and outcomes all come as events. What a client is owed hangs on its connection and its
process; there is no counter that a crash could leave wrong.

Invariants, checked by `check`: every build has a connection or a watched process; a target dir that
is handed out lies on the mounted disk; a connection carries at most one build.
"""

from collections.abc import Callable
from typing import Any

from forge.core import cargo_args, events, messages
from forge.core.actions import (
    Action,
    EndOrphan,
    FindTargetDirs,
    LoadSettings,
    Log,
    MakeTargetDir,
    MeasureTargetDir,
    Quit,
    RecordTargetDir,
    Resolve,
    Send,
    Unwatch,
    Watch,
)
from forge.core.builds import Build, BuildPhase
from forge.core.disk_life import DiskLife, DiskPhase
from forge.core.disk_requests import DiskRequests
from forge.core.moment import Moment
from forge.core.redirect import decide
from forge.core.report import status_report
from forge.core.settings import Settings
from forge.core.target_dirs import TargetDir
from forge.core.units import show_bytes, show_duration
from forge.core.workspace import target_dir_name

DISK_PATIENCE_S = 20.0
"""A build waits so long for the disk, then it goes on without."""

WAIT_EVERY_S = 1.0
"""How often a waiting client hears from us; its patience is 2 s."""

FULL_BELOW_BYTES = 64 * 1024 * 1024
"""With less room than this no build starts on the disk: not even a hello-world would fit."""


class State:
    """All that the daemon knows, and the policy over it."""

    def __init__(self, settings: Settings, *, next_build: int = 1) -> None:
        self.settings = settings
        self.disk = DiskLife()
        self.builds: dict[str, Build] = {}
        self.target_dirs: dict[str, TargetDir] = {}
        self.next_build = next_build
        self.started_at: Moment | None = None
        self.stopping = False
        self._questions: dict[int, messages.Resolve] = {}
        self._disk_requests = DiskRequests()
        self._told_roots: set[str] = set()
        self._last_wait_s = 0.0
        self._steps: dict[type, Callable[[Any, Moment], list[Action]]] = {
            events.Received: self._received,
            events.Closed: self._closed,
            events.Gone: self._gone,
            events.Resolved: self._resolved,
            events.TargetDirReady: self._target_dir_ready,
            events.TargetDirFailed: self._target_dir_failed,
            events.TargetDirsFound: self._target_dirs_found,
            events.TargetDirMeasured: self._target_dir_measured,
            events.DiskReady: self._disk_ready,
            events.DiskFailed: self._disk_failed,
            events.DiskUnmounted: self._disk_unmounted,
            events.DiskMeasured: self._disk_measured,
            events.SettingsLoaded: self._settings_loaded,
            events.SettingsRefused: self._settings_refused,
            events.Tick: self._tick,
        }
        self._requests: dict[type, Callable[[int, Any, Moment], list[Action]]] = {
            messages.Begin: self._begin,
            messages.Started: self._started,
            messages.Ended: self._ended,
            messages.Adopt: self._adopt,
            messages.Status: self._status,
            messages.Resolve: self._resolve,
            messages.DiskRequest: self._disk_request,
            messages.Reload: lambda conn, _message, _now: [LoadSettings(conn)],
            messages.Stop: self._stop,
        }

    def step(self, event: events.Event, now: Moment) -> list[Action]:
        """Take one event in and say what is to be done, in order."""
        if self.started_at is None:
            self.started_at = now
        return self._steps[type(event)](event, now)

    @property
    def is_busy(self) -> bool:
        """Say whether builds or changes to the disk are under way: the daemon then ticks faster."""
        return bool(self.builds) or self.disk.is_changing

    def check(self) -> None:
        """Assert the invariants."""
        conns = [build.conn for build in self.builds.values() if build.conn is not None]
        assert len(conns) == len(set(conns)), "a connection carries one build"
        for build in self.builds.values():
            granted = build.phase in (BuildPhase.GRANTED, BuildPhase.RUNNING)
            assert build.conn is not None or granted or build.phase is BuildPhase.ORPHANED, build.id
        waiting = any(b.phase is BuildPhase.WAITING_FOR_DISK for b in self.builds.values())
        assert not waiting or self.disk.is_changing, "builds wait for a disk that nobody makes"
        assert not self._disk_requests.waiting or self.disk.is_changing, (
            "a request waits for nothing"
        )

    # Builds

    def _received(self, event: events.Received, now: Moment) -> list[Action]:
        return self._requests[type(event.message)](event.conn, event.message, now)

    def _begin(self, conn: int, message: messages.Begin, now: Moment) -> list[Action]:
        if self._build_on(conn):
            return [_error(conn, "protocol-mismatch", "this connection already carries a build")]
        args = cargo_args.parse(message.argv)
        build = Build(
            id=f"b{self.next_build}", conn=conn, pid=message.pid, cwd=message.cwd, args=args,
            env=message.env, via=message.via, interactive=message.interactive,
            parent=message.parent, began_at=now.wall_s, since=now.steady_s,
        )  # fmt: skip
        self.next_build += 1
        self.builds[build.id] = build
        return [
            Watch(build.launcher_key, message.pid),
            Resolve(conn, message.cwd, args.directory, args.manifest_path, args.verb, message.env),
        ]

    def _resolved(self, event: events.Resolved, now: Moment) -> list[Action]:
        question = self._questions.pop(event.conn, None)
        if question:
            return [self._answer(event, question)]
        build = self._build_on(event.conn)
        if build is None or build.phase is not BuildPhase.RESOLVING:
            return []
        workspace = event.workspace
        redirect = decide(build.args, build.env, workspace, self.settings)
        build.unset = redirect.unset
        if workspace:
            build.root, build.alias_of = workspace.root, workspace.alias_of
            if redirect.note and workspace.root not in self._told_roots:
                self._told_roots.add(workspace.root)
                build.notes.append(redirect.note)
        if not redirect.wanted:
            return self._go(build, now, why=redirect.why)
        return self._place(build, now)

    def _place(self, build: Build, now: Moment) -> list[Action]:
        """Give a build its target dir: at once, or when the disk is there, or not at all."""
        disk = self.disk
        if disk.phase is DiskPhase.MOUNTED and disk.disk and build.root and build.conn is not None:
            free = disk.usage.free_bytes if disk.usage else 0
            path = f"{disk.disk.mount_point}/{target_dir_name(build.root)}"
            if free < FULL_BELOW_BYTES and path not in self.target_dirs:
                build.notes.append(
                    f"the RAM disk is full ({show_bytes(free)} free); building on the SSD"
                )
                return self._go(build, now, why="the RAM disk is full")
            build.enters(BuildPhase.PREPARING, now.steady_s)
            link_from = f"{build.root}/target" if self.settings.link_target else None
            return [MakeTargetDir(build.conn, disk.disk, path, build.root, link_from)]
        if not disk.is_changing and not disk.is_worth_a_try(now.steady_s):
            build.notes.append(f"no RAM disk: {disk.failure}; building on the SSD")
            return self._go(build, now, why="no RAM disk")
        build.enters(BuildPhase.WAITING_FOR_DISK, now.steady_s)
        return [*self._ensure_disk(), *self._say_wait(build, now)]

    def _ensure_disk(self) -> list[Action]:
        if self.disk.is_changing or self.settings.disk is None:
            return []
        return self.disk.ensure(self.settings.disk)

    def _target_dir_ready(self, event: events.TargetDirReady, now: Moment) -> list[Action]:
        build = self._build_on(event.conn)
        if build is None or build.phase is not BuildPhase.PREPARING or build.root is None:
            return []
        known = self.target_dirs.get(event.path)
        target_dir = TargetDir(
            path=event.path,
            root=build.root,
            created_at=known.created_at if known else now.wall_s,
            last_used_at=now.wall_s,
            builds=(known.builds if known else 0) + 1,
            size_bytes=known.size_bytes if known else None,
            files=known.files if known else 0,
        )
        self.target_dirs[event.path] = target_dir
        build.target_dir = event.path
        return [RecordTargetDir(target_dir), *self._go(build, now, why="default")]

    def _target_dir_failed(self, event: events.TargetDirFailed, now: Moment) -> list[Action]:
        actions: list[Action] = []
        if event.disk_lost and self.disk.phase is DiskPhase.MOUNTED:
            actions += self._lose_disk(event.reason, now)
        build = self._build_on(event.conn)
        if build is None or build.phase is not BuildPhase.PREPARING:
            return actions
        build.disk_tries += 1
        if event.disk_lost and build.disk_tries < 2:
            build.notes.append("the RAM disk had vanished; it was mounted anew")
            return actions + self._place(build, now)
        build.notes.append(f"the RAM disk cannot be used: {event.reason}; building on the SSD")
        return actions + self._go(build, now, why=event.reason)

    def _go(self, build: Build, now: Moment, *, why: str) -> list[Action]:
        """Tell a launcher to start cargo."""
        if build.conn is None:
            return self._forget(build)
        argv = build.args.argv
        env: dict[str, str] = {}
        if build.target_dir:
            argv, env = cargo_args.redirected(build.args, build.target_dir, alias_of=build.alias_of)
        build.enters(BuildPhase.GRANTED, now.steady_s)
        fields = {"build": build.id, "argv": list(build.args.argv), "root": build.root}
        return [
            Log("build.granted", {**fields, "target_dir": build.target_dir, "why": why}),
            Send(
                build.conn,
                {
                    "type": "go",
                    "build": build.id,
                    "argv": list(argv),
                    "env": {**env, "FORGE_BUILD": build.id},
                    "unset": [name for name in build.unset if name not in env],
                    "notes": build.notes,
                    "target_dir": build.target_dir,
                    "jobserver": None,
                },
            ),
        ]

    def _started(self, conn: int, message: messages.Started, now: Moment) -> list[Action]:
        build = self._build_on(conn)
        if build is None or build.phase is not BuildPhase.GRANTED:
            return [_error(conn, "protocol-mismatch", "`started` without a build that was granted")]
        build.cargo_pid = message.pid
        build.enters(BuildPhase.RUNNING, now.steady_s)
        return [Watch(build.cargo_key, message.pid), Log("build.started", {"build": build.id})]

    def _ended(self, conn: int, message: messages.Ended, now: Moment) -> list[Action]:
        build = self._build_on(conn)
        if build is None:
            return [_error(conn, "protocol-mismatch", "`ended` without a build")]
        took_s = round(now.wall_s - build.began_at, 3)
        fields = {"build": build.id, "exit": message.exit, "signal": message.signal}
        return [Log("build.ended", {**fields, "wall_s": took_s}), *self._forget(build)]

    def _adopt(self, conn: int, message: messages.Adopt, now: Moment) -> list[Action]:
        build_id = message.build
        if build_id in self.builds:
            build_id = f"b{self.next_build}"
            self.next_build += 1
        number = build_id.removeprefix("b")
        if number.isascii() and number.isdigit() and len(number) < 16:
            self.next_build = max(self.next_build, int(number) + 1)
        build = Build(
            id=build_id, conn=conn, pid=message.pid, cwd=message.cwd,
            args=cargo_args.parse(message.argv), env={}, via="adopted", interactive=False,
            parent=None, began_at=now.wall_s, since=now.steady_s, phase=BuildPhase.RUNNING,
            target_dir=message.target_dir, cargo_pid=message.cargo_pid,
        )  # fmt: skip
        known = self.target_dirs.get(message.target_dir or "")
        build.root = known.root if known else None
        self.builds[build_id] = build
        return [
            Watch(build.launcher_key, message.pid),
            Watch(build.cargo_key, message.cargo_pid),
            Log("build.adopted", {"build": build_id, "target_dir": message.target_dir}),
            Send(conn, {"type": "adopted", "build": build_id}),
            *([] if self.disk.disk else self._ensure_disk()),
        ]

    def _closed(self, event: events.Closed, now: Moment) -> list[Action]:
        self._questions.pop(event.conn, None)
        self._disk_requests.drop(event.conn)
        build = self._build_on(event.conn)
        if build is None:
            return []
        build.conn = None
        if build.phase in (BuildPhase.GRANTED, BuildPhase.RUNNING):
            return []  # its launcher's watch tells whether it was killed or has lost only us
        return [Log("build.left", {"build": build.id, "phase": build.phase}), *self._forget(build)]

    def _gone(self, event: events.Gone, now: Moment) -> list[Action]:
        build_id, _, part = event.key.partition("/")
        build = self.builds.get(build_id)
        if build is None:
            return []
        if part == "launcher" and build.phase is BuildPhase.RUNNING:
            build.conn = None
            build.enters(BuildPhase.ORPHANED, now.steady_s)
            return [Log("build.orphaned", {"build": build.id}), EndOrphan(build.cargo_key)]
        if part == "cargo" and build.conn is not None:
            return []  # its launcher tells how it ended
        return [Log("build.gone", {"build": build.id, "part": part}), *self._forget(build)]

    def _forget(self, build: Build) -> list[Action]:
        del self.builds[build.id]
        actions: list[Action] = [Unwatch(build.launcher_key), Unwatch(build.cargo_key)]
        if build.target_dir and build.phase is not BuildPhase.PREPARING:
            actions.append(MeasureTargetDir(build.target_dir))
        return actions

    def _build_on(self, conn: int) -> Build | None:
        return next((build for build in self.builds.values() if build.conn == conn), None)

    def builds_on_disk(self) -> list[Build]:
        """Return the builds that use the RAM disk now."""
        return [
            build
            for build in self.builds.values()
            if build.target_dir or build.phase is BuildPhase.PREPARING
        ]

    # Target dirs

    def _target_dirs_found(self, event: events.TargetDirsFound, now: Moment) -> list[Action]:
        self.target_dirs = {one.path: one for one in event.found}
        return [MeasureTargetDir(one.path) for one in event.found if one.size_bytes is None]

    def _target_dir_measured(self, event: events.TargetDirMeasured, now: Moment) -> list[Action]:
        known = self.target_dirs.get(event.path)
        if known is None:
            return []
        if event.size_bytes is None:
            del self.target_dirs[event.path]
            return []
        measured = TargetDir(
            known.path, known.root, known.created_at,
            now.wall_s if self._in_use(known) else known.last_used_at,
            known.builds, event.size_bytes, event.files,
        )  # fmt: skip
        self.target_dirs[event.path] = measured
        return [RecordTargetDir(measured)]

    def _in_use(self, target_dir: TargetDir) -> bool:
        return any(build.target_dir == target_dir.path for build in self.builds.values())

    # The disk

    def _disk_request(self, conn: int, message: messages.DiskRequest, now: Moment) -> list[Action]:
        return self._disk_requests.take(conn, message, self, now)

    def _disk_ready(self, event: events.DiskReady, now: Moment) -> list[Action]:
        resized = self.disk.phase is DiskPhase.RESIZING
        actions = self.disk.is_ready(event.disk, event.usage, now.steady_s)
        actions += self._disk_requests.answer(self)
        if not resized:
            actions.append(FindTargetDirs(event.disk))
        return actions + self._wake_builds(now)

    def _disk_failed(self, event: events.DiskFailed, now: Moment) -> list[Action]:
        if event.lost:
            actions = self._lose_disk(event.reason, now)
        else:
            actions = self.disk.has_failed(event.reason, event.hint, lost=False, now_s=now.steady_s)
        actions += self._disk_requests.refuse(event.slug, event.reason, event.hint)
        return actions + self._wake_builds(now)

    def _lose_disk(self, reason: str, now: Moment) -> list[Action]:
        line = f"the RAM disk is gone ({reason}); what was built on it is lost"
        victims = [b for b in self.builds.values() if b.target_dir and b.conn is not None]
        self.target_dirs = {}
        return [
            *self.disk.has_failed(reason, None, lost=True, now_s=now.steady_s),
            *(Send(b.conn, {"type": "say", "line": line}) for b in victims if b.conn is not None),
        ]

    def _disk_unmounted(self, event: events.DiskUnmounted, now: Moment) -> list[Action]:
        remount = self.disk.remount
        actions = self.disk.is_unmounted()
        self.target_dirs = {}
        if remount and self.settings.disk:
            self.disk.remount = False
            return actions + self.disk.ensure(self.settings.disk)
        actions += self._disk_requests.answer(self)
        return actions + self._wake_builds(now)

    def _disk_measured(self, event: events.DiskMeasured, now: Moment) -> list[Action]:
        if self.disk.disk:
            self.disk.usage = event.usage
        return []

    def _wake_builds(self, now: Moment) -> list[Action]:
        waiting = [b for b in self.builds.values() if b.phase is BuildPhase.WAITING_FOR_DISK]
        return [action for build in waiting for action in self._place(build, now)]

    # Settings, status, time

    def _settings_loaded(self, event: events.SettingsLoaded, now: Moment) -> list[Action]:
        was, self.settings = self.settings, event.settings
        line = f"configuration read: {event.settings.config_file or 'defaults'}"
        actions: list[Action] = [Log("config.loaded", {"file": event.settings.config_file})]
        wish, disk = event.settings.disk, self.disk.disk
        is_new_size = was.disk and wish and was.disk.size_mib != wish.size_mib
        if is_new_size and wish and self.disk.phase is DiskPhase.MOUNTED:
            actions += self.disk.resize(wish.size_mib)
        if was.disk and wish and was.disk.mount_point != wish.mount_point and disk:
            line += f"; the RAM disk moves to {wish.mount_point} with `forge disk recreate`"
        if event.conn is not None:
            actions.append(Send(event.conn, {"type": "ok", "line": line}))
        return actions

    def _settings_refused(self, event: events.SettingsRefused, now: Moment) -> list[Action]:
        actions: list[Action] = [
            Log(
                "config.refused",
                {"reason": event.reason, "hint": event.hint, "kept": "the old one"},
            )
        ]
        if event.conn is not None:
            actions.append(_error(event.conn, "config-invalid", event.reason, event.hint))
        return actions

    def _status(self, conn: int, message: messages.Status, now: Moment) -> list[Action]:
        return [Send(conn, {"type": "status", "status": status_report(self, now)})]

    def _resolve(self, conn: int, message: messages.Resolve, now: Moment) -> list[Action]:
        args = cargo_args.parse(message.argv)
        self._questions[conn] = message
        return [
            Resolve(conn, message.cwd, args.directory, args.manifest_path, args.verb, message.env)
        ]

    def _answer(self, event: events.Resolved, question: messages.Resolve) -> Action:
        args = cargo_args.parse(question.argv)
        redirect = decide(args, question.env, event.workspace, self.settings)
        mount_point = self._mount_point()
        root = event.workspace.root if event.workspace else None
        wanted = redirect.wanted and root is not None and mount_point is not None
        return Send(
            event.conn,
            {
                "type": "resolved",
                "root": root,
                "target_dir": f"{mount_point}/{target_dir_name(root)}" if wanted and root else None,
                "redirected": wanted,
                "why": redirect.why if root else event.why or redirect.why,
            },
        )

    def _mount_point(self) -> str | None:
        if self.disk.disk:
            return self.disk.disk.mount_point
        return self.settings.disk.mount_point if self.settings.disk else None

    def _stop(self, conn: int, message: messages.Stop, now: Moment) -> list[Action]:
        self.stopping = True
        count = len(self.builds)
        line = "daemon ends; builds that run go on" if count else "daemon ends"
        return [
            Log("daemon.stopping", {"builds": count}),
            Send(conn, {"type": "ok", "line": line}),
            Quit(),
        ]

    def _tick(self, event: events.Tick, now: Moment) -> list[Action]:
        actions: list[Action] = []
        if now.steady_s - self._last_wait_s >= WAIT_EVERY_S:
            self._last_wait_s = now.steady_s
            actions += self._disk_requests.say_wait(self, now)
            for build in list(self.builds.values()):
                if build.phase is not BuildPhase.WAITING_FOR_DISK:
                    continue
                if now.steady_s - build.since >= DISK_PATIENCE_S:
                    build.notes.append(
                        f"the RAM disk was not there within {show_duration(DISK_PATIENCE_S)};"
                        " building on the SSD"
                    )
                    actions += self._go(build, now, why="the disk took too long")
                else:
                    actions += self._say_wait(build, now)
        return actions + self.disk.measure_if_due(now.steady_s, busy=bool(self.builds))

    def _say_wait(self, build: Build, now: Moment) -> list[Action]:
        if build.conn is None:
            return []
        since_s = round(now.steady_s - build.since, 1)
        reason = f"the RAM disk is {self.disk.phase}"
        return [Send(build.conn, {"type": "wait", "reason": reason, "since_s": since_s})]


def _error(conn: int, slug: str, message: str, hint: str | None = None) -> Send:
    return Send(conn, {"type": "error", "slug": slug, "message": message, "hint": hint})
