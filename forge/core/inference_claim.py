"""What of the memory that looks available belongs to a model.

A mapped model that is not locked lies in the page cache, and the kernel calls all of that
available: it would give a linker the model's own pages, and read them back from disk token after
token. So what is to be resident and is not locked counts as taken, whether it is there at the
moment or has to come back. A limit of a cgroup is charged with it only if the server is below that
limit too.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from forge.core.memory import Limit, Reading
from forge.core.units import MIB


@dataclass(frozen=True, slots=True)
class Claim:
    """What one server's mapped models claim. `place` is its cgroup; None: it is not known."""

    evictable_bytes: int
    missing_bytes: int
    place: str | None = None

    @property
    def total_bytes(self) -> int:
        """Return all of it."""
        return self.evictable_bytes + self.missing_bytes


def is_below(place: str | None, above: str) -> bool:
    """Say whether a cgroup is another one or below it; one that is not known is not."""
    return place is not None and (place == above or place.startswith(f"{above.rstrip('/')}/"))


MAC_WIRED_BYTES = 4096 * MIB
"""What macOS has wired of its own; more than that is a GPU's, models among it."""


def beside(reading: Reading, claims: Iterable[Claim]) -> Reading:
    """Return a reading as it is for everybody else: what models claim is not available."""
    found = [claim for claim in claims if claim.total_bytes]
    if not found:
        return reading
    evictable_bytes = sum(claim.evictable_bytes for claim in found)
    if reading.mac:  # what a GPU has wired is not available to begin with, and not called locked
        evictable_bytes -= max(0, (reading.mac.wired_bytes or 0) - MAC_WIRED_BYTES)
    claimed_bytes = max(0, evictable_bytes) + sum(claim.missing_bytes for claim in found)
    return replace(
        reading,
        machine_available_bytes=max(0, reading.machine_available_bytes - claimed_bytes),
        limits=tuple(_less(limit, found) for limit in reading.limits),
    )


def _less(limit: Limit, claims: list[Claim]) -> Limit:
    below = [claim for claim in claims if is_below(claim.place, limit.place)]
    evictable_bytes = sum(claim.evictable_bytes for claim in below)
    return replace(
        limit,
        used_bytes=limit.used_bytes + sum(claim.missing_bytes for claim in below),
        droppable_bytes=max(0, limit.droppable_bytes - evictable_bytes),
    )
