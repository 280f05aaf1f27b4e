"""Who has something in a directory open: as a file, mapped, as a program, or as working directory.

Only what the OS lets us see is seen: on Linux the processes of our user, all of them as root. The
question costs some milliseconds for hundreds of processes.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forge.host import tree_walk


@dataclass(frozen=True, slots=True)
class DirUser:
    """A process, and what it uses."""

    pid: int
    name: str
    path: str


def users_of(directory: str, *, proc: Path = Path("/proc")) -> Iterator[DirUser]:
    """Yield what processes other than this one use below `directory`.

    `proc` exists so that tests can point it at a recording.
    """
    found = _used_linux(proc) if sys.platform.startswith("linux") else _used_psutil()
    prefix = directory.rstrip("/") + "/"
    for pid, path in found:
        is_inside = path == directory or path.startswith(prefix)
        if is_inside and pid != os.getpid() and not _is_walk_of_ours(pid):
            yield DirUser(pid, _name_of(pid, proc), path.removesuffix(" (deleted)"))


def _used_linux(proc: Path) -> Iterator[tuple[int, str]]:
    """Yield what each process has in use. Source: proc(5)."""
    for pid in (int(name) for name in os.listdir(proc) if name.isdigit()):
        place = proc / str(pid)
        for link in ("cwd", "exe", "root"):
            yield from _read_link(pid, place / link)
        try:
            descriptors = os.listdir(place / "fd")
        except OSError:
            continue  # it has ended, or is another user's
        for descriptor in descriptors:
            yield from _read_link(pid, place / "fd" / descriptor)
        yield from _mapped(pid, place / "maps")


def _read_link(pid: int, link: Path) -> Iterator[tuple[int, str]]:
    try:
        yield pid, os.readlink(link)
    except OSError:
        return  # it has ended, or is another user's


def _mapped(pid: int, maps: Path) -> Iterator[tuple[int, str]]:
    try:
        lines = maps.read_bytes().splitlines()
    except OSError:
        return
    paths = {fields[5] for line in lines if len(fields := line.split(None, 5)) == 6}
    for path in paths:
        yield pid, os.fsdecode(path)


def _used_psutil() -> Iterator[tuple[int, str]]:
    import psutil

    for process in psutil.process_iter():
        try:
            if process.uids().real != os.getuid():
                continue
            yield process.pid, process.cwd()
            yield process.pid, process.exe()
            for file in process.open_files():
                yield process.pid, file.path
        except (psutil.Error, OSError):
            continue  # it has ended, or may not be looked at


def _is_walk_of_ours(pid: int) -> bool:
    """Say whether it is a process of ours that measures: it does not mind what goes meanwhile."""
    import psutil

    try:
        process = psutil.Process(pid)
        return process.ppid() == os.getpid() and tree_walk.__file__ in process.cmdline()
    except psutil.Error:
        return False


def _name_of(pid: int, proc: Path) -> str:
    try:
        return (proc / str(pid) / "comm").read_text(errors="replace").strip()
    except OSError:
        return "?"
