"""The memory limits of a cgroup, and how much of each is used.

Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst. memory.high counts as a
limit: above it the kernel refuses nothing, it puts everything in the cgroup to sleep. All page
cache counts as droppable, the active part too: the kernel gives it up before it refuses (measured:
docs/design/memory-readings.md).
"""

from forge.core.memory import Limit, Missing
from forge.host.cgroups import V1, Hierarchy
from forge.host.small_files import figure, read_text, reason_of

NO_LIMIT_BYTES = 1 << 60
"""Version 1 writes a number near 2^63 when there is no limit."""

_V2 = (("memory.max", "memory.current"), ("memory.high", "memory.current"))
_V1 = (
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ("memory.memsw.limit_in_bytes", "memory.memsw.usage_in_bytes"),  # memory and swap together
)
_OUT_OF_SIGHT = "hierarchical_memory_limit"


def read_limits(hierarchy: Hierarchy, root: str) -> tuple[list[Limit], list[Missing]]:
    """Read the limits of all cgroups of a hierarchy whose directories lie below `root`.

    A cgroup without the files has no limit: the outermost of all never has one.
    """
    limits: list[Limit] = []
    missing: list[Missing] = []
    for place, directory in zip(hierarchy.places, hierarchy.directories, strict=True):
        try:
            limits += _limits_of(place, f"{root}{directory}", hierarchy.version)
        except (OSError, ValueError) as error:
            missing.append(Missing(f"limits of {place}", reason_of(error)))
    if hierarchy.version == V1:
        limits += _out_of_sight(hierarchy, root, limits)
    return limits, missing


def _limits_of(place: str, directory: str, version: int) -> list[Limit]:
    names = _V1 if version == V1 else _V2
    set_here = [
        (name, use, limit_bytes)
        for name, use in names
        if (limit_bytes := _limit(f"{directory}/{name}")) is not None
    ]
    if not set_here:
        return []
    droppable_bytes = _droppable(read_text(f"{directory}/memory.stat"))
    return [
        Limit(place, name, limit_bytes, int(read_text(f"{directory}/{use}")), droppable_bytes)
        for name, use, limit_bytes in set_here
    ]


def _out_of_sight(hierarchy: Hierarchy, root: str, seen: list[Limit]) -> list[Limit]:
    """Find a limit above the mount's root: version 1 tells its size, and its use nowhere.

    We count our outermost cgroup's use; what others below the same limit use is not seen.
    """
    place, directory = hierarchy.places[-1], f"{root}{hierarchy.directories[-1]}"
    lowest_bytes = min((one.limit_bytes for one in seen), default=NO_LIMIT_BYTES)
    try:
        stat = read_text(f"{directory}/memory.stat")
        limit_bytes = figure(stat, _OUT_OF_SIGHT)
        if limit_bytes is None or limit_bytes >= lowest_bytes:
            return []
        used_bytes = int(read_text(f"{directory}/{_V1[0][1]}"))
    except (OSError, ValueError):
        return []
    return [Limit(place, _OUT_OF_SIGHT, limit_bytes, used_bytes, _droppable(stat))]


def _limit(path: str) -> int | None:
    try:
        text = read_text(path).strip()
    except FileNotFoundError:
        return None
    return int(text) if text.isdigit() and int(text) < NO_LIMIT_BYTES else None


def _droppable(stat: str) -> int:
    """Add up page cache with that of the cgroups below: version 1 names those sums `total_`."""
    prefix = "total_" if "\ntotal_inactive_file " in stat else ""
    return sum(figure(stat, f"{prefix}{kind}_file") or 0 for kind in ("inactive", "active"))
