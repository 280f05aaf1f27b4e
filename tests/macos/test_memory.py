"""The Darwin door to memory: on recorded answers everywhere, and on the real kernel on a Mac."""

import ctypes
import struct
import subprocess
import sys
import time

import pytest

from forge.core.memory import PressureLevel
from forge.core.memory_signs import is_tight
from forge.core.memory_trend import trend
from forge.host import memory_darwin as door
from forge.host.mach import MachKernel, SwapUsage, VmStatistics
from forge.host.memory import open_memory
from forge.host.memory_darwin import DarwinMemory
from tests.macos.host_programs import VM_PAGES

PAGE = 16384
TOTAL = 17179869184
USABLE = 16585523200
GIB = 1 << 30
on_a_mac = pytest.mark.skipif(sys.platform != "darwin", reason="asks the kernel of macOS")


def u32(value):
    return struct.pack("=I", value)


def swap_usage(total_mib, used_mib):
    free = (total_mib - used_mib) << 20
    return struct.pack("=QQQIi", total_mib << 20, free, used_mib << 20, PAGE, 1)


def statistics(**changed):
    """What host_statistics64 answered on the 16 GiB machine whose vm_stat we have."""
    pages = {
        "free_count": VM_PAGES["Pages free"] + VM_PAGES["Pages speculative"],
        "speculative_count": VM_PAGES["Pages speculative"],
        "wire_count": VM_PAGES["Pages wired down"],
        "compressor_page_count": VM_PAGES["Pages occupied by compressor"],
        "external_page_count": VM_PAGES["File-backed pages"],
        "internal_page_count": VM_PAGES["Anonymous pages"],
        "swapins": VM_PAGES["Swapins"],
        "swapouts": VM_PAGES["Swapouts"],
    }
    return bytes(VmStatistics(**(pages | changed)))


class RecordedKernel:
    """Answers as that machine did; what is changed to None is not known there."""

    def __init__(self, counts=None, **changed):
        self.counts = statistics() if counts is None else counts
        self.values = {
            door.TOTAL: struct.pack("=Q", TOTAL),
            door.USABLE: struct.pack("=Q", USABLE),
            door.FREE: u32(VM_PAGES["Pages free"]),
            door.FILE_BACKED: u32(VM_PAGES["File-backed pages"]),
            door.ANONYMOUS: u32(VM_PAGES["Anonymous pages"]),
            door.LEVEL: u32(1),
            door.LEVEL_PERCENT: u32(38),
            door.SWAP: swap_usage(2048, 1017),
        } | {getattr(door, name): value for name, value in changed.items()}

    def sysctl(self, name):
        value = self.values[name]
        if value is None:
            raise OSError(2, "No such file or directory", name)
        return value

    def vm_statistics(self):
        if not self.counts:
            raise OSError(5, "host_statistics64 answers 5")
        return self.counts


def read(kernel, now_s=1.0):
    return DarwinMemory(kernel, PAGE).read(now_s)


def reasons(reading):
    return {one.what: one.reason for one in reading.missing}


@pytest.mark.parametrize(
    ("structure", "size", "offsets"),
    [
        (
            VmStatistics,
            152,
            {"wire_count": 12, "speculative_count": 92, "swapins": 112, "swapouts": 120}
            | {"compressor_page_count": 128, "internal_page_count": 140},
        ),
        (SwapUsage, 32, {"used": 16, "page_size": 24}),
    ],
)
def test_the_layouts_are_those_of_the_headers(structure, size, offsets):
    assert ctypes.sizeof(structure) == size
    assert {name: getattr(structure, name).offset for name in offsets} == offsets


def test_a_recorded_machine_is_read():
    reading = read(RecordedKernel())
    assert reading.total_bytes == TOTAL
    # free and file-backed pages: less than what the other view makes of it by 79 MiB
    assert reading.available_bytes == (4518 + 141843) * PAGE
    mac = reading.mac
    assert mac.level is PressureLevel.NORMAL
    assert mac.level_percent == 38
    assert mac.wired_bytes == 159117 * PAGE
    assert mac.compressor_bytes == 454496 * PAGE
    assert (mac.anonymous_bytes, mac.file_backed_bytes) == (247311 * PAGE, 141843 * PAGE)
    swap = reading.swap
    assert (swap.total_bytes, swap.used_bytes) == (2048 << 20, 1017 << 20)
    assert (swap.in_bytes, swap.out_bytes) == (470789 * PAGE, 929703 * PAGE)
    assert (reading.missing, reading.stalls, reading.limits) == ((), None, ())


def test_inactive_pages_are_not_taken_for_free():
    claimed = (4518 + 191193 + 3014) * PAGE  # free, inactive, speculative
    assert read(RecordedKernel()).available_bytes < claimed - GIB / 2


USED = (159117 + 454496 + 247311) * PAGE


@pytest.mark.parametrize(
    ("changed", "available"),
    [
        ({"FREE": u32(40000)}, USABLE - USED),  # the lower view counts
        ({"FREE": None}, USABLE - USED),
        ({"FILE_BACKED": None}, USABLE - USED),
        ({"FREE": None, "USABLE": None}, TOTAL - USED),  # before macOS 12
        ({"FREE": None, "ANONYMOUS": None}, USABLE - USED),  # the older count of the same
        ({"ANONYMOUS": u32(300000)}, USABLE - USED - (300000 - 247311) * PAGE),
        ({"ANONYMOUS": u32(1 << 22)}, 0),
        ({"counts": b""}, (4518 + 141843) * PAGE),
    ],
)
def test_the_lower_view_counts_and_one_is_enough(changed, available):
    assert read(RecordedKernel(**changed)).available_bytes == available


def test_without_any_view_there_is_no_reading():
    with pytest.raises(OSError, match=r"answers 5; vm\.page_free_count: no such file"):
        read(RecordedKernel(counts=b"", FREE=None))


def test_what_is_missing_is_said_and_the_rest_is_read():
    reading = read(RecordedKernel(LEVEL=u32(3), LEVEL_PERCENT=None, SWAP=b"short"))
    assert (reading.mac.level, reading.mac.level_percent) == (None, None)
    assert reading.swap.used_bytes is None
    assert reading.swap.out_bytes == 929703 * PAGE
    assert reasons(reading) == {
        door.LEVEL: "3 is no level that we know",
        door.LEVEL_PERCENT: "no such file or directory",
        door.SWAP: "Buffer size too small (5 instead of at least 32 bytes)",
    }


def test_swapping_out_turns_a_warning_into_tightness():
    warning = RecordedKernel(counts=statistics(compressor_page_count=1000), LEVEL=u32(2))
    before = read(warning, 1.0)
    assert not is_tight(before, trend(before, read(warning, 2.0)), low_water_bytes=GIB)
    warning.counts = statistics(compressor_page_count=1000, swapouts=VM_PAGES["Swapouts"] + 10)
    after = read(warning, 2.0)
    change = trend(before, after)
    assert change
    assert change.swap_out_bytes_per_s == 10 * PAGE
    assert is_tight(after, change, low_water_bytes=GIB)


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has what is asked for")
def test_elsewhere_the_kernel_of_macos_is_not_there():
    with pytest.raises(OSError, match="this is not macOS"):
        MachKernel()


def of_this_mac(memory):
    """Take a reading in which nothing may be unknown; return it and its figures in bytes."""
    reading = memory.read(time.monotonic())
    assert reading.missing == ()
    mac = reading.mac
    assert mac and mac.level
    return reading, {
        "wired": mac.wired_bytes or 0,
        "compressor": mac.compressor_bytes or 0,
        "anonymous": mac.anonymous_bytes or 0,
        "percent": mac.level_percent or 0,
        "swap_total": reading.swap.total_bytes or 0,
        "swap_used": reading.swap.used_bytes or 0,
    }


@on_a_mac
def test_this_mac_is_read_in_full():
    reading, figures = of_this_mac(open_memory())
    memsize = subprocess.run(
        ["sysctl", "-n", "hw.memsize"], capture_output=True, text=True, check=True
    )
    assert reading.total_bytes == int(memsize.stdout)
    assert 0 < figures["percent"] <= 100
    assert 0 < figures["wired"] < reading.total_bytes
    assert 0 < reading.available_bytes < reading.total_bytes
    assert figures["swap_used"] <= figures["swap_total"]


@on_a_mac
def test_the_two_views_of_this_mac_agree():
    reading, figures = of_this_mac(open_memory())
    held = figures["wired"] + figures["compressor"] + figures["anonymous"]
    other = reading.total_bytes - held
    assert reading.available_bytes <= other
    assert other - reading.available_bytes < 0.15 * reading.total_bytes


@on_a_mac
def test_memory_that_this_mac_takes_is_seen_at_once():
    memory = open_memory()
    for _ in range(20):  # what host_statistics64 says is now from the kernel's cache
        _, before = of_this_mac(memory)
    block = bytearray(GIB // 2)
    block[::4096] = b"x" * len(block[::4096])
    _, after = of_this_mac(memory)
    assert after["anonymous"] - before["anonymous"] > GIB / 8
    del block


@on_a_mac
def test_a_reading_of_this_mac_is_cheap():
    memory = open_memory()
    start = time.perf_counter()
    for _ in range(200):
        memory.read(0.0)
    assert (time.perf_counter() - start) / 200 < 0.005
