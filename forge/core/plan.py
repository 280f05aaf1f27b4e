"""The memory map beside what is used of it: planned, in use now, promised.

What is promised and not yet touched still looks available to the kernel: the rest of a RAM disk,
what links have booked, and what an inference server may still grow by. All that is in use and is
nobody's who is told apart counts as the operating system's.
"""

from dataclasses import dataclass

from forge.core.memory_map import MemoryMap, Row


@dataclass(frozen=True, slots=True)
class TenantUse:
    """What one tenant uses, and what it was promised beyond that."""

    used_bytes: int
    promised_bytes: int = 0


@dataclass(frozen=True, slots=True)
class MachineUse:
    """What was measured of the machine, and the tenants that are told apart."""

    total_bytes: int
    available_bytes: int
    ram_disk: TenantUse
    linker_buffer: TenantUse
    model: TenantUse | None = None
    agent_context: TenantUse | None = None

    @property
    def told_apart(self) -> tuple[TenantUse, ...]:
        """Return the tenants of which something is known."""
        all_known = (self.ram_disk, self.linker_buffer, self.model, self.agent_context)
        return tuple(one for one in all_known if one)

    @property
    def other_bytes(self) -> int:
        """Return what everybody else uses."""
        known_bytes = sum(one.used_bytes for one in self.told_apart)
        return max(0, self.total_bytes - self.available_bytes - known_bytes)

    @property
    def promised_bytes(self) -> int:
        """Return what is promised and not yet touched."""
        return sum(one.promised_bytes for one in self.told_apart)

    def left_bytes(self, low_water_bytes: int) -> int:
        """Return what nobody was promised; below 0 when there is less than was promised."""
        return self.available_bytes - self.promised_bytes - low_water_bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """A map, the low water, and what was measured; `use` None: nothing was."""

    memory_map: MemoryMap
    low_water_bytes: int
    use: MachineUse | None = None

    def rows(self) -> list[tuple[Row, TenantUse | None]]:
        """Return each row with what its tenant uses; None: not measured, or not told apart."""
        if self.use is None:
            return [(row, None) for row in self.memory_map.rows]
        found: dict[str, TenantUse | None] = {
            "model": self.use.model,
            "agent_context": self.use.agent_context,
            "ram_disk": self.use.ram_disk,
            "operating_system": TenantUse(self.use.other_bytes),
            "linker_buffer": self.use.linker_buffer,
        }
        return [(row, found.get(row.key)) for row in self.memory_map.rows]
