"""The bound on what living processes hold: on a recorded /proc, and on real trees of processes."""

import os
import signal
import subprocess
import sys

import pytest

from forge.core.lost_tokens import Member
from forge.host.token_holders import holders_by_psutil, token_holders

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def recorded(proc, *members, exe=()):
    """Write a /proc of (state, Member)."""
    for state, one in members:
        directory = proc / str(one.pid)
        directory.mkdir()
        between = " ".join(["0"] * 15)
        stat = f"{one.pid} ({one.name}) {state} {one.parent} {between} {one.threads} 0\n"
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


@linux_only
@pytest.mark.parametrize("count", [token_holders, holders_by_psutil])
def test_real_processes_are_counted_until_they_are_gone(count):
    script = "sleep 60 & sleep 60 & echo ready; wait"
    root = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    assert root.stdout
    try:
        assert root.stdout.readline() == b"ready\n"
        assert count([root.pid]) == {root.pid: 2 + 2 * 2}
        assert count([]) == {}
    finally:
        os.killpg(root.pid, signal.SIGKILL)
        root.wait()
        root.stdout.close()
    assert count([root.pid]) == {}
