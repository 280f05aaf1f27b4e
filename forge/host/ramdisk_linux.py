"""The RAM disk on Linux: a tmpfs where we may mount, else a private directory.

A tmpfs of ours is known by the marker at its root. Between the mount and the marker a crash would
leave an empty tmpfs without one; the source name that we mount it under tells it from a stranger's.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, flock
from pathlib import Path

from forge.core.disk import Disk, DiskKind, DiskSpec, DiskUsage
from forge.core.units import MIB, show_bytes, show_mib
from forge.errors import DiskBusy, DiskTaken, DiskUnavailable, ForgeError, ResizeRefused
from forge.host.commands import CommandResult, run_command
from forge.host.disk_marker import DiskMarker, new_token, read_marker, write_marker
from forge.host.mounts import Mount, mount_at
from forge.host.processes_linux import users_of
from forge.host.ramdisk import MARKER_NAME
from forge.host.ramdisk_linux_directory import (
    TreeMeter,
    delete_aside,
    delete_leftovers,
    holds_only_target_dirs,
    put_aside,
    refuse_if_used,
)

MOUNT_DEADLINE_S = 10.0

_CAP_SYS_ADMIN = 1 << 21  # capabilities(7)
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.ESTALE}
"""What the kernel says of a disk that is not there, as opposed to one that we cannot read."""
NOSWAP_CAVEAT = "its pages can be swapped out: this kernel has no `noswap` for tmpfs (6.4 has it)"
SIZE_CAVEAT = "its size is kept by Forge between builds, not by the kernel"
SWAP_CAVEAT = "its pages can be swapped out: that cannot be changed without root"
DISK_CAVEAT = "it is an ordinary disk, not memory"


def may_mount(status: Path = Path("/proc/self/status")) -> bool:
    """Say whether this process holds CAP_SYS_ADMIN."""
    for line in status.read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) & _CAP_SYS_ADMIN)
    return False


class LinuxRamDisk:
    """The Linux door. `noswap` False leaves the option out, as an older kernel would."""

    def __init__(
        self,
        state_dir: Path,
        *,
        cache_dir: Path,
        shm: Path = Path("/dev/shm"),  # noqa: S108  # it is the subject here
        privileged: Callable[[], bool] = may_mount,
        noswap: bool = True,
    ) -> None:
        self._state_dir = state_dir
        self._places = {
            DiskKind.SHM: shm / f"opta-builds-{os.getuid()}",
            DiskKind.DIRECTORY: cache_dir / "builds",
        }
        self._shm = shm
        self._privileged = privileged
        self._noswap = noswap
        self._meter = TreeMeter()

    def place_of(self, kind: DiskKind | None) -> tuple[DiskKind, str]:
        """Return the kind that will be tried first when `kind` is wanted, and its default place."""
        if kind is None:
            kind = DiskKind.TMPFS if self._privileged() else DiskKind.SHM
            if kind is DiskKind.SHM and not self._shm_is_usable():
                kind = DiskKind.DIRECTORY
        if kind is DiskKind.TMPFS:
            return kind, "/mnt/OptaBuilds"
        if kind not in self._places:
            raise DiskUnavailable(f'disk.kind "{kind}" is not for Linux', hint='take "auto"')
        return kind, str(self._places[kind])

    def ensure(self, spec: DiskSpec) -> Disk:
        """Mount a tmpfs or make the directory; adopt what is ours already. See RamDisk.ensure."""
        with self._locked():
            disk = self._ensure(spec)
        if disk.kind is not DiskKind.TMPFS:
            delete_leftovers(disk.mount_point)
        return disk

    def identify(self, spec: DiskSpec) -> Disk | None:
        """Name our disk at the place of `spec`; one of another kind there is not the one meant."""
        with self._locked():
            marker = _find_marker(spec.mount_point)
            if marker is None or marker.kind is not (spec.kind or self.place_of(None)[0]):
                return None
            return self._disk_at(spec.mount_point, marker, adopted=True)

    def measure(self, disk: Disk) -> DiskUsage:
        """Read statvfs of a tmpfs, or walk a directory now and then.

        Raises OSError when the disk cannot be read now, which does not mean that it is gone.
        """
        self._prove(disk)
        status = os.statvfs(disk.mount_point)
        block = status.f_frsize
        if disk.kind is DiskKind.TMPFS:
            return DiskUsage(
                total_bytes=status.f_blocks * block,
                used_bytes=(status.f_blocks - status.f_bfree) * block,
                free_bytes=status.f_bavail * block,
                total_files=status.f_files,
                used_files=status.f_files - status.f_ffree,
            )
        total = disk.size_mib * MIB
        size = self._meter.read(disk)
        free = max(0, min(total - size.size_bytes, status.f_bavail * block))
        return DiskUsage(total, size.size_bytes, free, 0, size.files)

    def is_writable(self, disk: Disk) -> bool:
        """Prove that the disk is there and say whether it can be written to."""
        self._prove(disk)
        return not os.statvfs(disk.mount_point).f_flag & os.ST_RDONLY

    def resize(self, disk: Disk, size_mib: int) -> Disk:
        """Remount a tmpfs with another size, or keep another size of a directory."""
        with self._locked():
            self._meter.forget()
            used_bytes = self.measure(disk).used_bytes
            if size_mib * MIB < used_bytes:
                raise ResizeRefused(
                    f"{show_mib(size_mib)} is below the {show_bytes(used_bytes)} in use",
                    hint="`forge target list` shows what takes the room",
                )
            if disk.kind is DiskKind.TMPFS:
                _remount(disk.mount_point, size_mib)
            marker = _marker_of(disk, size_mib)
            write_marker(Path(disk.mount_point), marker)
            return self._disk_at(disk.mount_point, marker, adopted=disk.adopted)

    def unmount(self, disk: Disk, *, force: bool = False) -> None:
        """Unmount a tmpfs, or delete what a directory holds; `force` unmounts lazily."""
        aside = None
        marker = _marker_of(disk, disk.size_mib)
        with self._locked():
            self._prove(disk)
            if disk.kind is DiskKind.TMPFS:
                self._umount(disk.mount_point, force=force)
            else:
                if not force:
                    refuse_if_used(disk.mount_point)
                aside = put_aside(disk.mount_point, marker)
            self._meter.forget()
        if aside:  # without the lock: nobody waits for a long deletion
            delete_aside(aside, marker)

    def _ensure(self, spec: DiskSpec) -> Disk:
        if spec.kind is not None:
            return self._ensure_kind(spec.kind, spec)
        first, default = self.place_of(None)
        try:
            return self._ensure_kind(first, spec)
        except DiskTaken:
            raise
        except ForgeError as error:
            if first is not DiskKind.TMPFS or spec.mount_point != default:
                raise
            kind = DiskKind.SHM if self._shm_is_usable() else DiskKind.DIRECTORY
            place = str(self._places[kind])
            disk = self._ensure_kind(kind, DiskSpec(place, spec.size_mib, spec.inodes, kind))
            return _with_caveat(disk, f"no tmpfs: {error.message}")

    def _umount(self, mount_point: str, *, force: bool) -> None:
        result = _run(["umount", *(["-l"] if force else []), mount_point])
        if result.exit_code == 0:
            with suppress(OSError):  # a mount point that somebody else wants to keep
                os.rmdir(mount_point)
            return
        if "busy" in result.text:
            users = users_of(mount_point)
            who = (
                ", ".join(f"{name} (pid {pid})" for pid, name in users[:5]) or "an unknown process"
            )
            raise DiskBusy(
                f"{mount_point} is in use by {who}", hint="end it, or `forge disk unmount --force`"
            )
        raise DiskUnavailable(f"{mount_point} cannot be unmounted: {result.text}")

    def _ensure_kind(self, kind: DiskKind, spec: DiskSpec) -> Disk:
        if kind is DiskKind.TMPFS:
            return self._ensure_tmpfs(spec)
        if kind in self._places:
            return self._ensure_directory(kind, spec)
        raise DiskUnavailable(f'disk.kind "{kind}" is not for Linux', hint='take "auto"')

    def _ensure_tmpfs(self, spec: DiskSpec) -> Disk:
        root = Path(spec.mount_point)
        mount = mount_at(spec.mount_point)
        if mount:
            return self._adopt_tmpfs(mount, spec)
        if not self._privileged():
            raise DiskUnavailable(
                f"a tmpfs at {root} needs root", hint='disk.kind = "auto" takes what needs none'
            )
        try:
            root.mkdir(parents=True, exist_ok=True)
            entries = len(os.listdir(root))
        except OSError as error:
            raise DiskUnavailable(f"{root} cannot be made: {error.strerror}") from None
        if entries and not holds_only_target_dirs(root):
            raise DiskTaken(
                f"{root} is a directory with {entries} entries, which a mount would hide",
                hint="empty it, or set disk.mount_point",
            )
        result = self._mount_tmpfs(spec)
        if result.exit_code:
            raise DiskUnavailable(f"a tmpfs cannot be mounted at {root}: {result.text}")
        return self._mark(spec.mount_point, DiskKind.TMPFS, spec.size_mib)

    def _mount_tmpfs(self, spec: DiskSpec) -> CommandResult:
        owner = f"uid={os.getuid()},gid={os.getgid()}"
        base = f"size={spec.size_mib}m,nr_inodes={spec.inodes},mode=0700,{owner},nosuid,nodev"
        argv = ["mount", "-t", "tmpfs", "-o", base, _source_name(), spec.mount_point]
        if not self._noswap:
            return _run(argv)
        argv[4] = f"{base},noswap"
        result = _run(argv)
        if result.exit_code == 0:
            return result
        argv[4] = base
        return _run(argv)

    def _adopt_tmpfs(self, mount: Mount, spec: DiskSpec) -> Disk:
        root = Path(mount.mount_point)
        marker = read_marker(root) if mount.fs_type == "tmpfs" else None
        if marker:
            return self._disk_at(mount.mount_point, marker, adopted=True)
        if mount.fs_type == "tmpfs" and mount.source == _source_name() and not os.listdir(root):
            return self._mark(mount.mount_point, DiskKind.TMPFS, spec.size_mib)  # ours, half made
        raise DiskTaken(
            f"{root} is taken: {mount.fs_type} of {mount.source} is mounted there and not ours",
            hint="unmount it, or set disk.mount_point",
        )

    def _ensure_directory(self, kind: DiskKind, spec: DiskSpec) -> Disk:
        root = Path(spec.mount_point)
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = os.lstat(root)
        except OSError as error:
            raise DiskUnavailable(f"{root} cannot be made: {error.strerror}") from None
        if status.st_uid != os.getuid() or not os.path.isdir(root) or os.path.islink(root):
            raise DiskTaken(f"{root} is not a directory of ours", hint="set disk.mount_point")
        marker = _find_marker(str(root))
        if marker is None and os.listdir(root) and not holds_only_target_dirs(root):
            raise DiskTaken(
                f"{root} holds files that Forge did not put there", hint="set disk.mount_point"
            )
        os.chmod(root, 0o700)
        if marker:
            return self._disk_at(str(root), marker, adopted=True)
        return self._mark(str(root), kind, spec.size_mib)

    def _mark(self, place: str, kind: DiskKind, size_mib: int) -> Disk:
        marker = DiskMarker(new_token(), os.getuid(), kind, size_mib)
        write_marker(Path(place), marker)
        return self._disk_at(place, marker, adopted=False)

    def _disk_at(self, place: str, marker: DiskMarker, *, adopted: bool) -> Disk:
        size_mib = marker.size_mib
        caveats: tuple[str, ...]
        if marker.kind is DiskKind.TMPFS:
            status = os.statvfs(place)
            size_mib = status.f_blocks * status.f_frsize // MIB
            mount = mount_at(place)
            caveats = () if mount and "noswap" in mount.options else (NOSWAP_CAVEAT,)
        elif marker.kind is DiskKind.SHM:
            caveats = (SIZE_CAVEAT, SWAP_CAVEAT)
        else:
            caveats = (SIZE_CAVEAT, DISK_CAVEAT)
        return Disk(
            kind=marker.kind,
            mount_point=place,
            size_mib=size_mib,
            device_id=os.stat(place).st_dev,
            token=marker.token,
            adopted=adopted,
            caveats=caveats,
        )

    def _prove(self, disk: Disk) -> None:
        """Raise DiskUnavailable unless the disk at the mount point is this very one.

        OSError when that cannot be told: a full table of open files does not make a disk another.
        """
        try:
            device_id = os.stat(disk.mount_point).st_dev
        except OSError as error:
            if error.errno not in _GONE:
                raise
            raise DiskUnavailable(f"{disk.mount_point} is gone: {error.strerror}") from None
        marker = _find_marker(disk.mount_point) if device_id == disk.device_id else None
        if marker is None or marker.token != disk.token:
            raise DiskUnavailable(f"{disk.mount_point} is not the RAM disk any more")

    def _shm_is_usable(self) -> bool:
        mount = mount_at(str(self._shm))
        return mount is not None and mount.fs_type == "tmpfs" and os.access(self._shm, os.W_OK)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time change disks; the kernel frees the lock of one that dies."""
        lock = os.open(self._state_dir / "disk.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            flock(lock, LOCK_EX)
            yield
        finally:
            os.close(lock)


def _source_name() -> str:
    return f"opta-forge-{os.getuid()}"


def _run(argv: list[str]) -> CommandResult:
    try:
        return run_command(argv, deadline_s=MOUNT_DEADLINE_S)
    except OSError as error:
        raise DiskUnavailable(f"`{argv[0]}` cannot be run: {error.strerror}") from None


def _remount(mount_point: str, size_mib: int) -> None:
    mount = mount_at(mount_point)
    keep = ["noswap"] if mount and "noswap" in mount.options else []
    options = ",".join(["remount", f"size={size_mib}m", *keep])
    result = _run(["mount", "-o", options, mount_point])
    if result.exit_code:
        raise ResizeRefused(f"the kernel refuses {show_mib(size_mib)}: {result.text}")


def _marker_of(disk: Disk, size_mib: int) -> DiskMarker:
    return DiskMarker(disk.token, os.getuid(), disk.kind, size_mib)


def _find_marker(place: str) -> DiskMarker | None:
    """Return the marker, or None when there is none; OSError when it cannot be read."""
    marker = read_marker(Path(place))
    if marker:
        return marker
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(os.path.join(place, MARKER_NAME), flags)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
    try:
        os.read(descriptor, 1)  # EIO comes from here
    except IsADirectoryError:
        return None
    finally:
        os.close(descriptor)
    return read_marker(Path(place))  # it can be read now, or it proves nothing


def _with_caveat(disk: Disk, caveat: str) -> Disk:
    return Disk(
        disk.kind, disk.mount_point, disk.size_mib, disk.device_id, disk.token, disk.node,
        disk.adopted, (*disk.caveats, caveat),
    )  # fmt: skip
