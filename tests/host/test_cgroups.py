import pytest

from forge.host.cgroups import V1, V2, find
from tests.host.memory_trees import HYBRID_MOUNTS, V1_MOUNTS, V2_MOUNTS

HERE = "/sys/fs/cgroup"


def mount(root, place="/sys/fs/cgroup", kind="cgroup2", options="rw"):
    return f"30 23 0:26 {root} {place} rw shared:4 - {kind} {kind} {options}\n"


@pytest.mark.parametrize(
    ("membership", "mounts", "version", "directories"),
    [
        ("0::/a/b\n", V2_MOUNTS, V2, [f"{HERE}/a/b", f"{HERE}/a", HERE]),
        ("0::/\n", V2_MOUNTS, V2, [HERE]),
        (
            "4:memory:/a\n1:cpu:/z\n0::/\n",
            HYBRID_MOUNTS,
            V1,
            [f"{HERE}/memory/a", f"{HERE}/memory"],
        ),
        ("7:cpu,memory:/a\n", mount("/", "/c", "cgroup", "rw,cpu,memory"), V1, ["/c/a", "/c"]),
        # a container sees its own cgroup as the mount's root, with and without a namespace
        ("4:memory:/docker/1\n", mount("/docker/1", "/c", "cgroup", "rw,memory"), V1, ["/c"]),
        ("0::/docker/1/x\n", mount("/docker/1", "/c"), V2, ["/c/x", "/c"]),
        # two mounts: the one that shows more of what is above
        ("0::/a/b\n", mount("/a", "/part") + V2_MOUNTS, V2, [f"{HERE}/a/b", f"{HERE}/a", HERE]),
        ("0::/a/b\n", mount("/ab", "/other") + mount("/a", "/part"), V2, ["/part/b", "/part"]),
        # outside the namespace's root, where the mount shows the same outside
        ("0::/../x\n", mount("/..", "/c"), V2, ["/c/x", "/c"]),
        ("0::/a:b c\n", mount("/", r"/with\040blank"), V2, ["/with blank/a:b c", "/with blank"]),
    ],
)
def test_our_cgroups_are_found_from_the_inside_out(membership, mounts, version, directories):
    memory = find(membership, mounts).memory
    assert memory
    assert (memory.version, list(memory.directories)) == (version, directories)
    assert len(memory.places) == len(directories)
    assert memory.places[-1] == "/"


@pytest.mark.parametrize(
    ("membership", "mounts", "reason"),
    [
        ("", V2_MOUNTS, "we are in no cgroup that could limit memory"),
        ("1:cpu:/a\n", V1_MOUNTS, "we are in no cgroup that could limit memory"),
        ("0::/a\n", V1_MOUNTS, "cgroup /a is on no mount that we see"),
        ("0::/\n", mount("/../.."), "cgroup / is on no mount that we see"),  # names nobody tells
        ("0::/../x\n", V2_MOUNTS, "cgroup /../x is on no mount that we see"),
        ("4:memory:/a\n0::/\n", V2_MOUNTS, "cgroup /a is on no mount that we see"),
        ("garbage\n", "garbage\n\n - \n", "we are in no cgroup that could limit memory"),
    ],
)
def test_where_none_can_be_found_the_reason_is_said(membership, mounts, reason):
    found = find(membership, mounts)
    assert (found.memory, found.reason) == (None, reason)


def test_in_a_hybrid_limits_and_stalls_are_on_two_hierarchies():
    found = find("4:memory:/user.slice\n0::/user.slice/a\n", HYBRID_MOUNTS)
    assert found.memory and found.stalls
    assert found.memory.places == ("/user.slice", "/")
    assert found.stalls.directories[1] == f"{HERE}/unified/user.slice"
