"""Recorded trees of /proc and /sys/fs/cgroup, as a 24 GiB machine shows them, and parts of them."""

from collections.abc import Mapping
from pathlib import Path

from forge.core.units import MIB

TOTAL_BYTES = 24684096 * 1024
AVAILABLE_BYTES = 24349588 * 1024

MEMINFO = """\
MemTotal:       24684096 kB
MemFree:        23831840 kB
MemAvailable:   24349588 kB
Buffers:            7592 kB
Cached:           698192 kB
SwapCached:            0 kB
Active:           253928 kB
Inactive:         453628 kB
Active(file):     252368 kB
Inactive(file):   444628 kB
SwapTotal:       4194304 kB
SwapFree:        3145728 kB
Shmem:              8788 kB
HugePages_Total:       0
Hugepagesize:       2048 kB
"""
VMSTAT = "nr_free_pages 5957960\npgpgin 42\npswpin 300\npswpout 500\npswpin_zero 7\noom_kill 0\n"
STALLS = """\
some avg10=1.25 avg60=0.40 avg300=0.08 total=7834
full avg10=0.50 avg60=0.20 avg300=0.04 total=5164
"""
V1_MOUNTS = """\
23 27 0:22 / /sys rw,relatime - sysfs sysfs rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
"""
HYBRID_MOUNTS = V1_MOUNTS + "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
V2_MOUNTS = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def plant(root: Path, files: Mapping[str, str]) -> Path:
    """Write files below `root`, over what is there, and return it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def proc(membership: str, mountinfo: str, **changed: str | None) -> dict[str, str]:
    """Record /proc with these two; `changed` names other files, None: it is not there."""
    files: dict[str, str | None] = {
        "meminfo": MEMINFO,
        "vmstat": VMSTAT,
        "pressure/memory": STALLS,
        "self/cgroup": membership,
        "self/mountinfo": mountinfo,
    }
    files |= {name.replace("__", "/"): text for name, text in changed.items()}
    return {f"proc/{name}": text for name, text in files.items() if text is not None}


def v2(place: str, most: str, used_mib: int, cache_mib: tuple[int, int] = (0, 0), **more: str):
    """Record a cgroup of version 2; `cache_mib` is its inactive and its active page cache."""
    files = {
        "memory.max": most,
        "memory.high": "max",
        "memory.current": str(used_mib * MIB),
        "memory.stat": "anon 4096\nfile 8192\nshmem 4096\ninactive_anon 4096\n"
        f"inactive_file {cache_mib[0] * MIB}\nactive_file {cache_mib[1] * MIB}\nunevictable 0\n",
        "memory.pressure": STALLS.replace("7834", "99"),
    }
    files |= {f"memory.{name}": text for name, text in more.items()}
    return {f"sys/fs/cgroup{place}/{name}": f"{text.strip()}\n" for name, text in files.items()}


def v1(
    place: str, most: int, used_mib: int, cache_mib: tuple[int, int] = (0, 0), above: int = 1 << 63
):
    """Record a cgroup of version 1, whose own part of the cache is not the whole."""
    files = {
        "memory.limit_in_bytes": str(most),
        "memory.usage_in_bytes": str(used_mib * MIB),
        "memory.stat": "cache 1\ninactive_file 5\nactive_file 6\n"
        f"hierarchical_memory_limit {above}\n"
        f"total_inactive_file {cache_mib[0] * MIB}\ntotal_active_file {cache_mib[1] * MIB}\n",
    }
    return {f"sys/fs/cgroup/memory{place}/{name}": f"{text}\n" for name, text in files.items()}
