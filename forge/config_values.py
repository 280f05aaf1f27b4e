"""How one setting is told and read; every reader raises ValueError for what cannot be."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from forge.core.units import parse_duration_s, parse_size_mib

SIZE = 'a size such as "64GiB", or "auto"'


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its dotted key, what is right for it, its meaning, and how it is read.

    `default` is what `forge config show` prints for a setting that is absent; "auto" means that it
    is computed from the machine.
    """

    key: str
    expects: str
    default: Any
    meaning: str
    read: Callable[[Any], Any]


def one_of(*allowed: str) -> Callable[[Any], str]:
    """Return a reader of one of some words."""

    def read(value: Any) -> str:
        if value not in allowed:
            raise ValueError
        return str(value)

    return read


def read_size(value: Any) -> int | None:
    """Read a size as whole MiB; None stands for "auto"."""
    if value == "auto":
        return None
    if not isinstance(value, str):
        raise ValueError
    return parse_size_mib(value)


def read_some_size(value: Any) -> int:
    """Read a size that is neither 0 nor "auto"."""
    size_mib = read_size(value)
    if not size_mib:
        raise ValueError
    return size_mib


def count_of(low: int, high: int) -> Callable[[Any], int | None]:
    """Return a reader of whole numbers; None stands for "auto"."""

    def read(value: Any) -> int | None:
        if value == "auto":
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError
        return value

    return read


def read_absolute_path(value: Any) -> str | None:
    """Read a path, which may begin with `~`; None stands for "auto"."""
    if value == "auto":
        return None
    if not isinstance(value, str) or not os.path.isabs(os.path.expanduser(value)):
        raise ValueError
    return os.path.normpath(os.path.expanduser(value))


def read_volume_name(value: Any) -> str:
    """Read a name that macOS gives a volume."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}", value):
        raise ValueError
    return value


def read_yes_no_or_auto(value: Any) -> bool | None:
    """Read true or false; None is "auto"."""
    return None if value == "auto" else read_yes_no(value)


def read_yes_no(value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError
    return value


def read_auto_or_yes_no(value: Any) -> bool | None:
    """Read true or false; None stands for "auto"."""
    return None if value == "auto" else read_yes_no(value)


def read_duration_s(value: Any) -> float:
    """Read a duration as seconds."""
    if not isinstance(value, str):
        raise ValueError
    return parse_duration_s(value)


def read_url(value: Any) -> str:
    """Read an address, without its last slash."""
    if not isinstance(value, str) or not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
        raise ValueError
    return value.rstrip("/")


def read_words(value: Any) -> tuple[str, ...]:
    """Read a list of words."""
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError
    return tuple(value)


def read_name(value: Any) -> str:
    """Read a name or a path, which may begin with `~`."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    return os.path.expanduser(value)
