"""The one place where things are decided: `State.step(event, now)` returns what is to be done.

The state is stepped by the daemon, by the tests and by the simulator alike. It asks nobody: time,
measurements and outcomes all come as events. What a client is owed hangs on its connection and its
process; there is no counter that a crash could leave wrong.
"""

from collections.abc import Mapping

from forge.core import events, messages, routes
from forge.core.about_paths import AboutPaths
from forge.core.actions import Action, Log, Quit, Send
from forge.core.bloat import Bloat, HighWater
from forge.core.budget import Budget
from forge.core.build_cgroup import CgroupLife
from forge.core.builds import Build
from forge.core.disk_life import DiskLife
from forge.core.disk_watch import DiskWatch
from forge.core.full_disk import FullDisk
from forge.core.gates import WAIT_EVERY_S, Gates
from forge.core.growth import Growth
from forge.core.inference import Inference
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
from forge.core.replies import error
from forge.core.report import status_report
from forge.core.reserved import Reserved
from forge.core.room import Room
from forge.core.service_life import ServiceLife
from forge.core.settings import Settings
from forge.core.shim_life import ShimLife
from forge.core.snapshot_requests import SnapshotRequests
from forge.core.spill import Spill
from forge.core.spills import Spills
from forge.core.stale import Stale
from forge.core.steering import Steering
from forge.core.target_dirs import TargetDir
from forge.core.target_index import TargetIndex
from forge.core.target_modes import TargetModes
from forge.core.target_tasks import TargetTasks
from forge.core.units import MIB
from forge.core.where import Where


class State:
    """All that the daemon knows, and the policy over it."""

    def __init__(
        self,
        settings: Settings,
        *,
        next_build: int = 1,
        learned: Learned | None = None,
        high_water: HighWater | None = None,
        pinned: frozenset[str] = frozenset(),
        modes: Mapping[str, str] | None = None,
        spills: tuple[Spill, ...] = (),
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
        self.inference = Inference(self)
        self.memory = MemoryWatch(self)
        self.cgroup = CgroupLife(self)
        self.killed = Killed(self)
        self.line = WaitingLine(self)
        self.steering = Steering(self)
        self.reserved = Reserved(self)
        self.past_builds = PastBuilds(self)
        self.disk_watch = DiskWatch(self)
        self.bloat = Bloat(self, high_water)
        self.target_index = TargetIndex(self)
        self.target_modes = TargetModes(self, modes or {})
        self.about_paths = AboutPaths(self)
        self.where = Where(self)
        self.services = ServiceLife(self)
        self.tasks = TargetTasks(self)
        self.room = Room(self, pinned)
        self.stale = Stale(self)
        self.growth = Growth(self)
        self.full_disk = FullDisk(self)
        self.spills = Spills.of(self, spills)
        self.snapshot_requests = SnapshotRequests(self)
        self.started_at: Moment | None = None
        self.stopping = False
        self._last_wait_s = 0.0
        self._steps = routes.steps(self)
        self._requests = routes.requests(self)

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
            first += self.cgroup.open_if_wanted() + self.tasks.begin()
            first += self.spills.begin()
        return first + self._steps[type(event)](event, now)

    @property
    def is_busy(self) -> bool:
        """Say whether somebody builds, reserves or changes the disk: the daemon ticks faster."""
        works = self.builds or self.reserved.by_id or self.tasks.running
        return bool(works) or self.disk.is_changing

    @property
    def due_s(self) -> float | None:
        """When the next tick is wanted, by the steady clock; None when the usual ones will do."""
        dues = (
            self.gates.budget.due_s,
            self.jobservers.due_s,
            self.memory.due_s,
            self.services.due_s,
            self.inference.due_s,
        )
        return min((due_s for due_s in dues if due_s is not None), default=None)

    def check(self) -> None:
        """Assert the invariants."""
        self.leases.check()
        self.gates.check()
        self.line.check()
        self.jobservers.check()
        self.memory.check()
        self.inference.check()
        self.reserved.check()
        self.disk_watch.check()
        self.tasks.check()
        self.snapshot_requests.check()

    # Requests

    def received(self, event: events.Received, now: Moment) -> list[Action]:
        """Hand a message to the part that takes it."""
        return self._requests[type(event.message)](event.conn, event.message, now)

    def closed(self, event: events.Closed, now: Moment) -> list[Action]:
        """Take back what hung on a connection."""
        self.where.closed(event.conn)
        self.room.closed(event.conn)
        self.disk_watch.closed(event.conn)
        self.snapshot_requests.closed(event.conn)
        left = self.reserved.closed(event.conn)
        return left + self.gates.closed(event.conn, now) + self.leases.closed(event, now)

    # The shim

    def shim_ready(self, event: events.ShimReady, now: Moment) -> list[Action]:
        """Arm the builds that waited for the shim."""
        return self.shim.is_ready(event.shim) + self.launches.arm(now)

    def shim_missing(self, event: events.ShimMissing, now: Moment) -> list[Action]:
        """Let the builds go that waited for the shim."""
        return self.shim.has_failed(event.reason) + self.launches.arm(now)

    # Tests

    def test(self, conn: int, message: messages.Test, now: Moment) -> list[Action]:
        """Let a test binary ask for cores: its build has compiled all that it was to compile."""
        build = self.builds.get(message.build)
        if build and build.is_requeued:
            return [Send(conn, {"type": "end"})]  # its cargo ends, and begins anew elsewhere
        over = self.line.compiled(build, now) if build else []
        return over + self.gates.test(conn, message, now)

    # Settings, status, time

    def settings_loaded(self, event: events.SettingsLoaded, now: Moment) -> list[Action]:
        """Change to new settings."""
        was, self.settings = self.settings, event.settings
        line = f"configuration read: {event.settings.config_file or 'defaults'}"
        actions = self.inference.set_servers(now)
        actions += self.jobservers.set_cores(now) + self.line.set_limit(now)
        buffer_bytes = event.settings.memory_map.size_mib("linker_buffer") * MIB
        actions += self.gates.set_buffer(buffer_bytes, now)
        actions += self.cgroup.open_if_wanted() + self.cgroup.fit()
        if was.snapshots.directory != event.settings.snapshots.directory:
            actions += self.tasks.begin()
        actions.append(Log("config.loaded", {"file": event.settings.config_file}))
        wish, disk = event.settings.disk, self.disk.disk
        is_new_size = was.disk and wish and was.disk.size_mib != wish.size_mib
        if is_new_size and wish:
            actions += self.disk.fit(wish.size_mib)
        if was.disk and wish and was.disk.mount_point != wish.mount_point and disk:
            line += f"; the RAM disk moves to {wish.mount_point} with `forge disk recreate`"
        if event.conn is not None:
            actions.append(Send(event.conn, {"type": "ok", "line": line}))
        return actions

    def settings_refused(self, event: events.SettingsRefused, now: Moment) -> list[Action]:
        """Stay with the old settings, and say why."""
        actions: list[Action] = [
            Log(
                "config.refused",
                {"reason": event.reason, "hint": event.hint, "kept": "the old one"},
            )
        ]
        if event.conn is not None:
            actions.append(error(event.conn, "config-invalid", event.reason, event.hint))
        return actions

    def status(self, conn: int, message: messages.Status, now: Moment) -> list[Action]:
        """Answer with the status."""
        return [Send(conn, {"type": "status", "status": status_report(self, now)})]

    def mount_point(self) -> str | None:
        """Return where the RAM disk is, or will be."""
        if self.disk.disk:
            return self.disk.disk.mount_point
        return self.settings.disk.mount_point if self.settings.disk else None

    def stop(self, conn: int, message: messages.Stop, now: Moment) -> list[Action]:
        """End the daemon."""
        self.stopping = True
        count = len(self.builds)
        line = "daemon ends; builds that run go on" if count else "daemon ends"
        return [
            Log("daemon.stopping", {"builds": count}),
            Send(conn, {"type": "ok", "line": line}),
            Quit(),
        ]

    def tick(self, event: events.Tick, now: Moment) -> list[Action]:
        """Do what is due."""
        actions = self.gates.tick(now) + self.jobservers.tick(now) + self.line.tick(now)
        actions += self.memory.tick(now) + self.reserved.tick(now) + self.services.tick(now)
        actions += self.bloat.tick(now)
        actions += self.tasks.tick(now) + self.room.tick(now) + self.stale.tick(now)
        actions += self.inference.tick(now)
        if now.steady_s - self._last_wait_s >= WAIT_EVERY_S:
            self._last_wait_s = now.steady_s
            actions += self.disk_watch.say_wait(now) + self.snapshot_requests.say_wait(now)
            actions += self.room.say_wait(now)
            actions += self.launches.say_wait(now)
        actions += self.gates.say_wait(now)
        return actions + self.disk.measure_if_due(now.steady_s, busy=bool(self.leases.on_disk()))
