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

Wanted = Callable[[bytes], bool]


class DecisionLog:
    """The log at `path`, read in order: first `last`, then `follow` goes on where that ended."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = _open(path)
        self._rest = b""

    @property
    def exists(self) -> bool:
        """Say whether there is a log, or was one when it was looked for."""
        return self._file is not None or os.path.exists(f"{self._path}.1")

    def last(self, count: int, wanted: Wanted = lambda _: True) -> list[bytes]:
        """Return the last `count` whole lines that are wanted, from rotated files if need be."""
        found: deque[bytes] = deque(filter(wanted, self._added()), count)
        for number in range(1, ROTATED + 1):
            if len(found) >= count:
                break
            older = _open(f"{self._path}.{number}")
            if older is None:
                break
            with older:
                if self._is_same(older):
                    continue  # ours was rotated since we opened it
                found.extendleft(reversed(deque(filter(wanted, older), count - len(found))))
        return list(found)

    def follow(self, sleep: Callable[[float], None] = time.sleep) -> Iterator[bytes]:
        """Yield lines as they are added, for ever; rotated files are read to their ends first."""
        while True:
            successor = self._successor()
            yield from self._added()
            if successor is None:
                sleep(POLL_S)
                continue
            if self._rest:  # its writer was cut short, and nobody will end this line
                yield self._rest + b"\n"
            if self._file:
                self._file.close()
            self._file, self._rest = successor, b""

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()

    def _added(self) -> list[bytes]:
        if self._file is None:
            return []
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)  # somebody has emptied it
            self._rest = b""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [line + b"\n" for line in lines]

    def _successor(self) -> BinaryIO | None:
        """Return the file that came after ours; None while ours is the one that is written to."""
        if self._is_at(self._path):
            return None
        numbers = range(1, ROTATED + 1) if self._file else ()
        ours = next((n for n in numbers if self._is_at(f"{self._path}.{n}")), 1)
        return _open(f"{self._path}.{ours - 1}" if ours > 1 else self._path)

    def _is_at(self, path: str) -> bool:
        other = _open(path)
        if other is None:
            return False
        with other:
            return self._is_same(other)

    def _is_same(self, other: BinaryIO) -> bool:
        return self._file is not None and os.path.sameopenfile(self._file.fileno(), other.fileno())


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
