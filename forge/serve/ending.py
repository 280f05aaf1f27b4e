"""Ends what a client has left: the whole session of a program that was started for it."""

import contextlib
import os
import signal
import subprocess
import time

END_GRACE_S = 2.0
"""How long a session has to end before it is killed."""

_POLL_S = 0.02


def end_session(process: "subprocess.Popen[bytes]") -> None:
    """End a program that leads a session, and all in that session; wait until it is gone."""
    if _members(process.pid, process):
        _signal(process.pid, signal.SIGTERM)
        _signal(process.pid, signal.SIGCONT)
    until_s = time.monotonic() + END_GRACE_S
    while _members(process.pid, process) and time.monotonic() < until_s:
        time.sleep(_POLL_S)
    while left := _members(process.pid, process):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)
    process.wait()


def has_left_something(process: "subprocess.Popen[bytes]") -> bool:
    """Say whether a program that has ended has left others in its process group."""
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _members(session: int, leader: "subprocess.Popen[bytes]") -> list[int]:
    """Return the processes of a session that have not ended; our child is reaped by looking."""
    import psutil

    leader.poll()
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found
