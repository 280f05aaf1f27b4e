"""The Linux door, on recorded trees."""

import os

import pytest

from forge.core.units import MIB
from forge.host.memory_linux import LinuxMemory
from tests.host.memory_trees import (
    AVAILABLE_BYTES,
    HYBRID_MOUNTS,
    MEMINFO,
    STALLS,
    TOTAL_BYTES,
    V1_MOUNTS,
    V2_MOUNTS,
    plant,
    proc,
    v1,
    v2,
)

NONE = 9223372036854771712  # what version 1 writes where there is no limit
GIB = 1024 * MIB


def read(root, files):
    return LinuxMemory(plant(root, files)).read(7.0)


def reasons(reading):
    return {one.what: one.reason for one in reading.missing}


def test_without_a_limit_the_machine_counts(tmp_path):
    reading = read(tmp_path, proc("0::/a\n", V2_MOUNTS) | v2("/a", "max", 10))
    assert reading.taken_s == 7.0
    assert (reading.total_bytes, reading.available_bytes) == (TOTAL_BYTES, AVAILABLE_BYTES)
    assert (reading.limits, reading.binding, reading.missing) == ((), None, ())
    page = os.sysconf("SC_PAGE_SIZE")
    swap = reading.swap
    assert (swap.total_bytes, swap.used_bytes) == (4 * GIB, GIB)
    assert (swap.in_bytes, swap.out_bytes) == (300 * page, 500 * page)
    assert reading.oom_kills == 0
    stalls = reading.stalls
    assert (stalls.some_avg10_percent, stalls.full_avg10_percent) == (1.25, 0.5)
    assert (stalls.some_total_us, stalls.full_total_us) == (7834, 5164)


@pytest.mark.parametrize(
    ("membership", "mounts", "groups", "total_mib", "available_mib", "binds"),
    [
        (  # one limit, and page cache that can be dropped, active or not
            "0::/a\n", V2_MOUNTS, v2("/a", str(GIB), 900, (200, 100)),
            1024, 424, ("/a", "memory.max"),
        ),
        (  # the outer one is wider and fuller: it binds, and the inner one is the total
            "0::/a/b\n", V2_MOUNTS,
            v2("/a/b", str(2 * GIB), 100) | v2("/a", str(4 * GIB), 4000, (96, 0)),
            2048, 192, ("/a", "memory.max"),
        ),
        (  # three deep, and only the outermost has one
            "0::/a/b/c\n", V2_MOUNTS,
            v2("/a/b/c", "max", 1) | v2("/a/b", "max", 2) | v2("/a", str(GIB), 24),
            1024, 1000, ("/a", "memory.max"),
        ),
        (  # the soft limit puts to sleep what goes above it
            "0::/a\n", V2_MOUNTS, v2("/a", str(4 * GIB), 100, high=str(GIB)),
            1024, 924, ("/a", "memory.high"),
        ),
        (  # a namespace's root has a limit where the machine's root never has
            "0::/\n", V2_MOUNTS, v2("", str(GIB), 24), 1024, 1000, ("/", "memory.max"),
        ),
        (  # above the limit already
            "0::/a\n", V2_MOUNTS, v2("/a", str(GIB), 2000), 1024, 0, ("/a", "memory.max"),
        ),
        (  # set to nothing at all
            "0::/a\n", V2_MOUNTS, v2("/a", "0", 0), 0, 0, ("/a", "memory.max"),
        ),
        (
            "4:memory:/x\n", V1_MOUNTS, v1("/x", GIB, 900, (200, 100)) | v1("", NONE, 9000),
            1024, 424, ("/x", "memory.limit_in_bytes"),
        ),
        (
            "4:memory:/x/y\n0::/\n", HYBRID_MOUNTS,
            v1("/x/y", NONE, 1) | v1("/x", GIB, 24) | v1("", NONE, 9000),
            1024, 1000, ("/x", "memory.limit_in_bytes"),
        ),
        (  # memory and swap together may be the tighter one
            "4:memory:/x\n", V1_MOUNTS,
            v1("/x", 2 * GIB, 100)
            | {
                "sys/fs/cgroup/memory/x/memory.memsw.limit_in_bytes": str(2 * GIB),
                "sys/fs/cgroup/memory/x/memory.memsw.usage_in_bytes": str(2000 * MIB),
            },
            2048, 48, ("/x", "memory.memsw.limit_in_bytes"),
        ),
        (  # a limit above what a container is shown: version 1 tells its size
            "4:memory:/docker/1\n", V1_MOUNTS.replace("0:32 /", "0:32 /docker/1"),
            v1("", NONE, 100, above=2 * GIB),
            2048, 1948, ("/", "hierarchical_memory_limit"),
        ),
    ],
)  # fmt: skip
def test_the_limit_that_leaves_least_binds(
    tmp_path, membership, mounts, groups, total_mib, available_mib, binds
):
    reading = read(tmp_path, proc(membership, mounts) | groups)
    assert reading.total_bytes == total_mib * MIB
    assert reading.available_bytes == available_mib * MIB
    assert (reading.binding.place, reading.binding.name) == binds
    assert reading.machine_total_bytes == TOTAL_BYTES


def test_a_wide_limit_does_not_bind_and_is_shown(tmp_path):
    reading = read(tmp_path, proc("0::/a\n", V2_MOUNTS) | v2("/a", str(64 * GIB), 10))
    assert (reading.total_bytes, reading.available_bytes) == (TOTAL_BYTES, AVAILABLE_BYTES)
    assert reading.binding is None
    assert [one.limit_bytes for one in reading.limits] == [64 * GIB]


def test_a_limit_that_is_seen_is_not_told_again_as_one_above(tmp_path):
    seen = "4:memory:/docker/1\n", V1_MOUNTS.replace("0:32 /", "0:32 /docker/1")
    reading = read(tmp_path, proc(*seen) | v1("", GIB, 24, above=GIB))
    assert [one.name for one in reading.limits] == ["memory.limit_in_bytes"]


def test_a_limit_that_changes_while_we_run_is_seen(tmp_path):
    plant(tmp_path, proc("0::/a\n", V2_MOUNTS) | v2("/a", "max", 24))
    memory = LinuxMemory(tmp_path)
    assert memory.read(1.0).binding is None
    plant(tmp_path, v2("/a", str(GIB), 24))
    assert memory.read(2.0).available_bytes == 1000 * MIB
    plant(tmp_path, v2("/a", str(2 * GIB), 24))
    assert memory.read(3.0).total_bytes == 2 * GIB


def test_being_moved_to_another_cgroup_is_seen(tmp_path):
    groups = v2("/a", str(GIB), 24) | v2("/b", str(2 * GIB), 24)
    memory = LinuxMemory(plant(tmp_path, proc("0::/a\n", V2_MOUNTS) | groups))
    assert memory.read(1.0).total_bytes == GIB
    plant(tmp_path, {"proc/self/cgroup": "0::/b\n"})
    assert memory.read(2.0).total_bytes == 2 * GIB


def test_a_limit_whose_use_cannot_be_read_is_missing_and_nothing_is_made_up(tmp_path):
    files = proc("0::/a\n", V2_MOUNTS) | v2("/a", str(GIB), 24)
    del files["sys/fs/cgroup/a/memory.current"]
    reading = read(tmp_path, files)
    assert reading.limits == ()
    assert reasons(reading)["limits of /a"].endswith("memory.current: no such file or directory")


def test_a_limit_that_cannot_be_read_is_not_taken_for_none(tmp_path):
    files = proc("0::/a\n", V2_MOUNTS) | v2("/a", "max", 24)
    del files["sys/fs/cgroup/a/memory.max"]
    (tmp_path / "sys/fs/cgroup/a/memory.max").mkdir(parents=True)
    assert reasons(read(tmp_path, files)) == {"limits of /a": "is a directory"}


@pytest.mark.parametrize(
    ("files", "what", "reason"),
    [
        ({"pressure__memory": None}, "stalls", "this kernel does not count stalls here"),
        ({"pressure__memory": "nonsense"}, "stalls", "this is not how stalls are told"),
        ({"pressure__memory": "some avg10\n"}, "stalls", "this is not how stalls are told"),
        ({"vmstat": None}, "swap counters", "vmstat: no such file or directory"),
        ({"vmstat": "pgpgin 1\n"}, "swap counters", "this kernel is built without swap"),
        ({"self__cgroup": None}, "limits", "cgroup: no such file or directory"),
        ({"self__mountinfo": ""}, "limits", "cgroup /a is on no mount that we see"),
        (
            {"meminfo": MEMINFO.replace("MemAvailable", "Other")},
            "MemAvailable",
            "this kernel has none; free and inactive cache counted",
        ),
    ],
)
def test_what_is_missing_is_said_and_the_rest_is_read(tmp_path, files, what, reason):
    reading = read(tmp_path, proc("0::/a\n", V2_MOUNTS, **files))
    assert reason in reasons(reading)[what]
    assert list(reasons(reading)) == [what]
    assert reading.total_bytes == TOTAL_BYTES
    assert reading.available_bytes > 0.9 * AVAILABLE_BYTES


def test_counters_that_are_not_there_are_unknown_and_not_zero(tmp_path):
    reading = read(tmp_path, proc("", "", vmstat=None, pressure__memory=None))
    assert (reading.swap.in_bytes, reading.swap.out_bytes, reading.stalls) == (None, None, None)
    assert reading.oom_kills is None


def test_a_machine_without_swap_has_none(tmp_path):
    meminfo = MEMINFO.replace("4194304", "      0").replace("3145728", "      0")
    reading = read(tmp_path, proc("", "", meminfo=meminfo))
    assert (reading.swap.total_bytes, reading.swap.used_bytes) == (0, 0)


@pytest.mark.parametrize("meminfo", [None, "", "MemFree: 4 kB\n"])
def test_a_machine_that_does_not_tell_its_memory_cannot_be_read(tmp_path, meminfo):
    with pytest.raises(OSError, match="meminfo"):
        read(tmp_path, proc("", "", meminfo=meminfo))


def test_stalls_are_counted_in_the_outermost_cgroup_with_a_limit(tmp_path):
    groups = v2("/a/b", str(GIB), 1) | v2("/a", str(2 * GIB), 1) | v2("", "max", 1)
    reading = read(tmp_path, proc("0::/a/b\n", V2_MOUNTS) | groups)
    assert reading.limit_stalls.source == f"{tmp_path}/sys/fs/cgroup/a/memory.pressure"
    assert reading.limit_stalls.some_total_us == 99
    assert reading.stalls.some_total_us == 7834


def test_a_hybrid_counts_stalls_in_the_cgroup_of_the_same_name(tmp_path):
    files = proc("4:memory:/x/y\n0::/x/z\n", HYBRID_MOUNTS) | v1("/x", GIB, 1) | v1("/x/y", GIB, 1)
    reading = read(
        tmp_path / "same",
        files | {"sys/fs/cgroup/unified/x/memory.pressure": STALLS.replace("7834", "5")},
    )
    assert reading.limit_stalls.some_total_us == 5
    other = proc("4:memory:/x/y\n0::/\n", HYBRID_MOUNTS)
    reading = read(tmp_path / "other", files | other)
    assert reading.limit_stalls is None
    assert "no cgroup of that name" in reasons(reading)["stalls of the limit"]


def test_the_use_of_a_tmpfs_is_told_where_it_is_asked_for(tmp_path):
    memory = LinuxMemory(plant(tmp_path, proc("", "")))
    reading = memory.read(1.0, [str(tmp_path), str(tmp_path / "gone")])
    (use,) = reading.tmpfs
    assert use.mount_point == str(tmp_path)
    assert 0 < use.used_bytes <= use.size_bytes
    assert reasons(reading)[f"use of {tmp_path}/gone"] == "no such file or directory"
