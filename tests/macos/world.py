"""The state of the simulated macOS: attached images, their volumes, faults and services.

It lives in one directory (`FORGE_SIM_MACOS`) and is changed under a lock by short-lived programs,
as the real thing is. A volume is a tmpfs of the right size where the kernel lets us mount one, and
a plain directory elsewhere.

The programs start hundreds of times in a test run, so this module and they import next to nothing:
json and pathlib would more than double the time of each start.
"""

from __future__ import annotations

import errno
import fcntl
import marshal
import os
import time

from tests.macos import mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

SECTOR = 512
FIRST_FREE_DISK = 4  # disk0 to disk3 are the SSD and its containers
DEFAULT_SYSCTLS = {
    "hw.memsize": "274877906944",
    "hw.pagesize": "16384",
    "hw.ncpu": "32",
    "hw.logicalcpu": "32",
    "hw.physicalcpu": "32",
    "hw.model": "Mac15,14",
    "machdep.cpu.brand_string": "Apple M3 Ultra",
    "kern.bootsessionuuid": "0B7F0C52-51C5-4C0A-9F5D-2C1B1D1D4A11",
    "kern.memorystatus_vm_pressure_level": "1",
    "kern.memorystatus_level": "62",
    "vm.swapusage": "total = 2048.00M  used = 1017.50M  free = 1030.50M  (encrypted)",
    "vm.page_pageable_internal_count": "2621440",
    "vm.page_purgeable_count": "630",
    "vm.compressor_mode": "4",
    "vm.swap_enabled": "1",
    "iogpu.wired_limit_mb": "0",
    "iogpu.disable_wired_collector": "0",
}


class Locked:
    """Holds an flock on a file for a block."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)


class Changing(Locked):
    """Gives the state to change for a block; it is kept when the block ends well."""

    def __init__(self, world: World) -> None:
        super().__init__(f"{world.home}/world.lock")
        self._world = world

    def __enter__(self) -> dict[str, Any]:  # type: ignore[override]
        super().__enter__()
        if self._world.is_closed:
            raise SystemExit(1)
        self._state = self._world.read()
        return self._state

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._world.write(self._state)
        super().__exit__(kind, error, trace)


class World:
    """Reads and writes the simulated machine; `changing` gives the right to change it."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.volumes_root = f"{home}/Volumes"

    @property
    def is_closed(self) -> bool:
        return os.path.exists(f"{self.home}/closed")

    def locked(self, name: str = "world") -> Locked:
        return Locked(f"{self.home}/{name}.lock")

    def changing(self) -> Changing:
        return Changing(self)

    def read(self) -> dict[str, Any]:
        state: dict[str, Any] = load(f"{self.home}/state")
        return state

    def write(self, state: dict[str, Any]) -> None:
        save(f"{self.home}/state", state)

    def sleep(self, duration_s: float) -> None:
        """Sleep, but not beyond the end of the simulation."""
        end = time.monotonic() + duration_s
        while (left := end - time.monotonic()) > 0 and not self.is_closed:
            time.sleep(min(left, 0.05))

    def log_call(self, name: str, argv: list[str]) -> None:
        with open(f"{self.home}/calls", "ab", buffering=0) as file:
            file.write(marshal.dumps((name, argv)))

    def calls(self) -> list[tuple[str, list[str]]]:
        """Return name and arguments of all calls so far."""
        found: list[tuple[str, list[str]]] = []
        with open(f"{self.home}/calls", "rb") as file:
            while True:
                try:
                    found.append(marshal.load(file))
                except EOFError:
                    return found

    def take_fault(self, name: str) -> dict[str, Any]:
        """Return the fault that this call meets, and use up one of its times."""
        path = f"{self.home}/faults"
        with self.locked("faults"):
            faults: list[dict[str, Any]] = load(path)
            for fault in faults:
                if fault["name"] != name or fault["times"] == 0:
                    continue
                if fault["times"] is not None:
                    fault["times"] -= 1
                    save(path, faults)
                return fault
        return {}

    def attach(self, state: dict[str, Any], path: str, sectors: int, uid: int) -> dict[str, Any]:
        image = {
            "path": path,
            "sectors": sectors,
            "uid": uid,
            "pid": 5_000_000 + state["serial"],  # above any pid of Linux
            "disk": self._free_disk(state),
            "container": None,
            "helped": True,
            "wired": False,
            "volumes": [],
        }
        state["serial"] += 1
        state["images"].append(image)
        return image

    def add_container(self, state: dict[str, Any], image: dict[str, Any]) -> int:
        for volume in list(image["volumes"]):
            self.unmount(volume, force=True)
            self._discard(volume)
        image["volumes"] = []
        image["container"] = self._free_disk(state)
        return int(image["container"])

    def add_volume(self, state: dict[str, Any], image: dict[str, Any], name: str) -> dict[str, Any]:
        backing = f"{self.home}/backing/{state['serial']}"
        state["serial"] += 1
        os.makedirs(backing)
        options = f"size={image['sectors'] * SECTOR},mode=0755"
        number = len(image["volumes"]) + 1
        volume = {
            "device": f"disk{image['container']}s{number}",
            "name": name,
            "backing": backing,
            "real": mounts.mount("tmpfs", backing, "tmpfs", 0, options),
            "mount_point": None,
        }
        image["volumes"].append(volume)
        return volume

    def mount(self, volume: dict[str, Any]) -> str:
        """Mount under the volumes root; a taken name gives `NAME 1`."""
        if volume["mount_point"]:
            return str(volume["mount_point"])
        place = self._free_place(volume["name"])
        if volume["real"]:
            os.mkdir(place)
            if not mounts.mount(volume["backing"], place, None, mounts.MS_BIND, None):
                raise OSError(errno.EIO, "bind mount failed", place)
        else:
            os.rename(volume["backing"], place)
        volume["mount_point"] = place
        return place

    def rename(self, volume: dict[str, Any], name: str) -> None:
        """Rename; the mount point moves along, busy or not."""
        volume["name"] = name
        if not volume["mount_point"]:
            return
        old, new = volume["mount_point"], self._free_place(name)
        if volume["real"]:
            os.mkdir(new)
            mounts.mount(volume["backing"], new, None, mounts.MS_BIND, None)
            mounts.unmount(old, force=True)
            os.rmdir(old)
        else:
            os.rename(old, new)
        volume["mount_point"] = new

    def unmount(self, volume: dict[str, Any], *, force: bool) -> None:
        """Unmount, or raise Busy with the first holder."""
        if not volume["mount_point"]:
            return
        place = volume["mount_point"]
        if volume["real"]:
            if not mounts.unmount(place, force=force):
                raise mounts.holder_of(place) or mounts.Busy(0, "kernel")
            os.rmdir(place)
        else:
            busy = None if force else mounts.holder_of(place)
            if busy:
                raise busy
            os.rename(place, volume["backing"])
        volume["mount_point"] = None

    def detach(self, state: dict[str, Any], image: dict[str, Any], *, force: bool) -> None:
        """Unmount all volumes and free the device numbers."""
        for volume in image["volumes"]:
            self.unmount(volume, force=force)
        for volume in image["volumes"]:
            self._discard(volume)
        state["images"].remove(image)

    def close(self) -> None:
        """End the simulation: no program changes anything any more, and nothing stays mounted."""
        with self.locked():
            save(f"{self.home}/closed", True)
            for place in reversed(mounts.mounts_under(self.home)):
                mounts.unmount(place, force=True)

    def _discard(self, volume: dict[str, Any]) -> None:
        backing = volume["backing"]
        if volume["real"]:
            mounts.unmount(backing, force=True)
        import shutil  # here, because most programs never delete

        shutil.rmtree(backing, ignore_errors=True)

    def _free_disk(self, state: dict[str, Any]) -> int:
        used = {image["disk"] for image in state["images"]}
        used |= {image["container"] for image in state["images"]}
        return next(n for n in range(FIRST_FREE_DISK, 1000) if n not in used)

    def _free_place(self, name: str) -> str:
        place, number = f"{self.volumes_root}/{name}", 0
        while os.path.lexists(place):
            number += 1
            place = f"{self.volumes_root}/{name} {number}"
        return place


def load(path: str) -> Any:
    with open(path, "rb") as file:
        return marshal.load(file)


def save(path: str, value: Any) -> None:
    """Write in one step: a reader that takes no lock sees all of it or the one before."""
    draft = f"{path}.{os.getpid()}"
    with open(draft, "wb") as file:
        marshal.dump(value, file)
    os.replace(draft, path)
