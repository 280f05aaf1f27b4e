"""Reads the daemon's decision log: its last lines across rotated files, and what is added to it."""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

ROTATED = 9
"""How many rotated files are looked for: `forged.log.1` is the youngest."""

POLL_S = 0.25


class DecisionLog:
    """The log at `path`, read in order: first `last`, then `follow` goes on where that ended."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = _open(path)
        self._rest = b""

    def last(self, count: int) -> list[bytes]:
        """Return the last `count` whole lines, from rotated files too when this one is short."""
        found: deque[bytes] = deque(self._added(), count)
        for number in range(1, ROTATED + 1):
            if len(found) >= count:
                break
            older = _open(f"{self._path}.{number}")
            if older is None:
                break
            with older:
                found.extendleft(reversed(deque(older, count - len(found))))
        return list(found)

    def follow(self, sleep: Callable[[float], None] = time.sleep) -> Iterator[bytes]:
        """Yield lines as they are added, for ever; a rotated file is read to its end first."""
        while True:
            is_replaced = self._is_replaced()
            yield from self._added()
            if is_replaced:
                if self._file:
                    self._file.close()
                self._file = _open(self._path)
            else:
                sleep(POLL_S)

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()

    def _added(self) -> list[bytes]:
        if self._file is None:
            return []
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [line + b"\n" for line in lines]

    def _is_replaced(self) -> bool:
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False
        return self._file is None or os.fstat(self._file.fileno()).st_ino != there.st_ino


def read_entry(line: bytes) -> dict[str, Any]:
    """Read one line; one that is not JSON comes as it is."""
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    if isinstance(entry, dict):
        return entry
    return {"at": "", "decision": line.decode("utf-8", "backslashreplace").strip()}


def _open(path: str) -> BinaryIO | None:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        return None
