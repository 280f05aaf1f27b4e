"""The decision log: one JSON object a line, with the numbers behind each decision, rotated."""

import asyncio
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

KEPT = 3
MAX_BYTES = 10 * 1024 * 1024
RETRY_PARTS = 10  # after a rotation that failed, the file grows by a tenth before the next try
BUG_EVERY_S = 10.0


class DecisionLog:
    """Appends to a file and rotates it at `max_bytes`. A disk that is full loses lines, no more."""

    def __init__(
        self,
        path: str,
        max_bytes: int = MAX_BYTES,
        *,
        echo: bool = False,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._rotate_at_bytes = max_bytes
        self._echo = echo
        self._now = now or (lambda: datetime.now(UTC))
        self._file = self._open(path)

    def write(self, decision: str, fields: Mapping[str, Any]) -> None:
        """Write one line: `at`, `decision`, then the fields."""
        at = self._now().astimezone().isoformat(timespec="milliseconds")
        line = json.dumps({"at": at, "decision": decision, **fields}, default=str) + "\n"
        if self._echo:
            sys.stderr.write(line)
            sys.stderr.flush()
        try:
            os.write(self._file, line.encode())
            size_bytes = os.fstat(self._file).st_size
        except OSError as error:
            self._complain(f"the log cannot be written: {error.strerror}")
            return
        if size_bytes >= self._rotate_at_bytes:
            self._rotate(size_bytes)

    def limit(self, max_bytes: int) -> None:
        """Rotate at another size from now on."""
        self._max_bytes = max_bytes
        self._rotate_at_bytes = max_bytes

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _open(self, path: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(path, flags, 0o600)

    def _rotate(self, size_bytes: int) -> None:
        """Begin a new file. While that fails, the one that is open serves on."""
        draft = f"{self._path}.new"
        try:
            new = self._open(draft)
        except OSError as error:
            self._put_off(size_bytes, error)
            return
        try:
            self._shift()
            os.replace(draft, self._path)
        except OSError as error:
            os.close(new)
            with suppress(OSError):  # a directory that became read-only: the next try takes it
                os.unlink(draft)
            self._put_off(size_bytes, error)
            return
        os.close(self._file)
        self._file = new
        self._rotate_at_bytes = self._max_bytes

    def _shift(self) -> None:
        for number in range(KEPT, 0, -1):
            older = f"{self._path}.{number - 1}" if number > 1 else self._path
            if os.path.exists(older):
                os.replace(older, f"{self._path}.{number}")

    def _put_off(self, size_bytes: int, error: OSError) -> None:
        self._rotate_at_bytes = size_bytes + max(1, self._max_bytes // RETRY_PARTS)
        self._complain(f"the log cannot be rotated: {error.strerror}")

    def _complain(self, what: str) -> None:
        if self._echo:
            sys.stderr.write(f"forged: {what}\n")


class BugLog:
    """An event loop's exception handler: logs each bug, and one that repeats every `every_s`.

    `_repeats` counts, by text, what was left out since the text was logged.
    """

    def __init__(self, log: DecisionLog, every_s: float = BUG_EVERY_S) -> None:
        self._log = log
        self._every_s = every_s
        self._repeats: dict[str, int] = {}

    def __call__(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """Log what `loop` reports, unless the same was logged a moment ago."""
        error = context.get("exception")
        text = "".join(traceback.format_exception(error)) if error else str(context["message"])
        if text in self._repeats:
            self._repeats[text] += 1
            return
        self._write(loop, text, {})

    def _write(self, loop: asyncio.AbstractEventLoop, text: str, more: Mapping[str, Any]) -> None:
        self._log.write("daemon.bug", {"traceback": text, **more})
        self._repeats[text] = 0
        loop.call_later(self._every_s, self._sum_up, loop, text)

    def _sum_up(self, loop: asyncio.AbstractEventLoop, text: str) -> None:
        repeats = self._repeats.pop(text)
        if repeats:
            self._write(loop, text, {"repeats": repeats})
