"""Whether memory is tight: which signs speak, and which of them may be believed alone.

The kernel's own warning is on all day on a healthy busy Mac, and a task that waits for memory now
and then is normal on Linux. So a warning counts when a second sign agrees. Four signs are hard
enough to count alone: too little available, all tasks stalled, a model that loses pages, and macOS
calling it critical, by which time it is late.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from forge.core.memory import PressureLevel, Reading
from forge.core.memory_trend import Trend
from forge.core.units import show_bytes

FULL_SHARE = 0.05
SOME_SHARE = 0.15
COMPRESSED_SHARE = 0.15
LOW_PERCENT = 20


class Sign(StrEnum):
    """What can speak for memory being tight."""

    LOW = "low"  # less is available than the low water that the caller names
    STALLED = "stalled"  # no task gets on for a notable part of the time
    CRITICAL = "critical"  # macOS says so
    WARNING = "warning"  # macOS says so, or some tasks wait for a notable part of the time
    COMPRESSED = "compressed"  # a notable part of the machine is in macOS's compressor
    SWAPPING = "swapping"  # pages go out to swap now; what lies there already says nothing
    SCARCE = "scarce"  # macOS's own percentage is low
    SQUEEZED = "squeezed"  # a model loses pages that it needs


HARD = frozenset({Sign.LOW, Sign.STALLED, Sign.CRITICAL, Sign.SQUEEZED})


@dataclass(frozen=True, slots=True)
class Tightness:
    """The signs that speak, each with its numbers, and the verdict."""

    signs: Mapping[Sign, str]

    @property
    def is_tight(self) -> bool:
        """Say whether the signs together mean that memory is tight."""
        if HARD & self.signs.keys():
            return True
        return Sign.WARNING in self.signs and len(self.signs) > 1


def tightness(
    reading: Reading, trend: Trend | None, low_water_bytes: int, squeezed: str | None = None
) -> Tightness:
    """Weigh the signs of `reading`; those that need a trend are silent without one.

    `squeezed` says what an inference server lacks.
    """
    found: dict[Sign, str] = {Sign.SQUEEZED: squeezed} if squeezed else {}
    if reading.available_bytes < low_water_bytes:
        available, least = show_bytes(reading.available_bytes), show_bytes(low_water_bytes)
        found[Sign.LOW] = f"{available} available, below {least}"
    if trend:
        found |= _moving(trend)
    if reading.mac:
        found |= _of_macos(reading)
    return Tightness(found)


def is_tight(reading: Reading, trend: Trend | None, low_water_bytes: int) -> bool:
    """Say whether memory is tight; `tightness` tells why."""
    return tightness(reading, trend, low_water_bytes).is_tight


def _moving(trend: Trend) -> dict[Sign, str]:
    found = {}
    if trend.full_share is not None and trend.full_share >= FULL_SHARE:
        found[Sign.STALLED] = f"all tasks stalled {trend.full_share:.0%} of the time"
    if trend.some_share is not None and trend.some_share >= SOME_SHARE:
        found[Sign.WARNING] = f"some task stalled {trend.some_share:.0%} of the time"
    if trend.swap_out_bytes_per_s:
        found[Sign.SWAPPING] = f"{show_bytes(round(trend.swap_out_bytes_per_s))}/s to swap"
    return found


def _of_macos(reading: Reading) -> dict[Sign, str]:
    mac = reading.mac
    assert mac
    found = {}
    if mac.level is PressureLevel.CRITICAL:
        found[Sign.CRITICAL] = "macOS says critical"
    if mac.level is PressureLevel.WARNING:
        found[Sign.WARNING] = "macOS says warning"
    compressed = (mac.compressor_bytes or 0) / reading.machine_total_bytes
    if compressed >= COMPRESSED_SHARE:
        found[Sign.COMPRESSED] = f"{compressed:.0%} of memory holds compressed pages"
    if mac.level_percent is not None and mac.level_percent < LOW_PERCENT:
        found[Sign.SCARCE] = f"macOS says {mac.level_percent} % free"
    return found
