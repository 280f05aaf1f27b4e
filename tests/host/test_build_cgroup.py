"""The cgroup of builds on recorded trees: where it is made, what is set, what is left behind."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from forge.core.build_cgroup import BUILD_OOM_SCORE_ADJ
from forge.core.memory import Missing
from forge.core.units import MIB
from forge.host.build_cgroup import NoBuildCgroups
from forge.host.build_cgroup_linux import NOTE_NAME, UNCOUNTED_CAVEAT, V1_CAVEAT, LinuxBuildCgroups
from forge.host.cgroups import V1, V2
from tests.host.memory_trees import HYBRID_MOUNTS, V1_MOUNTS, V2_MOUNTS, plant, proc, v1, v2

NAME = f"opta-forge-{os.getuid()}-{os.getpid()}"
GONE = f"opta-forge-{os.getuid()}-4194999"  # above any pid_max
STRANGERS = f"opta-forge-{os.getuid() + 1}-4194999"
UNLIMITED = str(1 << 63)
V1_FILES = {
    "memory.limit_in_bytes": UNLIMITED,
    "memory.memsw.limit_in_bytes": UNLIMITED,
    "memory.swappiness": "60",
    "cgroup.procs": "",
}
V2_FILES = {"memory.max": "max", "memory.swap.max": "max", "cgroup.procs": ""}


class Kernel:
    """Makes and removes cgroups as a kernel would that hands these files to new ones.

    `refused` are cgroups below which nothing may be made, `busy` such as cannot be removed.
    """

    def __init__(self, files=None, refused=(), busy=()):
        self.files = files or {}
        self.refused = refused
        self.busy = busy

    def mkdir(self, directory):
        if str(Path(directory).parent).endswith(tuple(self.refused)):
            raise PermissionError(errno.EACCES, "Permission denied", directory)
        os.mkdir(directory)
        control = Path(directory).parent / "cgroup.subtree_control"
        if not control.exists() or (control.is_file() and "memory" in control.read_text()):
            plant(Path(directory), self.files)

    def rmdir(self, directory):
        if directory.endswith(tuple(self.busy)):
            raise OSError(errno.EBUSY, "Device or resource busy", directory)
        if not os.path.isdir(directory):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", directory)
        shutil.rmtree(directory)


def door(root, kernel):
    state_dir = root / "state"
    state_dir.mkdir(exist_ok=True)
    return LinuxBuildCgroups(state_dir, root, mkdir=kernel.mkdir, rmdir=kernel.rmdir)


def a_v1(root, membership="4:memory:/user/a\n", mounts=V1_MOUNTS):
    return plant(root, proc(membership, mounts) | v1("/user/a", 0, 0) | v1("/user", 0, 0))


def a_v2(root, controls):
    """Plant /user/a, where we are; `controls` is what each cgroup hands on, from the inside out."""
    tree = v2("/user/a", "max", 1) | v2("/user", "max", 1)
    places = ("/user/a", "/user", "")
    for place, handed_on in zip(places, controls, strict=True):
        tree[f"sys/fs/cgroup{place}/cgroup.subtree_control"] = handed_on
    return plant(root, proc("0::/user/a\n", V2_MOUNTS) | tree)


def text(*parts):
    return Path(*parts).read_text().strip()


@pytest.mark.parametrize(
    ("membership", "mounts"),
    [
        ("4:memory:/user/a\n", V1_MOUNTS),
        ("4:memory:/user/a\n0::/\n", HYBRID_MOUNTS),
    ],
)
def test_in_version_1_it_is_a_child_of_our_own_cgroup_and_swaps_nothing(
    tmp_path, membership, mounts
):
    a_v1(tmp_path, membership, mounts)
    cgroup = door(tmp_path, Kernel(V1_FILES)).open()
    assert cgroup.directory == f"{tmp_path}/sys/fs/cgroup/memory/user/a/{NAME}"
    assert (cgroup.version, cgroup.is_swap_off, cgroup.caveats) == (V1, True, (V1_CAVEAT,))
    assert cgroup.procs == f"{cgroup.directory}/cgroup.procs"
    assert text(cgroup.directory, "memory.swappiness") == "0"


def test_in_version_2_it_is_a_sibling_since_ours_has_processes(tmp_path):
    a_v2(tmp_path, ("", "cpu memory", "memory"))
    (tmp_path / "sys/fs/cgroup/user/a/cgroup.subtree_control").unlink()
    kernel = Kernel(V2_FILES, refused=["/user/a"])
    cgroup = door(tmp_path, kernel).open()
    assert cgroup.directory == f"{tmp_path}/sys/fs/cgroup/user/{NAME}"
    assert (cgroup.version, cgroup.is_swap_off, cgroup.caveats) == (V2, True, ())
    assert text(cgroup.directory, "memory.swap.max") == "0"


@pytest.mark.parametrize(
    ("root_of_tree", "kernel", "reason"),
    [
        (
            lambda root: plant(root, proc("0::/x\n", V1_MOUNTS)),
            Kernel(),
            "cgroup /x is on no mount",
        ),
        (lambda root: plant(root, proc("", V2_MOUNTS)), Kernel(), "we are in no cgroup"),
        (lambda root: root, Kernel(), "/proc/self/cgroup: no such file or directory"),
        (a_v1, Kernel(V1_FILES, refused=["/a", "/user", "/memory"]), "permission denied"),
    ],
)
def test_where_none_can_be_made_the_reason_is_said(tmp_path, root_of_tree, kernel, reason):
    root_of_tree(tmp_path)
    found = door(tmp_path, kernel).open()
    assert isinstance(found, Missing)
    assert reason in found.reason


def test_a_cgroup_without_a_controller_is_taken_away_again(tmp_path):
    a_v2(tmp_path, ("", "", ""))
    for place in ("user/a", "user", ""):  # writing into it is refused, as the kernel may
        control = tmp_path / "sys/fs/cgroup" / place / "cgroup.subtree_control"
        control.unlink()
        control.mkdir()
    found = door(tmp_path, Kernel()).open()
    assert isinstance(found, Missing)
    assert not list(tmp_path.rglob("opta-forge-*"))


def test_a_kernel_that_does_not_count_swap_gets_a_caveat(tmp_path):
    a_v1(tmp_path)
    files = {name: text for name, text in V1_FILES.items() if "sw" not in name}
    cgroup = door(tmp_path, Kernel(files)).open()
    assert (cgroup.is_swap_off, cgroup.caveats) == (False, (UNCOUNTED_CAVEAT,))
    door(tmp_path, Kernel()).limit(cgroup.directory, V1, 5 * MIB)
    assert text(cgroup.directory, "memory.limit_in_bytes") == str(5 * MIB)


@pytest.mark.parametrize("steps_mib", [(64, 128), (128, 64)])
def test_the_ceiling_of_version_1_holds_for_memory_and_swap_together(tmp_path, steps_mib):
    a_v1(tmp_path)
    one = door(tmp_path, Kernel(V1_FILES))
    cgroup = one.open()
    for mib in steps_mib:
        one.limit(cgroup.directory, cgroup.version, mib * MIB)
        for name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):
            assert text(cgroup.directory, name) == str(mib * MIB)


def test_the_ceiling_of_version_2_is_memory_max(tmp_path):
    a_v2(tmp_path, ("memory", "memory", "memory"))
    one = door(tmp_path, Kernel(V2_FILES))
    cgroup = one.open()
    one.limit(cgroup.directory, cgroup.version, 64 * MIB)
    assert text(cgroup.directory, "memory.max") == str(64 * MIB)


def test_it_is_removed_at_the_end_and_forgotten(tmp_path):
    a_v1(tmp_path)
    one = door(tmp_path, Kernel(V1_FILES))
    cgroup = one.open()
    assert text(tmp_path, "state", NOTE_NAME) == cgroup.directory
    one.close()
    assert not Path(cgroup.directory).exists()
    assert text(tmp_path, "state", NOTE_NAME) == ""


def test_one_with_builds_in_it_is_left_to_the_next_daemon(tmp_path):
    a_v1(tmp_path)
    kernel = Kernel(V1_FILES, busy=[NAME])
    one = door(tmp_path, kernel)
    cgroup = one.open()
    one.close()
    assert text(tmp_path, "state", NOTE_NAME) == cgroup.directory
    kernel.busy = []
    door(tmp_path, kernel)._sweep_noted()
    assert not Path(cgroup.directory).exists()


def test_what_a_killed_daemon_left_is_swept_and_nothing_of_anybody_elses(tmp_path):
    parent = a_v1(tmp_path) / "sys/fs/cgroup/memory/user/a"
    ours = f"opta-forge-{os.getuid()}-{os.getppid()}"  # a daemon of ours that lives
    for name in (GONE, STRANGERS, ours, "docker"):
        (parent / name).mkdir()
    door(tmp_path, Kernel(V1_FILES)).open()
    assert {one.name for one in parent.iterdir() if one.is_dir()} == {
        NAME, STRANGERS, ours, "docker",
    }  # fmt: skip


def test_a_daemon_that_a_build_has_started_leaves_the_cgroup_of_builds(tmp_path):
    within = "opta-forge-7-9"
    a_v1(tmp_path, f"4:memory:/user/a/{within}\n")
    ours = tmp_path / "sys/fs/cgroup/memory/user/a"
    plant(ours, {"cgroup.procs": "", f"{within}/cgroup.procs": ""})
    offered = tmp_path / "proc/self/oom_score_adj"
    offered.write_text(str(BUILD_OOM_SCORE_ADJ))
    cgroup = door(tmp_path, Kernel(V1_FILES)).open()
    assert cgroup.directory == f"{ours}/{NAME}"
    assert (text(ours, "cgroup.procs"), text(offered)) == ("0", "0")


@pytest.mark.parametrize(
    ("membership", "named"),
    [
        ("4:memory:/user/a\n", None),  # where the daemon is: the limit there holds below as well
        (f"4:memory:/user/a/{NAME}\n", None),  # a build inside a build
        ("4:memory:/user/b\n", "memory.limit_in_bytes of /user/b"),
        ("4:memory:/other\n", None),
        (None, None),  # it is gone
    ],
)
def test_a_limit_that_a_launcher_would_leave_is_named(tmp_path, membership, named):
    a_v1(tmp_path)
    tree = v1("/user/a", 100 * MIB, 1) | v1("/user/b", 50 * MIB, 1) | v1("/other", 1 << 63, 1)
    if membership:
        tree["proc/77/cgroup"] = membership
    plant(tmp_path, tree)
    one = door(tmp_path, Kernel(V1_FILES))
    one.open()
    assert one.limit_left(77) == named


def test_a_system_without_cgroups_says_so():
    none = NoBuildCgroups()
    found = none.open()
    assert isinstance(found, Missing)
    assert "out of swap" in found.reason
    assert none.limit_left(1) is None
    none.close()


def test_in_version_1_a_second_cgroup_weighs_the_cores_of_builds_and_goes_with_the_first(tmp_path):
    a_v1(tmp_path, "4:memory:/user/a\n3:cpu,cpuacct:/user/b\n")
    cpu = tmp_path / "sys/fs/cgroup/cpu,cpuacct/user/b"
    cpu.mkdir(parents=True)
    one = door(tmp_path, Kernel({**V1_FILES, "cpu.shares": "1024"}))
    cgroup = one.open()
    assert cgroup.cpu_file == f"{cpu}/{NAME}/cpu.shares"
    assert cgroup.cpu_procs == f"{cpu}/{NAME}/cgroup.procs"
    assert cgroup.cpu_usual == 1024 * (os.cpu_count() or 1) == int(text(cgroup.cpu_file))
    one.weigh(cgroup.cpu_file, 200)
    assert text(cgroup.cpu_file) == "200"
    one.close()
    assert not (cpu / NAME).exists() and not Path(cgroup.directory).exists()


@pytest.mark.parametrize("membership", ["4:memory:/user/a\n", "4:memory:/user/a\n3:cpu:/b\n"])
def test_where_the_cores_cannot_be_weighed_the_cgroup_is_there_all_the_same(tmp_path, membership):
    a_v1(tmp_path, membership)
    cgroup = door(tmp_path, Kernel(V1_FILES)).open()
    assert cgroup.version == V1 and cgroup.cpu_file is None


def test_what_a_killed_daemon_left_on_the_cores_is_swept(tmp_path):
    a_v1(tmp_path, "4:memory:/user/a\n3:cpu:/b\n")
    parent = tmp_path / "sys/fs/cgroup/cpu,cpuacct/b"
    (parent / GONE).mkdir(parents=True)
    (parent / STRANGERS).mkdir()
    door(tmp_path, Kernel({**V1_FILES, "cpu.shares": "1024"})).open()
    assert sorted(path.name for path in parent.iterdir()) == sorted([NAME, STRANGERS])


@pytest.mark.parametrize(("files", "weight"), [
    ({**V2_FILES, "cpu.weight": "100"}, 100),
    (V2_FILES, None),
])  # fmt: skip
def test_in_version_2_the_cgroup_itself_is_weighed_where_it_has_the_controller(
    tmp_path, files, weight
):
    a_v2(tmp_path, ("", "cpu memory", "memory"))
    cgroup = door(tmp_path, Kernel(files, refused=["/user/a"])).open()
    assert cgroup.cpu_procs is None
    assert cgroup.cpu_file == (f"{cgroup.directory}/cpu.weight" if weight else None)
    handed_on = text(tmp_path, "sys/fs/cgroup/user/cgroup.subtree_control")
    assert handed_on == ("cpu memory" if weight else "+cpu")


def test_the_memory_cgroup_of_a_process_is_named(tmp_path):
    a_v1(tmp_path)
    plant(tmp_path, {"proc/77/cgroup": "4:memory:/model\n"})
    one = door(tmp_path, Kernel(V1_FILES))
    assert (one.place_of(77), one.place_of(78)) == ("/model", None)


@pytest.mark.parametrize(
    ("used_mib", "cache_mib", "set_mib"), [(0, 0, 100), (90, 70, 100), (200, 20, 244)]
)
def test_a_ceiling_is_never_set_below_what_builds_have(tmp_path, used_mib, cache_mib, set_mib):
    a_v1(tmp_path)
    stat = f"total_inactive_file {cache_mib * MIB}\ntotal_active_file 0\n"
    files = {"memory.usage_in_bytes": str(used_mib * MIB), "memory.stat": stat}
    one = door(tmp_path, Kernel({**V1_FILES, **files}))
    cgroup = one.open()
    assert one.limit(cgroup.directory, cgroup.version, 100 * MIB) == set_mib * MIB
    assert text(cgroup.directory, "memory.limit_in_bytes") == str(set_mib * MIB)
