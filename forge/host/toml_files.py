"""TOML files, parsed once for as long as they do not change."""

import os
import tomllib
from collections.abc import Iterator
from typing import Any

_Stamp = tuple[int, int, int]
_CACHED_FILES = 4096


class TomlFiles:
    """What was parsed, by path. Invariant: a file is parsed as its stamp says."""

    def __init__(self) -> None:
        self._parsed: dict[str, tuple[_Stamp, dict[str, Any]]] = {}

    def read(self, path: str) -> dict[str, Any]:
        """Parse a file, once per state of it; {} when absent or broken: cargo will tell."""
        try:
            status = os.stat(path)
        except (OSError, ValueError):  # ValueError: a NUL in the path
            self._parsed.pop(path, None)
            return {}
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._parsed.get(path)
        if known and known[0] == stamp:
            return known[1]
        try:
            with open(path, "rb") as file:
                document = tomllib.load(file)
        except (OSError, ValueError, RecursionError):
            document = {}
        if len(self._parsed) >= _CACHED_FILES:
            self._parsed.clear()
        self._parsed[path] = (stamp, document)
        return document


def upwards(directory: str) -> Iterator[str]:
    """Yield a directory and all above it."""
    while True:
        yield directory
        parent = os.path.dirname(directory)
        if parent == directory:
            return
        directory = parent
