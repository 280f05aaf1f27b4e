"""How values of forge.toml are read: one that is not right for its setting is a ValueError."""

import os
import re
from collections.abc import Callable
from typing import Any

from forge.core.units import parse_duration_s, parse_size_mib


def one_of(*allowed: str) -> Callable[[Any], str]:
    """Read one of these words."""

    def read(value: Any) -> str:
        if value not in allowed:
            raise ValueError
        return str(value)

    return read


def size(value: Any) -> int | None:
    """Read a size in MiB; None for "auto"."""
    if value == "auto":
        return None
    if not isinstance(value, str):
        raise ValueError
    return parse_size_mib(value)


def some_size(value: Any) -> int:
    """Read a size that is not zero."""
    size_mib = size(value)
    if not size_mib:
        raise ValueError
    return size_mib


def count(low: int, high: int) -> Callable[[Any], int | None]:
    """Read a whole number within bounds; None for "auto"."""

    def read(value: Any) -> int | None:
        if value == "auto":
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError
        return value

    return read


def absolute_path(value: Any) -> str | None:
    """Read an absolute path, `~` included; None for "auto"."""
    if value == "auto":
        return None
    if not isinstance(value, str) or not os.path.isabs(os.path.expanduser(value)):
        raise ValueError
    return os.path.normpath(os.path.expanduser(value))


def volume_name(value: Any) -> str:
    """Read what macOS takes as the name of a volume."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}", value):
        raise ValueError
    return value


def yes_no(value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError
    return value


def duration(value: Any) -> float:
    """Read a duration in seconds."""
    if not isinstance(value, str):
        raise ValueError
    return parse_duration_s(value)


def auto_or_yes_no(value: Any) -> bool | None:
    """Read true or false; None for "auto"."""
    return None if value == "auto" else yes_no(value)


def url(value: Any) -> str:
    """Read the address of a server."""
    if not isinstance(value, str) or not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
        raise ValueError
    return value.rstrip("/")
