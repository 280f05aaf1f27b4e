"""The RAM disk on macOS: a ram:// device with one APFS volume, made without privileges.

The volume is made under a staging name, gets its marker there, and takes its final name last: what
sits at the final name is either complete and ours, or not ours. Until then the journal in the state
directory is the proof. Truth about what is mounted where comes from `hdiutil info -plist` alone: a
taken name silently gives `/Volumes/NAME 1`, and a plain directory there looks like a volume to
careless questions. See docs/design/ramdisk-macos.md.
"""

import contextlib
import errno
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from forge.core.disk import Disk, DiskKind, DiskSpec, DiskUsage
from forge.errors import (
    DeadlineExceeded,
    DiskBusy,
    DiskTaken,
    DiskUnavailable,
    ForgeError,
    ResizeRefused,
)
from forge.host.disk_marker import read_marker
from forge.host.ramdisk_darwin_intent import (
    Intent,
    clear_intent,
    disk_lock,
    read_intent,
    write_intent,
)
from forge.host.ramdisk_darwin_leftovers import detach, is_leftover, is_own, note, recover
from forge.host.ramdisk_darwin_making import make_disk
from forge.host.ramdisk_darwin_plist import SECTORS_PER_MIB, RamImage
from forge.host.ramdisk_darwin_tools import DarwinDeadlines, DarwinTools

VOLUMES_ROOT = Path("/Volumes")
VOLUME_NAME = "OptaBuilds"
KINDS = (DiskKind.APFS, DiskKind.APFS_WIRED)
PAGEABLE = "its memory is pageable: under pressure macOS compresses it and may swap it to the SSD"
CAVEATS = (
    "it keeps the most that it ever held until it is recreated with `forge disk recreate`",
    "macOS ignores ownership on it: other users of this machine can read it",
)


_UNREADABLE = {errno.EMFILE, errno.ENFILE, errno.EINTR}
"""Why a volume that is there may not open now."""


class DarwinRamDisk:
    """Implements `RamDisk`. One call at a time changes the disk, among all processes."""

    def __init__(
        self,
        state_dir: Path,
        *,
        volumes_root: Path = VOLUMES_ROOT,
        deadlines: DarwinDeadlines | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._state_dir = state_dir
        self._volumes_root = volumes_root
        self._deadlines = deadlines or DarwinDeadlines()
        self._tools = DarwinTools(self._deadlines, env)

    def place_of(self, kind: DiskKind | None) -> tuple[DiskKind, str]:
        """Return APFS, or the wired kind where that is asked for, and the default place."""
        if kind is not None and kind not in KINDS:
            raise DiskUnavailable(f'disk.kind "{kind}" is not for macOS', hint='take "auto"')
        return kind or DiskKind.APFS, str(self._volumes_root / VOLUME_NAME)

    def ensure(self, spec: DiskSpec) -> Disk:
        """Adopt the disk that is there, or clear what an earlier attempt left and make it."""
        target = self._target(spec)
        with disk_lock(self._state_dir, self._deadlines.lock_s):
            found = self._find(target)
            if found:
                with contextlib.suppress(ForgeError):  # old leftovers do not spoil a good disk
                    recover(self._tools, self._state_dir, settle_s=0, keep=found.node)
                return replace(_as_wanted(found, spec), adopted=True)
            earlier = recover(self._tools, self._state_dir, settle_s=self._deadlines.settle_s)
            self._require_free(target)
            why_not = self._make(target, spec, earlier)
            made = self._find(target)
            if made is None:
                raise DiskUnavailable(f"the new disk at {target} does not show its marker")
            return _as_wanted(made, spec, why_not)

    def identify(self, spec: DiskSpec) -> Disk | None:
        """Name our disk if it is mounted at its place with our marker on it."""
        disk = self._find(self._target(spec))
        return replace(_as_wanted(disk, spec), adopted=True) if disk else None

    def measure(self, disk: Disk) -> DiskUsage:
        """Read the volume's own numbers; those in diskutil's answers are 0 for APFS."""
        try:
            root = os.open(disk.mount_point, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno in _UNREADABLE:
                raise
            raise _gone(disk) from error
        try:
            marker = read_marker(Path(disk.mount_point))
            if os.fstat(root).st_dev != disk.device_id or not marker or marker.token != disk.token:
                raise _gone(disk)
            found = os.fstatvfs(root)
        except OSError as error:
            raise _gone(disk) from error
        finally:
            os.close(root)
        return DiskUsage(
            total_bytes=found.f_blocks * found.f_frsize,
            used_bytes=(found.f_blocks - found.f_bfree) * found.f_frsize,
            free_bytes=found.f_bavail * found.f_frsize,
            total_files=0,  # APFS makes inodes as it needs them
            used_files=max(0, found.f_files - found.f_ffree),
        )

    def is_writable(self, disk: Disk) -> bool:
        """Prove that the disk is there and say whether it can be written to."""
        self.measure(disk)  # costs a few system calls
        return not os.statvfs(disk.mount_point).f_flag & os.ST_RDONLY

    def resize(self, disk: Disk, size_mib: int) -> Disk:
        """Refuse: a ram:// device has its size for life."""
        if size_mib == disk.size_mib:
            return disk
        raise ResizeRefused(
            f"macOS cannot change the size of {disk.mount_point} from {disk.size_mib} MiB to"
            f" {size_mib} MiB while it exists",
            hint="`forge disk recreate` makes it anew, empty",
        )

    def unmount(self, disk: Disk, *, force: bool = False) -> None:
        """Detach the physical device, which gives all its memory back; gone already is done."""
        with disk_lock(self._state_dir, self._deadlines.lock_s):
            earlier = read_intent(self._state_dir)
            half_done = earlier is not None and (earlier.node, earlier.token) == (
                disk.node,
                disk.token,
            )
            if not half_done:
                earlier = recover(self._tools, self._state_dir, settle_s=0, keep=disk.node)
            if not self._is_attached(disk, half_done=half_done):
                if half_done:
                    clear_intent(self._state_dir)
                return
            self._take_away(disk, earlier, force=force)

    def _target(self, spec: DiskSpec) -> Path:
        """Return where the volume will be: macOS lets users mount only right under /Volumes."""
        self.place_of(spec.kind)
        wanted = Path(spec.mount_point)
        if wanted.parent not in (VOLUMES_ROOT, self._volumes_root) or not wanted.name:
            raise DiskUnavailable(
                f"macOS mounts a user's RAM disk under {VOLUMES_ROOT} only, not at {wanted}",
                hint=f"set the mount point to {VOLUMES_ROOT / (wanted.name or VOLUME_NAME)}",
            )
        return self._volumes_root / wanted.name

    def _make(self, target: Path, spec: DiskSpec, earlier: Intent | None) -> str | None:
        """Make the disk that is wanted, or the ordinary one; return why it is not the wired one."""
        why_not = None
        if spec.kind is DiskKind.APFS_WIRED:
            try:
                make_disk(
                    self._tools, self._state_dir, target, spec.size_mib, earlier, spec.kind
                )  # fmt: skip
            except (DiskUnavailable, DeadlineExceeded) as error:
                why_not = error.message
            else:
                return None
            earlier = recover(self._tools, self._state_dir, settle_s=self._deadlines.settle_s)
        make_disk(self._tools, self._state_dir, target, spec.size_mib, earlier)
        return why_not

    def _find(self, target: Path) -> Disk | None:
        if not os.path.lexists(target):
            return None  # a mounted volume always has its directory
        image = self._tools.find(lambda one: one.volume_at(str(target)) is not None)
        return self._prove(image, target) if image else None

    def _prove(self, image: RamImage, target: Path) -> Disk | None:
        marker = read_marker(target)
        if marker is None or marker.kind not in KINDS or not is_own(image):
            return None
        is_wired = marker.kind is DiskKind.APFS_WIRED and not image.helper_pid
        return Disk(
            kind=DiskKind.APFS_WIRED if is_wired else DiskKind.APFS,
            mount_point=str(target),
            size_mib=image.size_mib,
            device_id=target.stat().st_dev,
            token=marker.token,
            node=image.node,
            caveats=CAVEATS if is_wired else (PAGEABLE, *CAVEATS),
        )

    def _require_free(self, target: Path) -> None:
        """See that nothing is at the final name; an empty leftover directory is removed."""
        if not os.path.lexists(target):
            return
        volume = self._tools.volume_at(str(target))
        if volume is None:
            _remove_empty(target)
            return
        if read_marker(target):
            raise DiskUnavailable(
                f"our disk is mounted at {target}, but `hdiutil info` does not list its device",
                hint="try again; macOS leaves images out while others come and go",
            )
        device, name = volume
        raise DiskTaken(
            f"the volume {name!r} ({device}) is mounted at {target} and has no marker of ours",
            hint=f"eject it with `diskutil eject {device}`, or give the RAM disk another name",
        )

    def _is_attached(self, disk: Disk, *, half_done: bool) -> bool:
        """Say whether this very disk is there: by its marker, or what is left by the journal."""
        image = self._tools.find(
            lambda one: (
                one.node == disk.node
                and one.size_mib == disk.size_mib
                and is_own(one)
                and (one.volume_at(disk.mount_point) is not None or (half_done and not one.volumes))
            )
        )
        marker = read_marker(Path(disk.mount_point))
        if image is None:
            if marker and marker.token == disk.token:
                raise DiskUnavailable(
                    f"{disk.mount_point} is mounted, but `hdiutil info` does not list its device",
                    hint="try again; macOS leaves images out while others come and go",
                )
            return False
        if not image.volumes:
            return True
        if marker is None:
            raise DiskTaken(
                f"the marker on {disk.mount_point} is gone: nothing proves that it is ours",
                hint=f"if it is, take it away with `hdiutil detach {disk.node}`",
            )
        return marker.token == disk.token

    def _take_away(self, disk: Disk, earlier: Intent | None, *, force: bool) -> None:
        doing = Intent(
            boot=self._tools.boot_id(),
            token=disk.token,
            sectors=disk.size_mib * SECTORS_PER_MIB,
            staging="",
            before=earlier.before if earlier else (),
            began_at=earlier.began_at if earlier else time.time(),
            node=disk.node,
            lost=earlier.lost if earlier else 0,
        )
        write_intent(self._state_dir, doing)
        try:
            detach(self._tools, lambda image: is_leftover(image, doing), force=force)
        except DiskBusy:
            marker = read_marker(Path(disk.mount_point))
            if marker and marker.token == disk.token:
                note(self._state_dir, replace(doing, node=None))  # whole, and still in use
            raise
        note(self._state_dir, replace(doing, node=None))


def _as_wanted(disk: Disk, spec: DiskSpec, why_not: str | None = None) -> Disk:
    """Say so when the wired disk that is wanted is not what there is."""
    if spec.kind is not DiskKind.APFS_WIRED or disk.kind is DiskKind.APFS_WIRED:
        return disk
    why_not = why_not or "it was made when none was wanted or to be had"
    said = f'disk.kind asks for "{DiskKind.APFS_WIRED}", and this is the ordinary one: {why_not}'
    return replace(disk, caveats=(said, *disk.caveats))


def _remove_empty(target: Path) -> None:
    """Remove a directory that a crash left behind; rmdir itself refuses whatever holds anything."""
    try:
        target.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        raise DiskTaken(
            f"{target} is in the way and is not a volume: {error.strerror}",
            hint=f"move it away, or `sudo rmdir {target}` if it is empty",
        ) from error


def _gone(disk: Disk) -> DiskUnavailable:
    return DiskUnavailable(
        f"the RAM disk is no longer at {disk.mount_point}", hint="see `forge disk status`"
    )
