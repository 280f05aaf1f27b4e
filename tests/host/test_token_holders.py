"""The bound on what living processes hold: on a recorded /proc, and on real trees of processes."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from forge.core.lost_tokens import most_held
from forge.core.process_tree import Member, below, resident_bytes
from forge.host.process_table import from_psutil, read_table
from forge.host.token_holders import token_holders

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def recorded(proc, *members, exe=()):
    """Write a /proc of (state, Member)."""
    for state, one in members:
        directory = proc / str(one.pid)
        directory.mkdir()
        before, after = " ".join(["0"] * 15), " ".join(["0"] * 8)
        stat = f"{one.pid} ({one.name}) {state} {one.parent} {before} {one.threads} {after}\n"
        (directory / "stat").write_text(stat)
    for pid, program in exe:
        (proc / str(pid) / "exe").symlink_to(program)
    (proc / "meminfo").touch()


@linux_only
def test_a_recorded_table_is_read_with_odd_names_zombies_and_gates(tmp_path):
    recorded(
        tmp_path,
        ("S", Member(10, 1, "cargo", 3)),
        ("S", Member(11, 10, "cc", 1)),  # the shim, called as the linker is
        ("R", Member(12, 11, "a) R 99 (b", 1)),
        ("Z", Member(13, 10, "rustc", 40)),
        ("S", Member(20, 1, "cargo", 1)),
        exe=[(11, "/cache/forge-shim (deleted)")],
    )
    assert token_holders([10, 20, 30], tmp_path) == {10: 1 + 2, 20: 0}


@contextmanager
def real_tree():
    script = "sleep 60 & sleep 60 & sleep 0.3; echo ready; wait"  # they are sleep by then
    root = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    assert root.stdout
    try:
        assert root.stdout.readline() == b"ready\n"
        yield root.pid
    finally:
        os.killpg(root.pid, signal.SIGKILL)
        root.wait()
        root.stdout.close()


def test_real_processes_are_counted_until_they_are_gone():
    with real_tree() as root:
        assert token_holders([root]) == {root: 2 + 2 * 2}
        assert token_holders([]) == {}
    assert token_holders([root]) == {}


@pytest.mark.parametrize("read", [read_table, lambda: list(from_psutil())])
def test_the_table_has_parents_threads_and_resident_bytes(read):
    with real_tree() as root:
        table = read()
        tree = below(root, table)
        assert len(tree) == 2
        assert all(one.threads == 1 and one.resident_bytes > 0 for one in tree)
        assert most_held(root, tree) == 2 + 2 * 2
        found = resident_bytes([root, 2**22 + 1], table)
        assert found[root] > sum(one.resident_bytes for one in tree)
        assert found[2**22 + 1] == 0
