"""The decision log: one JSON object a line, with the numbers behind each decision, rotated."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

KEPT = 3
MAX_BYTES = 10 * 1024 * 1024


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
        self._echo = echo
        self._now = now or (lambda: datetime.now(UTC))
        self._file = self._open()

    def write(self, decision: str, fields: Mapping[str, Any]) -> None:
        """Write one line: `at`, `decision`, then the fields."""
        at = self._now().astimezone().isoformat(timespec="milliseconds")
        line = json.dumps({"at": at, "decision": decision, **fields}, default=str) + "\n"
        if self._echo:
            sys.stderr.write(line)
            sys.stderr.flush()
        try:
            os.write(self._file, line.encode())
            if os.fstat(self._file).st_size >= self._max_bytes:
                self._rotate()
        except OSError as error:
            if self._echo:
                sys.stderr.write(f"forged: the log cannot be written: {error.strerror}\n")

    def limit(self, max_bytes: int) -> None:
        """Rotate at another size from now on."""
        self._max_bytes = max_bytes

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._path, flags, 0o600)

    def _rotate(self) -> None:
        os.close(self._file)
        for number in range(KEPT, 0, -1):
            older = f"{self._path}.{number - 1}" if number > 1 else self._path
            if os.path.exists(older):
                os.replace(older, f"{self._path}.{number}")
        self._file = self._open()
