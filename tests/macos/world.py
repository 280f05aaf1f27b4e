"""The state of the simulated macOS: attached images, their volumes, faults and services.

It lives in one directory (`FORGE_SIM_MACOS`) and is changed under a lock by short-lived programs,
as the real thing is. A volume is a tmpfs of the right size where the kernel lets us mount one, and
a plain directory elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SECTOR = 512
FIRST_FREE_DISK = 4  # disk0 to disk3 are the SSD and its containers
MS_BIND, MNT_DETACH = 4096, 2
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


class Busy(Exception):
    """Something holds the volume: `pid` runs `program`."""

    def __init__(self, pid: int, program: str) -> None:
        super().__init__(f"{program} ({pid})")
        self.pid = pid
        self.program = program


class World:
    """Reads and writes the simulated machine; `locked` gives the right to change it."""

    def __init__(self, home: Path) -> None:
        self.home = home

    @property
    def volumes_root(self) -> Path:
        return self.home / "Volumes"

    @property
    def is_closed(self) -> bool:
        return (self.home / "closed").exists()

    @contextlib.contextmanager
    def locked(self, name: str = "world") -> Iterator[None]:
        with (self.home / f"{name}.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def changing(self) -> Iterator[dict[str, Any]]:
        """Give the state to change; it is kept when the block ends well."""
        with self.locked():
            if self.is_closed:
                raise SystemExit(1)
            state = self.read()
            yield state
            self.write(state)

    def read(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.home / "state.json").read_text())
        return state

    def write(self, state: dict[str, Any]) -> None:
        draft = self.home / f"state.{os.getpid()}"
        draft.write_text(json.dumps(state))
        draft.replace(self.home / "state.json")

    def sleep(self, duration_s: float) -> None:
        """Sleep, but not beyond the end of the simulation."""
        end = time.monotonic() + duration_s
        while (left := end - time.monotonic()) > 0 and not self.is_closed:
            time.sleep(min(left, 0.05))

    def log_call(self, name: str, argv: list[str]) -> None:
        line = json.dumps({"name": name, "argv": argv, "pid": os.getpid()}) + "\n"
        with (self.home / "calls.jsonl").open("a") as file:
            file.write(line)

    def take_fault(self, name: str) -> dict[str, Any]:
        """Return the fault that this call meets, and use up one of its times."""
        with self.locked("faults"):
            path = self.home / "faults.json"
            faults: list[dict[str, Any]] = json.loads(path.read_text())
            for fault in faults:
                if fault["name"] != name or fault["times"] == 0:
                    continue
                if fault["times"] is not None:
                    fault["times"] -= 1
                path.write_text(json.dumps(faults))
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
        backing = self.home / "backing" / str(state["serial"])
        state["serial"] += 1
        backing.mkdir(parents=True)
        options = f"size={image['sectors'] * SECTOR},mode=0755"
        number = len(image["volumes"]) + 1
        volume = {
            "device": f"disk{image['container']}s{number}",
            "name": name,
            "backing": str(backing),
            "real": _mount("tmpfs", backing, "tmpfs", 0, options),
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
            place.mkdir()
            if not _mount(volume["backing"], place, None, MS_BIND, None):
                raise OSError(errno.EIO, "bind mount failed", str(place))
        else:
            Path(volume["backing"]).rename(place)
        volume["mount_point"] = str(place)
        return str(place)

    def rename(self, volume: dict[str, Any], name: str) -> None:
        """Rename; the mount point moves along, busy or not."""
        volume["name"] = name
        if not volume["mount_point"]:
            return
        old, new = Path(volume["mount_point"]), self._free_place(name)
        if volume["real"]:
            new.mkdir()
            _mount(volume["backing"], new, None, MS_BIND, None)
            _unmount(old, force=True)
            old.rmdir()
        else:
            old.rename(new)
        volume["mount_point"] = str(new)

    def unmount(self, volume: dict[str, Any], *, force: bool) -> None:
        """Unmount, or raise Busy with the first holder."""
        if not volume["mount_point"]:
            return
        place = Path(volume["mount_point"])
        if volume["real"]:
            if not _unmount(place, force=force):
                raise holder_of(place) or Busy(0, "kernel")
            place.rmdir()
        else:
            busy = None if force else holder_of(place)
            if busy:
                raise busy
            place.rename(volume["backing"])
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
            (self.home / "closed").touch()
            for place in reversed(_mounts_under(self.home)):
                _unmount(place, force=True)

    def _discard(self, volume: dict[str, Any]) -> None:
        backing = Path(volume["backing"])
        if volume["real"]:
            _unmount(backing, force=True)
        import shutil  # here, because most programs never delete

        shutil.rmtree(backing, ignore_errors=True)

    def _free_disk(self, state: dict[str, Any]) -> int:
        used = {image["disk"] for image in state["images"]}
        used |= {image["container"] for image in state["images"]}
        return next(n for n in range(FIRST_FREE_DISK, 1000) if n not in used)

    def _free_place(self, name: str) -> Path:
        place, number = self.volumes_root / name, 0
        while os.path.lexists(place):
            number += 1
            place = self.volumes_root / f"{name} {number}"
        return place


def holder_of(place: Path) -> Busy | None:
    """Return a process that has its working directory or an open file under `place`."""
    root = f"{place}/"
    for process in Path("/proc").glob("[0-9]*"):
        links = [process / "cwd"]
        with contextlib.suppress(OSError):
            links += list((process / "fd").iterdir())
        for link in links:
            with contextlib.suppress(OSError):
                if f"{link.readlink()}/".startswith(root):
                    return Busy(int(process.name), str((process / "exe").readlink()))
    return None


def _mounts_under(home: Path) -> list[Path]:
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return []
    places = (line.split()[4].replace("\\040", " ") for line in lines)
    return [Path(place) for place in places if place.startswith(f"{home}/")]


def _libc() -> Any:
    import ctypes  # here, because most programs never mount

    return ctypes.CDLL(None)


def _mount(source: str, target: Path, kind: str | None, flags: int, data: str | None) -> bool:
    if os.geteuid() != 0 or not Path("/proc/self/mountinfo").exists():
        return False
    texts = [None if text is None else os.fsencode(text) for text in (source, kind, data)]
    source_raw, kind_raw, data_raw = texts
    mount = _libc().mount
    return bool(mount(source_raw, os.fsencode(target), kind_raw, flags, data_raw) == 0)


def _unmount(target: Path, *, force: bool) -> bool:
    return bool(_libc().umount2(os.fsencode(target), MNT_DETACH if force else 0) == 0)
