"""Mounting for the simulated macOS, and who holds what is mounted."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MS_BIND, MNT_DETACH = 4096, 2


class Busy(Exception):
    """Something holds the volume: `pid` runs `program`."""

    def __init__(self, pid: int, program: str) -> None:
        super().__init__(f"{program} ({pid})")
        self.pid = pid
        self.program = program


def holder_of(place: str) -> Busy | None:
    """Return a process that has its working directory or an open file under `place`."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if any(f"{link}/".startswith(f"{place}/") for link in _links_of(pid)):
            return Busy(int(pid), _link(f"/proc/{pid}/exe"))
    return None


def _links_of(pid: str) -> list[str]:
    try:
        open_files = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        open_files = []  # gone, or not ours to look at
    return [_link(f"/proc/{pid}/{name}") for name in ("cwd", *(f"fd/{fd}" for fd in open_files))]


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return "?"


def mounts_under(home: str) -> list[str]:
    try:
        with open("/proc/self/mountinfo") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    places = (line.split()[4].replace("\\040", " ") for line in lines)
    return [place for place in places if place.startswith(f"{home}/")]


def _libc() -> Any:
    import ctypes  # here, because most programs never mount

    return ctypes.CDLL(None)


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None) -> bool:
    if os.geteuid() != 0 or not os.path.exists("/proc/self/mountinfo"):
        return False
    texts = [None if text is None else os.fsencode(text) for text in (source, kind, data)]
    source_raw, kind_raw, data_raw = texts
    return bool(_libc().mount(source_raw, os.fsencode(target), kind_raw, flags, data_raw) == 0)


def unmount(target: str, *, force: bool) -> bool:
    return bool(_libc().umount2(os.fsencode(target), MNT_DETACH if force else 0) == 0)
