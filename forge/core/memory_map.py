"""The memory map: who on this machine gets how much of its memory.

The reference host's rows are given, and add up to its 256 GiB. Elsewhere they are proposed, by one
rule that gives the reference host its own rows: what is set or found counts as it is; the operating
system gets what a desktop with an editor needs; and what is left is shared by the agent context,
the RAM disk and the linker buffer as on the reference host. Where no model is, none gets a row:
half of a small machine must not lie idle for a model that nobody has. docs/design/memory-map.md
has the figures. All sizes are whole MiB.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

GIB = 1024  # in MiB
REFERENCE_TOTAL_MIB = 256 * GIB


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

    @property
    def setting(self) -> str:
        """Return the setting that fixes this row."""
        return setting_of(self.key)


REFERENCE_ROWS = (
    Row("model", "AI engine", 78 * GIB, Tenancy.WIRED),
    Row("draft_model", "draft model", 3 * GIB, Tenancy.WIRED),
    Row("ram_disk", "Build Forge RAM disk", 64 * GIB, Tenancy.WIRED),
    Row("agent_context", "agent context (KV cache)", 40 * GIB, Tenancy.DYNAMIC),
    Row("operating_system", "operating system", 20 * GIB, Tenancy.DYNAMIC),
    Row("linker_buffer", "linker buffer", 51 * GIB, Tenancy.RESERVED),
)
_REFERENCE = {row.key: row.size_mib for row in REFERENCE_ROWS}

MODELS = ("model", "draft_model")
CARRIERS = ("linker_buffer", "operating_system", "ram_disk")
"""The first of these that is not set carries what the other rows take or leave."""

SYSTEM_MIB = 4 * GIB
SYSTEM_SHARE = 16
"""The operating system gets 4 GiB and a sixteenth of the machine, which is 20 GiB of 256."""


def setting_of(key: str) -> str:
    """Return the setting that fixes a row."""
    return "disk.size" if key == "ram_disk" else f"memory_map.{key}"


@dataclass(frozen=True, slots=True)
class MemoryMap:
    """Rows that add up to the machine. Invariant: the sum of the rows is `total_mib`."""

    total_mib: int
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        surplus_mib = sum(row.size_mib for row in self.rows) - self.total_mib
        if surplus_mib:
            largest = max(self.rows, key=lambda row: row.size_mib)
            word = "more" if surplus_mib > 0 else "less"
            raise ValueError(
                f"the rows add up to {abs(surplus_mib)} MiB {word} than the {self.total_mib} MiB"
                f" there are; change `{largest.setting}` ({largest.size_mib} MiB), or leave a row"
                ' at "auto"'
            )

    def size_mib(self, key: str) -> int:
        """Return the size of one row; KeyError if the map has no such row."""
        for row in self.rows:
            if row.key == key:
                return row.size_mib
        raise KeyError(key)


def propose(
    total_mib: int,
    wanted_mib: Mapping[str, int] | None = None,
    found_mib: Mapping[str, int] | None = None,
) -> MemoryMap:
    """Propose a map: `wanted_mib` are rows that are set, `found_mib` rows as measured, by key.

    What is set goes before what is found, and a row of 0 says that there is no such tenant. Of a
    machine of exactly the reference host's size, the reference host's model is taken to be there
    when nothing is known of its model, or when what is found fits into those rows. Raises
    ValueError, with the row to change, when the rows do not add up to `total_mib`.
    """
    wanted = wanted_mib or {}
    asked = {**(found_mib or {}), **wanted}
    known = dict(asked)
    if total_mib == REFERENCE_TOTAL_MIB and "model" not in wanted and _is_reference(found_mib):
        known = {key: _REFERENCE[key] for key in MODELS} | dict(wanted)
    sizes = _proposed(total_mib, known) | known
    carrier = next((key for key in CARRIERS if key not in known), None)
    if carrier:
        least_mib = sizes[carrier] // 2 if carrier == "operating_system" else 0
        sizes[carrier] += total_mib - sum(sizes.values())
        if sizes[carrier] < least_mib:
            raise ValueError(_too_much(total_mib, least_mib - sizes[carrier], asked))
    return MemoryMap(
        total_mib,
        tuple(Row(row.key, row.tenant, sizes[row.key], row.kind) for row in REFERENCE_ROWS),
    )


def _is_reference(found_mib: Mapping[str, int] | None) -> bool:
    """Say whether what is found may be what the reference host holds: it fits into its rows."""
    if not found_mib:
        return True
    fits = all(size_mib <= _REFERENCE[key] for key, size_mib in found_mib.items())
    return fits and found_mib.get("model") != 0


def _proposed(total_mib: int, known: Mapping[str, int]) -> dict[str, int]:
    """Return what each row gets by itself; the linker buffer nothing, since it has the rest."""
    models_mib = sum(known.get(key, 0) for key in MODELS)
    besides_mib = max(0, total_mib - models_mib)
    system_mib = min(SYSTEM_MIB + total_mib // SYSTEM_SHARE, besides_mib // 2)
    left_mib = max(0, besides_mib - known.get("operating_system", system_mib))
    builds = _REFERENCE["ram_disk"] + _REFERENCE["linker_buffer"]
    context = _REFERENCE["agent_context"]
    context_mib = left_mib * context // (context + builds) if models_mib else 0
    builds_mib = max(0, left_mib - known.get("agent_context", context_mib))
    disk_mib = min(_REFERENCE["ram_disk"], builds_mib * _REFERENCE["ram_disk"] // builds)
    if "linker_buffer" in known:
        disk_mib = max(0, min(disk_mib, builds_mib - known["linker_buffer"]))
    return {
        "model": 0,
        "draft_model": 0,
        "ram_disk": disk_mib,
        "agent_context": context_mib,
        "operating_system": system_mib,
        "linker_buffer": 0,
    }


def _too_much(total_mib: int, missing_mib: int, asked: Mapping[str, int]) -> str:
    culprit = max(asked, key=lambda key: asked[key])
    return (
        f"the memory map takes {missing_mib} MiB more than the {total_mib} MiB there are;"
        f" lower `{setting_of(culprit)}` ({asked[culprit]} MiB)"
    )
