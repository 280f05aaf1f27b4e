"""Ending by a signal, so that whoever waits for us sees what ended cargo, or ended us instead."""

import os
import resource
import signal


def end_like(code: int) -> int:
    """Return the exit code of a child, as subprocess tells it; end by its signal if it did."""
    if code < 0:
        die_by(-code)
    return code


def die_by(number: int) -> None:
    """End by a signal, without a second core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
