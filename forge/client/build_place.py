"""Where a build's processes belong: in the cgroup of builds, last to run, first to end for memory.

The launcher goes there itself before it starts cargo, so everything below is born there and no pid
can be mistaken. hooks/shim/src/place.rs does the same natively.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

OOM_SCORE_ADJ = "/proc/self/oom_score_adj"


def enter(go: Mapping[str, Any]) -> bool | None:
    """Do what a `go` says; return whether its cgroup was entered, None when it names none."""
    offer = go.get("oom_score_adj")
    if offer is not None:
        offer_first(offer)
    step_back(go.get("nice") or 0)
    if go.get("cpu_cgroup") is not None:
        with suppress(OSError):  # how cores are shared is no part of the answer
            _write(go["cpu_cgroup"], "0")
    procs = go.get("cgroup")
    if procs is None:
        return None
    try:
        _write(procs, "0")  # ourselves
    except OSError:
        return False
    return True


def offer_first(offer: int, path: str = OOM_SCORE_ADJ) -> None:
    """Raise what the kernel chooses by when memory runs out; a higher one of the user's stays."""
    with suppress(OSError, ValueError):  # no such file: not Linux
        with open(path, encoding="ascii") as file:
            own = int(file.read())
        if own < offer:
            _write(path, str(offer))


def step_back(nice: int) -> None:
    """Let others run first, by a nice that is never lowered; a higher one of the user's stays."""
    nice = min(19, nice)
    if os.getpriority(os.PRIO_PROCESS, 0) < nice:
        os.setpriority(os.PRIO_PROCESS, 0, nice)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
