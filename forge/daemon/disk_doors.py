"""Performs what is done to the RAM disk and to the target dirs on it. Called in worker threads."""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from forge.core import disk_actions, disk_events, events, room_actions, room_events
from forge.core.disk import Disk
from forge.core.target_dirs import TargetDir
from forge.daemon.memory_doors import MemoryDoors
from forge.daemon.ports import Ports
from forge.errors import ForgeError
from forge.host import spill_dir
from forge.host.build_tmp import make_tmp_dir, sweep_tmp_dirs
from forge.host.disk_sight import DiskSight, Seen
from forge.host.disk_usage import walk_tree
from forge.host.removal import set_aside, set_parts_aside
from forge.host.stale_parts import stale_parts
from forge.host.target_dirs import (
    link_target,
    list_target_dirs,
    make_target_dir,
    sweep_drafts,
    unlink_target,
)
from forge.host.trash import empty, open_root, trash_on


class DiskDoors:
    """The doors of the disk."""

    def __init__(
        self, ports: Ports, memory: MemoryDoors, post: Callable[[events.Event], None]
    ) -> None:
        self._ports = ports
        self._sight = DiskSight(ports.ramdisk.is_writable, lambda seen: post(_event_of(seen)))
        self._memory = memory

    def make_target_dir(self, action: disk_actions.MakeTargetDir) -> events.Event:
        """Make a build's target dir."""
        try:
            usage = None
            if action.disk.kind.is_measured_by_the_kernel:
                usage = self._ports.ramdisk.measure(action.disk)
            make_target_dir(action.disk, action.path)
        except ForgeError as error:
            return disk_events.TargetDirFailed(
                action.conn, action.path, error.message, disk_lost=True
            )
        except OSError as error:
            reason = error.strerror or "unknown error"
            return disk_events.TargetDirFailed(action.conn, action.path, reason)
        tmp_dir = make_tmp_dir(action.tmp_dir) if action.tmp_dir else None
        if action.unlink_from:
            unlink_target(action.unlink_from, action.path)
        if action.link_from:
            try:
                link_target(action.link_from, action.path)
            except OSError as error:
                self._log_from_thread(
                    "target.unlinked", {"link": action.link_from, "why": error.strerror}
                )
        return disk_events.TargetDirReady(action.conn, action.path, usage, tmp_dir)

    def find_target_dirs(self, action: disk_actions.FindTargetDirs) -> events.Event:
        """Look which target dirs are on the disk, and forget those that are not."""
        try:
            for path in sweep_drafts(action.disk):
                self._log_from_thread("target.swept", {"path": path})
        except OSError as error:
            self._log_from_thread("disk.unseen", {"why": str(error)})
        try:
            self.sweep(action.disk)
        except (ForgeError, OSError) as error:
            self._log_from_thread("disk.unseen", {"why": str(error)})
        looked_at = time.time()
        for path in sweep_tmp_dirs(action.disk):
            self._log_from_thread("tmp.swept", {"path": path})
        known = self._memory.target_dirs()
        try:
            there = list_target_dirs(action.disk)
        except OSError:
            there = []
        found = [
            known.get(path) or TargetDir(path, None, created_at=mtime, last_used_at=mtime)
            for path, mtime in there
        ]
        for path in known.keys() - {path for path, _ in there}:
            if path.startswith(action.disk.mount_point + "/"):
                self._memory.forget_target_dir(path)
        return disk_events.TargetDirsFound(tuple(found), looked_at)

    def measure_target_dir(self, action: disk_actions.MeasureTargetDir) -> events.Event:
        """Walk a target dir."""
        walked = walk_tree(action.path, action.profile_dir)
        if walked is None:
            self._memory.forget_target_dir(action.path)
            return disk_events.TargetDirMeasured(action.path, None)
        parts = walked.parts
        return disk_events.TargetDirMeasured(
            action.path, parts.size_bytes, parts.files, parts, walked.kept
        )

    def evict(self, action: room_actions.EvictTargetDir) -> events.Event:
        """Put a target dir aside, unless somebody uses it, and delete it."""
        try:
            if action.disk is None:
                return events.TargetDirEvicted(action.path, spill_dir.remove(action.path))
            if action.parts:
                trash = set_parts_aside(action.disk, action.path, action.parts)
            else:
                trash = set_aside(action.disk, action.path)
            root = open_root(action.disk.mount_point, action.disk.device_id)
        except (ForgeError, OSError) as error:
            return events.TargetDirEvicted(action.path, failure=str(error))
        try:
            emptied = empty(root, trash)
        finally:
            os.close(root)
        for line in emptied.left:
            self._log_from_thread("target.left", {"what": line})
        return events.TargetDirEvicted(action.path, emptied.freed_bytes)

    def find_stale(self, action: room_actions.FindStale) -> events.Event:
        """See what in a target dir is of little use."""
        found = stale_parts(action.path)
        parts = tuple((one.paths, one.size_bytes, one.why) for one in found)
        return room_events.StaleFound(action.path, parts)

    def look_at_checkouts(self, action: room_actions.LookAtCheckouts) -> events.Event:
        """See which workspace roots are gone; one that cannot be looked at is not."""
        return room_events.CheckoutsSeen(frozenset(root for root in action.roots if _is_gone(root)))

    def sweep_spills(self, action: room_actions.SweepSpills) -> None:
        """Delete what an earlier daemon has left half moved on the SSD."""
        try:
            for path in spill_dir.sweep(action.directory):
                self._log_from_thread("target.swept", {"path": path})
        except (ForgeError, OSError) as error:
            self._log_from_thread("target.left", {"what": str(error)})

    def sweep(self, disk: Disk) -> None:
        """Delete what an earlier daemon had put aside and not deleted."""
        root = open_root(disk.mount_point, disk.device_id)
        try:
            for name in trash_on(root):
                empty(root, name)
        finally:
            os.close(root)

    def ensure(self, action: disk_actions.EnsureDisk) -> events.Event:
        """Mount the disk, or take the one that is there."""
        return self._disk_event(lambda: self._ports.ramdisk.ensure(action.spec))

    def find(self, action: disk_actions.FindDisk) -> events.Event:
        """Look for a disk that an earlier daemon has left."""
        try:
            disk = self._ports.ramdisk.identify(action.spec)
            if disk:
                return disk_events.DiskReady(disk, self._ports.ramdisk.measure(disk))
        except (ForgeError, OSError) as error:
            self._log_from_thread("disk.unseen", {"why": str(error)})
        return disk_events.DiskAbsent()

    def resize(self, action: disk_actions.ResizeDisk) -> events.Event:
        """Resize the disk."""
        return self._disk_event(lambda: self._ports.ramdisk.resize(action.disk, action.size_mib))

    def _disk_event(self, change: Callable[[], Disk]) -> events.Event:
        try:
            disk = change()
            return disk_events.DiskReady(disk, self._ports.ramdisk.measure(disk))
        except ForgeError as error:
            return disk_events.DiskFailed(error.slug, error.message, error.hint)
        except OSError as error:
            return disk_events.DiskFailed("disk-unavailable", str(error))

    def unmount(self, action: disk_actions.UnmountDisk) -> events.Event:
        """Unmount the disk."""
        try:
            self._ports.ramdisk.unmount(action.disk, force=action.force)
        except ForgeError as error:
            lost = not os.path.ismount(action.disk.mount_point) and error.slug == "disk-unavailable"
            return disk_events.DiskFailed(error.slug, error.message, error.hint, lost=lost)
        except OSError as error:
            return disk_events.DiskFailed("disk-unavailable", str(error))
        return disk_events.DiskUnmounted()

    def watch(self, action: disk_actions.WatchDisk) -> None:
        """Keep the disk in sight."""
        why = self._sight.watch(action.disk)
        if why:
            self._ports.log.write("disk.unwatched", {"why": why, "instead": "it is looked at"})

    def unwatch(self, action: disk_actions.UnwatchDisk) -> None:
        """Let the disk out of sight."""
        self._sight.unwatch()

    def look(self, action: disk_actions.LookAtDisk) -> events.Event:
        """Look at the disk now."""
        disk = action.disk
        try:
            return disk_events.DiskSighted(disk.token, self._ports.ramdisk.is_writable(disk))
        except ForgeError as error:
            return disk_events.DiskLost(disk.token, error.message)
        except OSError:
            return disk_events.DiskSighted(disk.token, writable=True)  # nobody can tell: as it was

    def close(self) -> None:
        """Look no more."""
        self._sight.close()

    def measure(self, action: disk_actions.MeasureDisk) -> events.Event:
        """Ask how full the disk is."""
        try:
            return disk_events.DiskMeasured(self._ports.ramdisk.measure(action.disk))
        except ForgeError as error:
            return disk_events.DiskLost(action.disk.token, error.message)
        except OSError as error:
            return disk_events.DiskUnmeasured(str(error))

    def _log_from_thread(self, decision: str, fields: Mapping[str, Any]) -> None:
        self._ports.loop.call_soon_threadsafe(self._ports.log.write, decision, fields)


def _event_of(seen: Seen) -> events.Event:
    if seen.lost:
        return disk_events.DiskLost(seen.disk.token, seen.lost)
    return disk_events.DiskSighted(seen.disk.token, seen.writable, seen.changed)


def _is_gone(root: str) -> bool:
    try:
        os.lstat(root)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
