"""Sizes and times as people write and read them.

Memory is counted in whole MiB inside Forge; one GiB is 1024 MiB. `GB` is refused rather than
guessed: on a machine that is planned to the last GiB the 7 % matter.
"""

import re

MIB = 1024 * 1024
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(MiB|GiB|TiB|M|G|T)?\s*", re.IGNORECASE)
_FACTOR_MIB = {"m": 1, "g": 1024, "t": 1024 * 1024}
_DURATION = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([smhd]?)\s*", re.ASCII)
_FACTOR_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size_mib(text: str) -> int:
    """Read `6GiB`, `512 MiB` or `1.5G` as whole MiB; ValueError says what would be right."""
    match = _SIZE.fullmatch(text)
    if not match or not match[2]:
        raise ValueError(f"{text!r} is not a size: write a number and MiB, GiB or TiB, as in 64GiB")
    return round(float(match[1]) * _FACTOR_MIB[match[2][0].lower()])


def show_mib(mib: float) -> str:
    """Write MiB as people read it: `512 MiB`, `6.0 GiB`."""
    if abs(mib) < 1024:
        return f"{mib:.0f} MiB"
    return f"{mib / 1024:.1f} GiB"


def show_bytes(count: int) -> str:
    """Write bytes as people read them: `17 B`, `3.2 KiB`, `512 MiB`, `6.0 GiB`."""
    if count < 1024:
        return f"{count} B"
    if count < MIB:
        return f"{count / 1024:.1f} KiB"
    return show_mib(count / MIB)


def show_duration(seconds: float) -> str:
    """Write a duration with its two largest units: `0.4 s`, `12 s`, `3 min 20 s`, `2 d 4 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit_s, unit, sub_s, sub in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= unit_s:
            rest = whole % unit_s // sub_s
            return f"{whole // unit_s} {unit}" + (f" {rest} {sub}" if rest else "")
    return f"{whole} s"


def show_duration_short(seconds: float) -> str:
    """Write a duration where there is little room: `0.4s`, `12s`, `3m20s`, `2d4h`."""
    return show_duration(seconds).replace(" min", "m").replace(" ", "")


def parse_duration_s(text: str) -> float:
    """Read `90`, `90s`, `5m`, `1.5h` or `0` as seconds; ValueError says what would be right."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a duration: write seconds, or as in 90s, 5m or 1h")
    return float(match[1]) * _FACTOR_S[match[2] or "s"]


def plural(count: int, noun: str) -> str:
    """Write `1 build`, `2 builds`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
