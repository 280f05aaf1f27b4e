"""Performs the core's actions through the doors. Decides nothing.

What may block goes to worker threads: one thread for the disk, since it changes one step at a time,
one for walking target dirs, one for the database, one for inference servers, which may hang, and a
few for all that a build waits for.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from forge.core import (
    actions,
    disk_actions,
    disk_events,
    events,
    room_actions,
    room_events,
    service_actions,
)
from forge.core.inference_actions import (
    LookAtInference,
    LowerBuilds,
    ProtectServer,
    RecordSqueeze,
    TellSqueezes,
    WeighBuilds,
)
from forge.core.process_tree import resident_bytes
from forge.core.units import MIB
from forge.core.workspace import Workspace
from forge.daemon.cgroup_doors import CgroupDoors
from forge.daemon.disk_doors import DiskDoors
from forge.daemon.inference_doors import InferenceDoors
from forge.daemon.memory_doors import MemoryDoors
from forge.daemon.ports import Ports
from forge.daemon.service_doors import ServiceDoors
from forge.daemon.settings import load_settings
from forge.daemon.task_doors import TaskDoors
from forge.daemon.token_doors import TokenDoors
from forge.errors import ForgeError
from forge.host import processes
from forge.host.build_locks import is_locked
from forge.host.build_tmp import remove_tmp_dir
from forge.host.process_table import read_table
from forge.host.shim import current_shim
from forge.paths import cache_dir

Post = Callable[[events.Event], None]


class Performer:
    """Performs actions. `post` takes what comes of them from any thread, `post_next` from ours."""

    def __init__(
        self, ports: Ports, post: Post, post_next: Post, quit_daemon: Callable[[], None]
    ) -> None:
        self._ports = ports
        self._post = post
        tokens, cgroup = TokenDoors(ports, post_next), CgroupDoors(ports, post_next)
        self._memory = MemoryDoors(ports)
        disk = self._disk = DiskDoors(ports, self._memory, post)
        services = self._services = ServiceDoors(ports, post)
        self._tasks = TaskDoors(ports, post)
        self._walking: set[disk_actions.MeasureTargetDir] = set()
        self._disk_thread = ThreadPoolExecutor(1, "disk")
        self._shim_thread = ThreadPoolExecutor(1, "shim")
        self._walk_thread = ThreadPoolExecutor(1, "walk")
        self._evict_thread = ThreadPoolExecutor(1, "evict")
        self._build_threads = ThreadPoolExecutor(4, "build")
        self._memory_thread = ThreadPoolExecutor(1, "memory")
        self._inference_thread = ThreadPoolExecutor(1, "inference")
        inference = InferenceDoors(ports)
        self._does: dict[type, Callable[[Any], None]] = {
            actions.Send: self._send,
            actions.Log: lambda a: ports.log.write(a.decision, a.fields),
            actions.Watch: lambda a: ports.watches.add(a.key, a.pid),
            actions.Unwatch: lambda a: ports.watches.remove(a.key),
            actions.EndOrphan: self._end_orphan,
            actions.EndTree: self._end_tree,
            actions.ProbeLock: self._in(self._build_threads, self._probe_lock),
            actions.Resolve: self._in(self._build_threads, self._resolve),
            disk_actions.MakeTargetDir: self._in(self._build_threads, disk.make_target_dir),
            disk_actions.FindTargetDirs: self._in(self._disk_thread, disk.find_target_dirs),
            disk_actions.MeasureTargetDir: self._walk_once,
            disk_actions.RecordTargetDir: self._memory.record_target_dir,
            disk_actions.KeepTargetMode: self._memory.keep_target_mode,
            disk_actions.RemoveTmpDir: self._remove_tmp_dir,
            actions.RecordBuild: self._memory.record_build,
            actions.TellHistory: self._memory.tell_history,
            actions.TellBuild: self._memory.tell_build,
            actions.ForgetPast: self._memory.forget_past,
            actions.KeepNextBuild: self._memory.keep_next_build,
            room_actions.EvictTargetDir: self._in(self._evict_thread, disk.evict),
            room_actions.LookAtCheckouts: self._in(self._build_threads, disk.look_at_checkouts),
            room_actions.FindStale: self._in(self._walk_thread, disk.find_stale),
            room_actions.SweepSpills: lambda a: self._later(disk.sweep_spills, a),
            room_actions.KeepPin: self._memory.keep_pin,
            room_actions.KeepSpill: self._memory.keep_spill,
            room_actions.ForgetSpill: self._memory.forget_spill,
            actions.KeepHighWater: self._memory.keep_high_water,
            actions.EnsureShim: self._in(self._shim_thread, self._ensure_shim),
            actions.MakeJobserver: tokens.make,
            actions.AdoptJobserver: tokens.adopt,
            actions.RemoveJobserver: tokens.remove,
            actions.LookAtTokens: tokens.look,
            actions.MoveTokens: tokens.move,
            actions.MeasureMemory: self._in(self._memory_thread, self._measure_memory),
            actions.OpenBuildCgroup: cgroup.open,
            actions.LookAtLauncher: cgroup.look,
            LookAtInference: self._in(self._inference_thread, inference.look),
            WeighBuilds: self._in(self._memory_thread, inference.weigh),
            LowerBuilds: lambda a: self._later(inference.lower, a),
            ProtectServer: self._in(self._build_threads, inference.protect),
            RecordSqueeze: self._memory.record_squeeze,
            TellSqueezes: self._memory.tell_squeezes,
            actions.LimitBuilds: self._in(self._memory_thread, cgroup.limit),
            actions.CountHolders: self._in(self._build_threads, tokens.count_holders),
            disk_actions.EnsureDisk: self._in(self._disk_thread, disk.ensure),
            disk_actions.FindDisk: self._in(self._disk_thread, disk.find),
            disk_actions.ResizeDisk: self._in(self._disk_thread, disk.resize),
            disk_actions.UnmountDisk: self._in(self._disk_thread, disk.unmount),
            disk_actions.MeasureDisk: self._in(self._disk_thread, disk.measure),
            disk_actions.WatchDisk: disk.watch,
            disk_actions.UnwatchDisk: disk.unwatch,
            disk_actions.LookAtDisk: self._in(self._build_threads, disk.look),
            actions.LoadSettings: self._in(self._disk_thread, self._load_settings),
            service_actions.LookAtServices: services.look,
            service_actions.StartService: services.start,
            service_actions.KeepLastError: services.keep_last_error,
            actions.Quit: lambda _action: quit_daemon(),
            **self._tasks.does(),
        }

    def perform(self, action: actions.Action) -> None:
        """Perform one action, or hand it to its thread."""
        self._does[type(action)](action)

    def close(self) -> None:
        """Let the threads end; what they are at in the doors is finished or has deadlines.

        Only what is to be written down is waited for.
        """
        for threads in (
            self._disk_thread,
            self._shim_thread,
            self._walk_thread,
            self._evict_thread,
            self._build_threads,
            self._memory_thread,
            self._inference_thread,
        ):
            threads.shutdown(wait=False, cancel_futures=True)
        self._disk.close()
        self._services.close()
        self._tasks.close()
        self._memory.close()

    def _in(
        self, threads: ThreadPoolExecutor, do: Callable[[Any], events.Event]
    ) -> Callable[[Any], None]:
        def perform(action: actions.Action) -> None:
            threads.submit(self._do_and_post, do, action)

        return perform

    def _later(self, do: Callable[[Any], None], action: actions.Action) -> None:
        """Do what nobody waits for."""
        self._build_threads.submit(do, action)

    def _do_and_post(self, do: Callable[[Any], events.Event], action: actions.Action) -> None:
        try:
            event = do(action)
        except Exception as error:  # noqa: BLE001  # a bug in a door: nobody may wait for it for ever
            context = {"message": f"{type(action).__name__} failed", "exception": error}
            loop = self._ports.loop
            loop.call_soon_threadsafe(loop.call_exception_handler, context)
            failure = _failure_of(action, f"internal error: {error!r}")
            if failure is None:
                return
            event = failure
        self._post(event)

    def _send(self, action: actions.Send) -> None:
        message = action.message
        if message["type"] == "status":
            message = {**message, "status": {**self._ports.identity, **message["status"]}}
        self._ports.server.send(action.conn, message)

    def _end_orphan(self, action: actions.EndOrphan) -> None:
        process = self._ports.watches.process(action.key)
        if process:
            processes.end(process)

    def _end_tree(self, action: actions.EndTree) -> None:
        process = self._ports.watches.process(action.key)
        if process:
            processes.end_tree(process)

    def _measure_memory(self, action: actions.MeasureMemory) -> events.Event:
        try:
            used = resident_bytes(action.pids.values(), read_table()) if action.pids else {}
            reading = self._ports.memory.read(time.monotonic())
        except OSError as error:
            return events.MemoryUnmeasured(str(error))
        return events.MemoryMeasured(
            reading, {conn: used[pid] for conn, pid in action.pids.items() if used.get(pid)}
        )

    def _probe_lock(self, action: actions.ProbeLock) -> events.Event:
        return events.LockSeen(action.build, is_locked(action.path))

    def _ensure_shim(self, action: actions.EnsureShim) -> events.Event:
        env = dict(self._ports.env)
        if action.search_path:
            env["PATH"] = action.search_path
        try:
            return events.ShimReady(current_shim(Path(cache_dir(env)), env))
        except ForgeError as error:
            return events.ShimMissing(error.message)
        except OSError as error:
            return events.ShimMissing(str(error))

    def _resolve(self, action: actions.Resolve) -> events.Event:
        workspace = self._ports.workspaces.find(action.cwd, action.argv, action.env)
        return events.Resolved(action.conn, workspace)

    def _walk_once(self, action: disk_actions.MeasureTargetDir) -> None:
        """Walk a target dir, unless it waits for that already: builds may end faster than walks."""
        if action not in self._walking:
            self._walking.add(action)
            self._walk_thread.submit(self._do_and_post, self._measure_target_dir, action)

    def _measure_target_dir(self, action: disk_actions.MeasureTargetDir) -> events.Event:
        self._walking.discard(action)  # what changes from now on wants another walk
        return self._disk.measure_target_dir(action)

    def _remove_tmp_dir(self, action: disk_actions.RemoveTmpDir) -> None:
        """Delete temporary files; nobody waits for that."""
        self._build_threads.submit(remove_tmp_dir, action.disk, action.path)

    def _load_settings(self, action: actions.LoadSettings) -> events.Event:
        try:
            cfg, settings = load_settings(
                self._ports.config_file, self._ports.ramdisk, self._ports.env
            )
        except ForgeError as error:
            return events.SettingsRefused(error.message, error.hint, action.conn)
        self._ports.log.limit(cfg["daemon.log_size"] * MIB)
        return events.SettingsLoaded(settings, action.conn)


def _failure_of(action: actions.Action, reason: str) -> events.Event | None:
    """Return what the core is told when a door has failed in a way that nobody foresaw."""
    match action:
        case actions.Resolve():
            return events.Resolved(action.conn, Workspace(None, outside=reason))
        case disk_actions.MakeTargetDir():
            return disk_events.TargetDirFailed(action.conn, action.path, reason)
        case disk_actions.FindDisk():
            return disk_events.DiskAbsent()
        case actions.EnsureShim():
            return events.ShimMissing(reason)
        case disk_actions.EnsureDisk() | disk_actions.ResizeDisk() | disk_actions.UnmountDisk():
            return disk_events.DiskFailed("disk-unavailable", reason)
        case actions.ProbeLock():
            return events.LockSeen(action.build, locked=True)
        case LookAtInference():
            return events.InferenceUnseen(reason)
        case WeighBuilds():
            return events.BuildsWeighed(action.weight, reason)
        case ProtectServer():
            return events.ServerProtected(action.name, (), (reason,))
        case room_actions.EvictTargetDir():
            return events.TargetDirEvicted(action.path, failure=reason)
        case room_actions.FindStale():
            return room_events.StaleFound(action.path, ())
        case disk_actions.MeasureDisk():
            return disk_events.DiskUnmeasured(reason)
        case actions.LoadSettings():
            return events.SettingsRefused(reason, None, action.conn)
    return None
