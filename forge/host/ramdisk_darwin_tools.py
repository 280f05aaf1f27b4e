"""The commands of macOS that make and take away a RAM disk, one method each.

Nothing is read from their talk beyond the device that a command names and the process that stands
in the way; what is there now is always asked of `hdiutil info -plist`. That list may leave out
attached images while others come and go: one absence proves nothing.
"""

import contextlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from forge.errors import DeadlineExceeded, DiskUnavailable
from forge.host.commands import CommandResult, run_command
from forge.host.ramdisk_darwin_plist import RamImage, parse_images, parse_volume_at, whole_disk

READINGS = 3  # how many lists in a row must lack an image before it counts as gone
ATTACH_TRIES = 3
BUSY_EXIT = 16  # EBUSY
_ATTACHED = re.compile(r"^(/dev/disk\d+)\b", re.MULTILINE)
_APFS_RESULT = re.compile(r"^Disk from APFS operation: (disk\d+(?:s\d+)?)\s*$", re.MULTILINE)
_DISSENTER = re.compile(r"dissented by PID (\d+) \((.+?)\)")
_PAGE_SIZE = re.compile(r"page size of (\d+) bytes")
_WIRED_PAGES = re.compile(r"^Pages wired down:\s+(\d+)", re.MULTILINE)
_PASSING = ("Resource temporarily unavailable", "Resource busy")


@dataclass(frozen=True, slots=True)
class DarwinDeadlines:
    """How long each step may take.

    One service of macOS serialises all of diskutil, so a verb may wait for those of others.
    """

    info_s: float = 30.0
    attach_s: float = 60.0
    format_s: float = 120.0
    mount_s: float = 120.0
    detach_s: float = 60.0
    index_s: float = 5.0
    lock_s: float = 600.0
    settle_s: float = 5.0  # an attach that was given up may still turn up this much later
    busy_s: float = 10.0  # how long a holder of the disk is given to let go
    pause_s: float = 0.25  # between two looks at the same thing


class Detached(Enum):
    """How `hdiutil detach` ended."""

    DONE = "done"
    GONE = "gone"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class Dissenter:
    """The process that macOS names as the one that keeps a volume mounted."""

    pid: int
    program: str


class DarwinTools:
    """Runs hdiutil, diskutil, mdutil and sysctl, each with its deadline."""

    def __init__(self, deadlines: DarwinDeadlines, env: Mapping[str, str] | None) -> None:
        self.deadlines = deadlines
        self._env = env

    def images(self) -> tuple[RamImage, ...]:
        """List the ram:// images as one reading shows them."""
        result = self._run(["hdiutil", "info", "-plist"], self.deadlines.info_s)
        if result.exit_code != 0:
            raise DiskUnavailable(f"`hdiutil info` failed: {_last_line(result)}")
        try:
            return parse_images(result.stdout)
        except ValueError as error:
            raise DiskUnavailable(f"`hdiutil info` gave {error}") from error

    def find(self, wanted: Callable[[RamImage], bool]) -> RamImage | None:
        """Return the first image that fits; None only after several readings without one."""
        for reading in range(READINGS):
            if reading:
                time.sleep(self.deadlines.pause_s)
            for image in self.images():
                if wanted(image):
                    return image
        return None

    def nodes(self) -> tuple[str, ...]:
        """List the devices of all ram:// images, over several readings."""
        seen = {image.node for image in self.images()}
        for _ in range(READINGS - 1):
            seen.update(image.node for image in self.images())
        return tuple(sorted(seen))

    def attach(self, sectors: int, *, in_kernel: bool = False) -> str:
        """Make a RAM device and return its node. It costs no memory until it is written.

        `in_kernel`: without a helper process, which macOS may refuse, or take no notice of.
        """
        how = ["-kernel"] if in_kernel else []
        for attempt in range(ATTACH_TRIES):
            time.sleep(self.deadlines.pause_s * attempt)
            result = self._run(
                ["hdiutil", "attach", *how, "-nomount", f"ram://{sectors}"],
                self.deadlines.attach_s,
            )
            node = _ATTACHED.search(result.stdout)
            if node:
                return node[1]
            if not any(text in result.text for text in _PASSING):
                break
        raise DiskUnavailable(
            f"`hdiutil attach` made no RAM device: {_last_line(result)}",
            hint="look for leftover ram:// images with `hdiutil info`",
        )

    def create_container(self, node: str) -> str:
        """Make the device an APFS container; return the container's disk."""
        argv = ["diskutil", "apfs", "createContainer", node]
        return self._apfs(argv, self.deadlines.format_s)

    def add_volume(self, container: str, name: str) -> str:
        """Add a volume to the container, not mounted; return its device."""
        argv = ["diskutil", "apfs", "addVolume", container, "APFS", name, "-nomount"]
        return self._apfs(argv, self.deadlines.format_s)

    def mount(self, device: str) -> None:
        """Mount a volume under /Volumes, out of sight of Finder and Spotlight."""
        argv = ["diskutil", "mount", "-mountOptions", "nobrowse", device]
        self._must(argv, self.deadlines.mount_s)

    def rename(self, device: str, name: str) -> None:
        """Give a volume its name; its mount point moves along, unless the name is taken there."""
        self._must(["diskutil", "rename", device, name], self.deadlines.mount_s)

    def stop_indexing(self, mount_point: str) -> None:
        """Keep Spotlight away. The empty file `.metadata_never_index` does most of it already."""
        with contextlib.suppress(OSError, DeadlineExceeded):  # an indexed disk is slower and works
            run_command(
                ["mdutil", "-i", "off", mount_point],
                deadline_s=self.deadlines.index_s,
                env=self._env,
            )

    def volume_at(self, mount_point: str) -> tuple[str, str] | None:
        """Return device and name of the volume mounted exactly there."""
        result = self._run(["diskutil", "info", "-plist", mount_point], self.deadlines.info_s)
        try:
            return parse_volume_at(result.stdout, mount_point)
        except ValueError as error:
            raise DiskUnavailable(f"`diskutil info {mount_point}` gave {error}") from error

    def detach(self, node: str, *, force: bool) -> Detached:
        """Detach a physical device, and with it its container, volumes and memory."""
        argv = ["hdiutil", "detach", node, *(["-force"] if force else [])]
        result = self._run(argv, self.deadlines.detach_s)
        if result.exit_code == 0:
            return Detached.DONE
        if result.exit_code == BUSY_EXIT or "Resource busy" in result.text:
            return Detached.BUSY
        if "No such file or directory" in result.text:
            return Detached.GONE
        raise DiskUnavailable(f"`hdiutil detach {node}` failed: {_last_line(result)}")

    def unmount_volumes(self, image: RamImage, *, force: bool) -> Dissenter | None:
        """Unmount what is mounted of a busy image: only diskutil names who is in the way."""
        if not image.volumes:
            return None
        container = whole_disk(image.volumes[0].device)
        argv = ["diskutil", "unmountDisk", *(["force"] if force else []), container]
        try:
            said = _DISSENTER.search(self._run(argv, self.deadlines.detach_s).text)
        except DeadlineExceeded:
            return None  # we only asked for the name
        return Dissenter(int(said[1]), said[2]) if said else None

    def boot_id(self) -> str:
        """Name this boot, which no RAM disk outlives; empty when macOS does not say."""
        result = self._run(["sysctl", "-n", "kern.bootsessionuuid"], self.deadlines.info_s)
        return result.stdout.strip() if result.exit_code == 0 else ""

    def wired_bytes(self) -> int:
        """Return how much memory is wired on this machine."""
        result = self._must(["vm_stat"], self.deadlines.info_s)
        page, wired = _PAGE_SIZE.search(result.stdout), _WIRED_PAGES.search(result.stdout)
        if not page or not wired:
            raise DiskUnavailable("`vm_stat` does not tell how much is wired")
        return int(page[1]) * int(wired[1])

    def _apfs(self, argv: Sequence[str], deadline_s: float) -> str:
        made = _APFS_RESULT.search(self._must(argv, deadline_s).stdout)
        if not made:
            raise DiskUnavailable(f"`{' '.join(argv[:3])}` named no disk")
        return made[1]

    def _must(self, argv: Sequence[str], deadline_s: float) -> CommandResult:
        result = self._run(argv, deadline_s)
        if result.exit_code != 0:
            raise DiskUnavailable(f"`{' '.join(argv)}` failed: {_last_line(result)}")
        return result

    def _run(self, argv: Sequence[str], deadline_s: float) -> CommandResult:
        try:
            return run_command(argv, deadline_s=deadline_s, env=self._env)
        except OSError as error:
            raise DiskUnavailable(
                f"cannot run `{argv[0]}`: {error.strerror}",
                hint="it is part of macOS: see that PATH has /usr/bin and /usr/sbin",
            ) from error


def _last_line(result: CommandResult) -> str:
    lines = result.text.splitlines()
    return lines[-1].strip() if lines else f"exit code {result.exit_code}"
