"""Run a tool of the OS with a deadline.

Some tools leave a child behind that keeps the inherited stdout open for hours (the process behind
a disk image does). So output goes to files, and the end of a command is the end of its process,
never the end of its output. Each command leads a process group of its own: at the deadline the
whole group is ended; what a command leaves behind after ending well is left alone.
"""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from forge.core.units import show_duration
from forge.errors import DeadlineExceeded

MAX_OUTPUT_BYTES = 16 * 1024 * 1024
TERM_GRACE_S = 0.5


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended. A negative `exit_code` is the signal that ended it."""

    exit_code: int
    stdout: str
    stderr: str
    elapsed_s: float

    @property
    def text(self) -> str:
        """Both streams, for tools that are not firm on which one carries the message."""
        return f"{self.stdout}\n{self.stderr}".strip()


def run_command(
    argv: Sequence[str],
    *,
    deadline_s: float,
    env: Mapping[str, str] | None = None,
    directory: str | None = None,
) -> CommandResult:
    """Run `argv` to its end, without a shell, with an empty stdin and in the C locale.

    Any exit code is a result. Raises DeadlineExceeded after `deadline_s`, and FileNotFoundError or
    PermissionError, as the OS gives them, when the program cannot be started. `env` replaces
    os.environ; its PATH finds the program. It runs in `directory`, or where we are.
    """
    started = time.monotonic()
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**(os.environ if env is None else env), "LC_ALL": "C"},
            start_new_session=True,
            cwd=directory,
        )
        try:
            exit_code = _await_end(process, started, started + deadline_s)
        except TimeoutError:
            _end_group(process)
            said = _text(stderr).strip().splitlines()
            raise DeadlineExceeded(
                f"`{_shown(argv)}` did not end within {show_duration(deadline_s)}",
                hint=f"its last words: {said[-1]}" if said else None,
            ) from None
        except BaseException:
            _end_group(process)
            raise
        return CommandResult(exit_code, _text(stdout), _text(stderr), time.monotonic() - started)


def _await_end(process: subprocess.Popen[bytes], started: float, give_up_at: float) -> int:
    """Return the exit code, noticed at most a tenth of the command's duration late."""
    while (exit_code := process.poll()) is None:
        now = time.monotonic()
        if now >= give_up_at:
            raise TimeoutError
        time.sleep(min(max((now - started) / 10, 0.002), 0.05, give_up_at - now))
    return exit_code


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the command and its children: ask, wait a little, then make sure."""
    _signal_group(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(TERM_GRACE_S)
    _signal_group(process.pid, signal.SIGKILL)  # also for children that outlived a tame leader
    # Still here: stuck in the kernel, and killed as soon as it comes back from there.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(TERM_GRACE_S)


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass  # all gone
    except PermissionError:
        pass  # macOS says EPERM when only zombies are left


def _shown(argv: Sequence[str]) -> str:
    return " ".join(argv[:4]) + (" …" if len(argv) > 4 else "")


def _text(file: BinaryIO) -> str:
    """Read what was written so far; the writer's file position is not ours to trust."""
    return os.pread(file.fileno(), MAX_OUTPUT_BYTES, 0).decode("utf-8", "replace")
