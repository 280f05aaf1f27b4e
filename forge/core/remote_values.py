"""What a field of a remote message may hold: each has a limit. Used by core/remote_messages.py.

A check takes a value as JSON gave it and raises ValueError with what is wrong about it.
"""

import re
from collections.abc import Callable
from typing import Any

Check = Callable[[Any], None]

MAX_TEXT = 4096
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
"""Names of keys and projects: they are components of paths, and never hidden ones or options."""

CHECKOUT = re.compile(r"[0-9a-f]{8,64}", re.ASCII)
DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


def to_bytes(value: str) -> bytes:
    """Return the bytes that text stands for, whatever the locale; ValueError when it does not."""
    return value.encode("utf-8", "surrogateescape")


def to_text(value: bytes) -> str:
    """Return the text that stands for bytes."""
    return value.decode("utf-8", "surrogateescape")


def text(most: int = MAX_TEXT) -> Check:
    """Take text without NUL."""

    def check(value: Any) -> None:
        if not isinstance(value, str) or len(value) > most or "\0" in value:
            raise ValueError(f"takes text of at most {most} characters, without NUL")
        try:
            to_bytes(value)
        except UnicodeEncodeError:
            raise ValueError("takes text that stands for bytes") from None

    return check


def matching(pattern: re.Pattern[str]) -> Check:
    """Take text that a pattern matches as a whole."""

    def check(value: Any) -> None:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"takes text like {pattern.pattern}")

    return check


def one_of(*allowed: str) -> Check:
    """Take one of a few words."""

    def check(value: Any) -> None:
        if value not in allowed or not isinstance(value, str):
            raise ValueError(f"takes one of {', '.join(allowed)}")

    return check


def number(least: int, most: int) -> Check:
    """Take a whole number between two bounds."""

    def check(value: Any) -> None:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"takes a number from {least} to {most}")

    return check


def truth(value: Any) -> None:
    """Take true or false."""
    if not isinstance(value, bool):
        raise ValueError("takes true or false")


def maybe(check: Check) -> Check:
    """Take null as well."""

    def either(value: Any) -> None:
        if value is not None:
            check(value)

    return either


def listed(check: Check, most: int) -> Check:
    """Take a list, each item of which passes a check."""

    def each(value: Any) -> None:
        if not isinstance(value, list) or len(value) > most:
            raise ValueError(f"takes a list of at most {most}")
        for one in value:
            check(one)

    return each


def mapped(name: Check, check: Check, most: int) -> Check:
    """Take an object, each name and each value of which passes its check."""

    def each(value: Any) -> None:
        if not isinstance(value, dict) or len(value) > most:
            raise ValueError(f"takes an object of at most {most} fields")
        for key, one in value.items():
            name(key)
            check(one)

    return each


def json_object(value: Any) -> None:
    """Take any object; the frame's limit is its own."""
    if not isinstance(value, dict):
        raise ValueError("takes an object")


def spans(most: int) -> Check:
    """Take pairs of a first index and a count: in order, and none over another."""

    def check(value: Any) -> None:
        at = 0
        for pair in value if isinstance(value, list) else [None]:
            if not isinstance(pair, list) or [type(one) for one in pair] != [int, int]:
                raise ValueError("takes a list of pairs of numbers")
            first, count = pair
            if first < at or not 0 < count <= most - first:
                raise ValueError(f"takes spans in order below {most}")
            at = first + count

    return check
