"""Memory on macOS, asked of the kernel without a process.

Available is what is neither wired nor anonymous nor in the compressor: free pages and pages of
files. Two views of that are taken and the lower one believed:

- `hw.memsize_usable` less wired, compressed and anonymous pages. hw.memsize would count the
  firmware's part, hundreds of MiB, as available.
- `vm.page_free_count` and `vm.page_pageable_external_count`.

The kernel answers host_statistics64 from a cache when programs ask more often than 2 to 10 times a
second, all together, so wired and compressed pages and the swap counters may be a second old. A
sysctl is always fresh; what builds change fastest, anonymous and free pages, comes from there.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from forge.core.memory import MacMemory, Missing, PressureLevel, Reading, Swap
from forge.host.mach import Kernel, MachKernel, SwapUsage, VmStatistics
from forge.host.memory import tmpfs_use
from forge.host.small_files import reason_of

TOTAL = "hw.memsize"
USABLE = "hw.memsize_usable"  # since macOS 12
FREE = "vm.page_free_count"  # without the speculative pages, which are pages of files
FILE_BACKED = "vm.page_pageable_external_count"
ANONYMOUS = "vm.page_pageable_internal_count"
LEVEL = "kern.memorystatus_vm_pressure_level"
LEVEL_PERCENT = "kern.memorystatus_level"
SWAP = "vm.swapusage"


class DarwinMemory:
    """The door. `kernel` and `page_bytes` are recordings in tests."""

    def __init__(self, kernel: Kernel | None = None, page_bytes: int | None = None) -> None:
        self._kernel = kernel or MachKernel()
        self._page_bytes = page_bytes or os.sysconf("SC_PAGE_SIZE")

    def read(self, now_s: float, tmpfs: Sequence[str] = ()) -> Reading:
        """Take a reading. Raises OSError when the kernel does not tell what is available."""
        missing: list[Missing] = []
        total_bytes = _number(self._kernel.sysctl(TOTAL))
        statistics = self._statistics(missing)
        mac = self._mac(statistics, missing)
        available_bytes = self._available(total_bytes, mac, missing)
        uses, unseen = tmpfs_use(tmpfs)
        return Reading(
            taken_s=now_s,
            machine_total_bytes=total_bytes,
            machine_available_bytes=available_bytes,
            swap=self._swap(statistics, missing),
            mac=mac,
            tmpfs=tuple(uses),
            missing=(*missing, *unseen),
        )

    def watch_stalls(self) -> None:
        """Say that macOS has no such thing: its level is read with the rest."""
        return

    def _statistics(self, missing: list[Missing]) -> VmStatistics | None:
        try:
            return VmStatistics.from_buffer_copy(self._kernel.vm_statistics())
        except OSError as error:
            missing.append(Missing("wired and compressed pages, swap counters", reason_of(error)))
            return None

    def _mac(self, statistics: VmStatistics | None, missing: list[Missing]) -> MacMemory:
        level = self._ask(LEVEL, missing)
        anonymous_pages, file_pages = self._ask(ANONYMOUS, missing), self._ask(FILE_BACKED, missing)
        if anonymous_pages is None and statistics:
            anonymous_pages = statistics.internal_page_count
        wired_pages = statistics.wire_count if statistics else None
        compressor_pages = statistics.compressor_page_count if statistics else None
        return MacMemory(
            level=_level(level, missing),
            level_percent=self._ask(LEVEL_PERCENT, missing),
            wired_bytes=self._bytes(wired_pages),
            compressor_bytes=self._bytes(compressor_pages),
            anonymous_bytes=self._bytes(anonymous_pages),
            file_backed_bytes=self._bytes(file_pages),
        )

    def _available(self, total_bytes: int, mac: MacMemory, missing: list[Missing]) -> int:
        usable_bytes = total_bytes
        with suppress(
            OSError
        ):  # before macOS 12 there is no such name: the whole is the best known
            usable_bytes = _number(self._kernel.sysctl(USABLE))
        views = []
        held = (mac.wired_bytes, mac.compressor_bytes, mac.anonymous_bytes)
        if None not in held:
            views.append(usable_bytes - sum(one for one in held if one is not None))
        free_bytes = self._bytes(self._ask(FREE, missing))
        if free_bytes is not None and mac.file_backed_bytes is not None:
            views.append(free_bytes + mac.file_backed_bytes)
        if not views:
            raise OSError("; ".join(f"{one.what}: {one.reason}" for one in missing))
        return max(0, min(views))

    def _swap(self, statistics: VmStatistics | None, missing: list[Missing]) -> Swap:
        usage = None
        try:
            usage = SwapUsage.from_buffer_copy(self._kernel.sysctl(SWAP))
        except (OSError, ValueError) as error:
            missing.append(Missing(SWAP, reason_of(error)))
        return Swap(
            total_bytes=usage.total if usage else None,
            used_bytes=usage.used if usage else None,
            in_bytes=self._bytes(statistics.swapins if statistics else None),
            out_bytes=self._bytes(statistics.swapouts if statistics else None),
        )

    def _ask(self, name: str, missing: list[Missing]) -> int | None:
        try:
            return _number(self._kernel.sysctl(name))
        except OSError as error:
            missing.append(Missing(name, (error.strerror or str(error)).lower()))
            return None

    def _bytes(self, pages: int | None) -> int | None:
        return None if pages is None else pages * self._page_bytes


def _number(value: bytes) -> int:
    """Read an integer of whatever width the kernel chose for it."""
    return int.from_bytes(value, sys.byteorder)


def _level(value: int | None, missing: list[Missing]) -> PressureLevel | None:
    if value is None:
        return None
    try:
        return PressureLevel(value)
    except ValueError:
        missing.append(Missing(LEVEL, f"{value} is no level that we know"))
        return None
