"""Processes: who they are, whether they are gone, and ending one that we are sure of.

A pid alone names nobody: it is used again. A process is its pid and the time it started.
"""

import os
import signal
import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Process:
    """A process that we can recognise: pid and start, in whatever unit the OS counts."""

    pid: int
    started: float


def identify(pid: int) -> Process | None:
    """Return the process that has this pid now; None when there is none."""
    if pid <= 0:
        return None
    started = _start_time(pid)
    return None if started is None else Process(pid, started)


def is_alive(process: Process) -> bool:
    """Say whether this very process runs. A zombie does not: it holds nothing any more."""
    return _start_time(process.pid) == process.started


def end(process: Process, signal_number: int = signal.SIGTERM) -> bool:
    """Signal this very process; False when it is gone already."""
    if not is_alive(process):
        return False
    try:
        os.kill(process.pid, signal_number)
    except ProcessLookupError:
        return False
    return True


def end_tree(root: Process) -> int:
    """Send SIGTERM to this very process and all below it; return how many were signalled.

    The tree is read once and its root is ended first, so that it starts nothing more; a process
    that is gone by then, or whose pid another has by now, is left alone.
    """
    import psutil

    try:
        below = psutil.Process(root.pid).children(recursive=True) if is_alive(root) else []
    except psutil.Error:
        below = []
    ended = int(end(root))
    for process in below:
        try:
            process.terminate()  # looks at the start time first
            ended += 1
        except psutil.Error:
            continue  # it has ended by itself
    return ended


def lower_tree(root: Process, nice: int) -> int:
    """Lower the priority of this very process and all below it; return how many were lowered.

    What they start inherits it. Nobody's is raised.
    """
    import psutil

    try:
        top = psutil.Process(root.pid)
        tree = [top, *top.children(recursive=True)] if is_alive(root) else []
    except psutil.Error:
        return 0
    lowered = 0
    for process in tree:
        try:
            if process.nice() < nice:
                process.nice(nice)  # looks at the start time first
                lowered += 1
        except psutil.Error:
            continue  # it has ended by itself
    return lowered


def _start_time(pid: int) -> float | None:
    if sys.platform == "linux":
        from forge.host.processes_linux import start_time

        return start_time(pid)
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None
