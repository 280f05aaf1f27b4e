"""The one place where things are decided: `State.step(event, now)` returns what is to be done.

The state is stepped by the daemon, by the tests and by the simulator alike. It asks nobody: time,
measurements and outcomes all come as events. What a client is owed hangs on its connection and its
process; there is no counter that a crash could leave wrong.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from forge.core import cargo_args, events, messages
from forge.core.actions import (
    Action,
    FindTargetDirs,
    LoadSettings,
    Log,
    MeasureTargetDir,
    Quit,
    RecordTargetDir,
    Resolve,
    Send,
)
from forge.core.budget import Budget
from forge.core.build_cgroup import CgroupLife
from forge.core.builds import Build, BuildPhase
from forge.core.disk_life import DiskLife, DiskPhase
from forge.core.disk_requests import DiskRequests
from forge.core.gates import WAIT_EVERY_S, Gates
from forge.core.jobservers import Jobservers
from forge.core.killed import Killed
from forge.core.launches import Launches
from forge.core.learned import Learned
from forge.core.leases import Leases
from forge.core.line import WaitingLine
from forge.core.memory_gate import MemoryGate
from forge.core.memory_watch import MemoryWatch
from forge.core.moment import Moment
from forge.core.past_builds import PastBuilds
from forge.core.redirect import decide
from forge.core.replies import error
from forge.core.report import status_report
from forge.core.reserved import Reserved
from forge.core.settings import Settings
from forge.core.shim_life import ShimLife
from forge.core.steering import Steering
from forge.core.target_dirs import TargetDir
from forge.core.units import MIB
from forge.core.workspace import target_dir_name


class State:
    """All that the daemon knows, and the policy over it."""

    def __init__(
        self, settings: Settings, *, next_build: int = 1, learned: Learned | None = None
    ) -> None:
        self.settings = settings
        self.disk = DiskLife()
        self.shim = ShimLife()
        self.target_dirs: dict[str, TargetDir] = {}
        self.leases = Leases(self, next_build)
        memory = MemoryGate.of_buffer(settings.memory_map.size_mib("linker_buffer") * MIB)
        known = Learned() if learned is None else learned  # an empty one is false
        self.gates = Gates(self.leases.builds, Budget(settings.cores), memory, known)
        self.jobservers = Jobservers(self)
        self.launches = Launches(self)
        self.memory = MemoryWatch(self)
        self.cgroup = CgroupLife(self)
        self.killed = Killed(self)
        self.line = WaitingLine(self)
        self.steering = Steering(self)
        self.reserved = Reserved(self)
        past_builds = PastBuilds(self)
        self.started_at: Moment | None = None
        self.stopping = False
        self._questions: dict[int, messages.Resolve] = {}
        self._disk_requests = DiskRequests()
        self._last_wait_s = 0.0
        self._steps: dict[type, Callable[[Any, Moment], list[Action]]] = {
            events.Received: self._received,
            events.Closed: self._closed,
            events.Gone: self.leases.gone,
            events.Resolved: self._resolved,
            events.TargetDirReady: self.launches.target_dir_ready,
            events.TargetDirFailed: self.launches.target_dir_failed,
            events.TargetDirsFound: self._target_dirs_found,
            events.TargetDirMeasured: self._target_dir_measured,
            events.DiskReady: self._disk_ready,
            events.DiskFailed: self._disk_failed,
            events.DiskAbsent: self._disk_absent,
            events.DiskUnmounted: self._disk_unmounted,
            events.DiskMeasured: self._disk_measured,
            events.DiskLost: self._disk_lost,
            events.DiskUnmeasured: self._disk_unmeasured,
            events.ShimReady: self._shim_ready,
            events.ShimMissing: self._shim_missing,
            events.JobserverMade: self.launches.jobserver_made,
            events.TokensSeen: self.jobservers.seen,
            events.TokensMoved: self.jobservers.moved,
            events.HoldersCounted: self.jobservers.counted,
            events.MemoryMeasured: self.memory.measured,
            events.MemoryUnmeasured: self.memory.unmeasured,
            events.LockSeen: self.line.lock_seen,
            events.BuildCgroupOpened: self.cgroup.opened,
            events.BuildCgroupMissing: self.cgroup.missing,
            events.BuildsLimited: self.cgroup.limited,
            events.LauncherSeen: self.launches.launcher_seen,
            events.SettingsLoaded: self._settings_loaded,
            events.SettingsRefused: self._settings_refused,
            events.Tick: self._tick,
        }
        self._requests: dict[type, Callable[[int, Any, Moment], list[Action]]] = {
            messages.Begin: self.launches.begin,
            messages.Started: self.leases.started,
            messages.Ended: self.leases.ended,
            messages.Adopt: self.leases.adopt,
            messages.Unit: self.gates.unit,
            messages.UnitEnded: self.killed.ended,
            messages.Link: self.gates.link,
            messages.LinkEnded: self.killed.ended,
            messages.Cancelled: self.gates.cancelled,
            messages.Test: self._test,
            messages.TestEnded: self.gates.ended,
            messages.Reserve: self.reserved.reserve,
            messages.ReserveEnded: self.reserved.ended,
            messages.CancelBuild: self.steering.cancel_build,
            messages.SetPriority: self.steering.set_priority,
            messages.Hold: self.steering.hold,
            messages.History: past_builds.history,
            messages.Explain: past_builds.explain,
            messages.Status: self._status,
            messages.Resolve: self._resolve,
            messages.DiskRequest: self._disk_request,
            messages.Reload: lambda conn, _message, _now: [LoadSettings(conn)],
            messages.Stop: self._stop,
        }

    @property
    def builds(self) -> dict[str, Build]:
        """The builds that are known, by id."""
        return self.leases.builds

    def step(self, event: events.Event, now: Moment) -> list[Action]:
        """Take one event in and say what is to be done, in order."""
        first: list[Action] = []
        if self.started_at is None:
            self.started_at = now
            first = self.disk.find(self.settings.disk) if self.settings.disk else []
            first += self.cgroup.open_if_wanted()
        return first + self._steps[type(event)](event, now)

    @property
    def is_busy(self) -> bool:
        """Say whether somebody builds, reserves or changes the disk: the daemon ticks faster."""
        return bool(self.builds or self.reserved.by_id) or self.disk.is_changing

    @property
    def due_s(self) -> float | None:
        """When the next tick is wanted, by the steady clock; None when the usual ones will do."""
        dues = (self.gates.budget.due_s, self.jobservers.due_s, self.memory.due_s)
        return min((due_s for due_s in dues if due_s is not None), default=None)

    def check(self) -> None:
        """Assert the invariants."""
        self.leases.check()
        self.gates.check()
        self.line.check()
        self.jobservers.check()
        self.memory.check()
        self.reserved.check()
        waiting = any(b.phase is BuildPhase.WAITING_FOR_DISK for b in self.builds.values())
        asked = self._disk_requests.waiting
        assert self.disk.is_changing or not (waiting or asked), "somebody waits for nothing"

    # Requests

    def _received(self, event: events.Received, now: Moment) -> list[Action]:
        return self._requests[type(event.message)](event.conn, event.message, now)

    def _closed(self, event: events.Closed, now: Moment) -> list[Action]:
        self._questions.pop(event.conn, None)
        self._disk_requests.drop(event.conn)
        left = self.reserved.closed(event.conn)
        return left + self.gates.closed(event.conn, now) + self.leases.closed(event, now)

    def _resolved(self, event: events.Resolved, now: Moment) -> list[Action]:
        question = self._questions.pop(event.conn, None)
        if question:
            return [self._answer(event, question)]
        return self.launches.resolved(event, now)

    # Target dirs

    def _target_dirs_found(self, event: events.TargetDirsFound, now: Moment) -> list[Action]:
        found = {one.path: one for one in event.found}
        self.target_dirs = found | self.target_dirs  # what a build has just used is known better
        return [MeasureTargetDir(one.path) for one in event.found if one.size_bytes is None]

    def _target_dir_measured(self, event: events.TargetDirMeasured, now: Moment) -> list[Action]:
        known = self.target_dirs.get(event.path)
        if known is None:
            return []
        if event.size_bytes is None:
            del self.target_dirs[event.path]
            return []
        last_used_at = now.wall_s if self._in_use(known) else known.last_used_at
        measured = replace(
            known, last_used_at=last_used_at, size_bytes=event.size_bytes, files=event.files
        )
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
        return actions + self.launches.wake(now) + self._disk_requests.resume(self, now)

    def _disk_absent(self, event: events.DiskAbsent, now: Moment) -> list[Action]:
        self.disk.is_absent()
        return self._disk_requests.resume(self, now) + self.launches.wake(now)

    def _disk_failed(self, event: events.DiskFailed, now: Moment) -> list[Action]:
        if event.lost:
            actions = self.lose_disk(event.reason, now)
        else:
            actions = self.disk.has_failed(event.reason, event.hint, lost=False, now_s=now.steady_s)
        actions += self._disk_requests.refuse(event.slug, event.reason, event.hint)
        return actions + self.launches.wake(now)

    def lose_disk(self, reason: str, now: Moment) -> list[Action]:
        """Take note that the disk is gone unasked, and tell the builds that were on it."""
        line = f"the RAM disk is gone ({reason}); what was built on it is lost"
        self.target_dirs = {}
        return [
            *self.disk.has_failed(reason, None, lost=True, now_s=now.steady_s),
            *self.leases.tell_all_on_disk(line),
        ]

    def _disk_unmounted(self, event: events.DiskUnmounted, now: Moment) -> list[Action]:
        remount = self.disk.remount
        actions = self.disk.is_unmounted()
        self.target_dirs = {}
        if remount and self.settings.disk:
            self.disk.remount = False
            return actions + self.disk.ensure(self.settings.disk)
        actions += self._disk_requests.answer(self)
        return actions + self.launches.wake(now)

    def _disk_measured(self, event: events.DiskMeasured, now: Moment) -> list[Action]:
        self.disk.is_measuring = False
        if self.disk.disk:
            self.disk.usage = event.usage
        return []

    def _disk_lost(self, event: events.DiskLost, now: Moment) -> list[Action]:
        self.disk.is_measuring = False
        disk = self.disk.disk
        if disk is None or disk.token != event.token:
            return []  # we know by now, and have perhaps another one
        actions = self.lose_disk(event.reason, now)
        actions += self._disk_requests.refuse("disk-unavailable", event.reason, None)
        return actions + self.launches.wake(now)

    def _disk_unmeasured(self, event: events.DiskUnmeasured, now: Moment) -> list[Action]:
        self.disk.is_measuring = False
        return [Log("disk.unmeasured", {"reason": event.reason})]

    # The shim

    def _shim_ready(self, event: events.ShimReady, now: Moment) -> list[Action]:
        return self.shim.is_ready(event.shim) + self.launches.arm(now)

    def _shim_missing(self, event: events.ShimMissing, now: Moment) -> list[Action]:
        return self.shim.has_failed(event.reason) + self.launches.arm(now)

    # Tests

    def _test(self, conn: int, message: messages.Test, now: Moment) -> list[Action]:
        """Let a test binary ask for cores: its build has compiled all that it was to compile."""
        build = self.builds.get(message.build)
        over = self.line.compiled(build, now) if build else []
        return over + self.gates.test(conn, message, now)

    # Settings, status, time

    def _settings_loaded(self, event: events.SettingsLoaded, now: Moment) -> list[Action]:
        was, self.settings = self.settings, event.settings
        line = f"configuration read: {event.settings.config_file or 'defaults'}"
        actions = self.jobservers.set_cores(now) + self.line.set_limit(now)
        buffer_bytes = event.settings.memory_map.size_mib("linker_buffer") * MIB
        actions += self.gates.set_buffer(buffer_bytes, now)
        actions += self.cgroup.open_if_wanted() + self.cgroup.fit()
        actions.append(Log("config.loaded", {"file": event.settings.config_file}))
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
            actions.append(error(event.conn, "config-invalid", event.reason, event.hint))
        return actions

    def _status(self, conn: int, message: messages.Status, now: Moment) -> list[Action]:
        return [Send(conn, {"type": "status", "status": status_report(self, now)})]

    def _resolve(self, conn: int, message: messages.Resolve, now: Moment) -> list[Action]:
        args = cargo_args.parse(message.argv)
        self._questions[conn] = message
        return [Resolve(conn, message.cwd, args.argv, message.env)]

    def _answer(self, event: events.Resolved, question: messages.Resolve) -> Action:
        args = cargo_args.parse(event.workspace.argv or question.argv)
        redirect = decide(args, question.env, event.workspace, self.settings)
        mount_point = self.mount_point()
        root = event.workspace.root
        wanted = redirect.wanted and root is not None and mount_point is not None
        return Send(
            event.conn,
            {
                "type": "resolved",
                "root": root,
                "target_dir": f"{mount_point}/{target_dir_name(root)}" if wanted and root else None,
                "redirected": wanted,
                "why": redirect.why,
            },
        )

    def mount_point(self) -> str | None:
        """Return where the RAM disk is, or will be."""
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
        actions = self.gates.tick(now) + self.jobservers.tick(now) + self.line.tick(now)
        actions += self.memory.tick(now) + self.reserved.tick(now)
        if now.steady_s - self._last_wait_s >= WAIT_EVERY_S:
            self._last_wait_s = now.steady_s
            actions += self._disk_requests.say_wait(self, now)
            actions += self.launches.say_wait(now)
        actions += self.gates.say_wait(now)
        return actions + self.disk.measure_if_due(now.steady_s, busy=bool(self.builds))
