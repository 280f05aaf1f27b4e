"""The memory map: who on this machine gets how much of its memory.

The reference host's map adds up to its 256 GiB exactly. On any other machine every row scales with
the memory there is, and the row that may be rounded is the linker buffer, since it alone is asked
for anew each time. All sizes are whole MiB.
"""

from dataclasses import dataclass
from enum import StrEnum

REFERENCE_TOTAL_MIB = 256 * 1024


class Tenancy(StrEnum):
    """How firmly a tenant holds its memory."""

    WIRED = "wired"  # resident all the time
    DYNAMIC = "dynamic"  # grows and shrinks, up to its row
    RESERVED = "reserved"  # promised piece by piece


@dataclass(frozen=True, slots=True)
class Row:
    """One tenant of the map."""

    key: str
    tenant: str
    size_mib: int
    kind: Tenancy


REFERENCE_ROWS = (
    Row("model", "AI engine", 78 * 1024, Tenancy.WIRED),
    Row("draft_model", "draft model", 3 * 1024, Tenancy.WIRED),
    Row("ram_disk", "Build Forge RAM disk", 64 * 1024, Tenancy.WIRED),
    Row("agent_context", "agent context (KV cache)", 40 * 1024, Tenancy.DYNAMIC),
    Row("operating_system", "operating system", 20 * 1024, Tenancy.DYNAMIC),
    Row("linker_buffer", "linker buffer", 51 * 1024, Tenancy.RESERVED),
)


@dataclass(frozen=True, slots=True)
class MemoryMap:
    """Rows that add up to the machine. Invariant: the sum of the rows is `total_mib`."""

    total_mib: int
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        surplus_mib = sum(row.size_mib for row in self.rows) - self.total_mib
        if surplus_mib:
            largest = max(self.rows, key=lambda row: row.size_mib)
            raise ValueError(
                f"the rows add up to {surplus_mib:+d} MiB against {self.total_mib} MiB of memory;"
                f" change `{largest.key}` ({largest.size_mib} MiB) or another row"
            )

    def size_mib(self, key: str) -> int:
        """Return the size of one row; KeyError if the map has no such row."""
        for row in self.rows:
            if row.key == key:
                return row.size_mib
        raise KeyError(key)


def propose(total_mib: int, wanted_mib: dict[str, int] | None = None) -> MemoryMap:
    """Scale the reference map to `total_mib`; `wanted_mib` fixes rows by key.

    What fixed rows take or leave is carried by the linker buffer, unless that is fixed too: then by
    the agent context. Raises ValueError, naming the row, when nothing is left for it.
    """
    wanted_mib = wanted_mib or {}
    sizes = {
        row.key: wanted_mib.get(row.key, row.size_mib * total_mib // REFERENCE_TOTAL_MIB)
        for row in REFERENCE_ROWS
    }
    free = [key for key in ("linker_buffer", "agent_context") if key not in wanted_mib]
    rest_mib = total_mib - sum(sizes.values())
    if free:
        carrier = free[0]
        sizes[carrier] += rest_mib
        if sizes[carrier] < 0:
            culprit = max(wanted_mib, key=lambda key: wanted_mib[key])
            raise ValueError(
                f"the map asks for {-sizes[carrier]} MiB more than the {total_mib} MiB there are;"
                f" lower `{culprit}` ({wanted_mib[culprit]} MiB)"
            )
    return MemoryMap(
        total_mib,
        tuple(Row(row.key, row.tenant, sizes[row.key], row.kind) for row in REFERENCE_ROWS),
    )
