"""Time as the core gets it: a steady count for waits, and the date for records."""

from typing import NamedTuple


class Moment(NamedTuple):
    """`steady_s` never jumps (CLOCK_MONOTONIC); `wall_s` is seconds since the epoch and may."""

    steady_s: float
    wall_s: float
