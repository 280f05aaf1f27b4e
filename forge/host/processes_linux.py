"""Processes as /proc shows them (proc(5))."""

import contextlib
import os
from pathlib import Path


def start_time(pid: int, proc: Path = Path("/proc")) -> float | None:
    """Return the start of `pid` in clock ticks since boot; None when gone or a zombie."""
    try:
        fields = (proc / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return None
    state, started = fields[0], fields[19]  # fields 3 and 22 of the line
    return None if state in (b"Z", b"X") else float(started)


def users_of(place: str, proc: Path = Path("/proc")) -> list[tuple[int, str]]:
    """Return pid and name of the processes that have a file of `place` open, run or stand in it.

    Processes of other users, whose links we may not read, are passed over.
    """
    found = []
    for entry in proc.iterdir():
        if entry.name.isdigit() and any(_lies_in(link, place) for link in _links(entry)):
            name = ""
            with contextlib.suppress(OSError):
                name = (entry / "comm").read_text("utf-8", "replace").strip()
            found.append((int(entry.name), name))
    return sorted(found)


def _links(process: Path) -> list[str]:
    links = []
    places = [process / "cwd", process / "exe", process / "root"]
    with contextlib.suppress(OSError):
        places += list((process / "fd").iterdir())
    for place in places:
        with contextlib.suppress(OSError):
            links.append(os.readlink(place))
    return links


def _lies_in(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")
