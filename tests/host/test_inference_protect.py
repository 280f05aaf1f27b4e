"""Sparing a server: what is written, and what is left alone."""

import os
import subprocess

import pytest

from forge.host.inference_protect import SERVER_OOM_SCORE_ADJ, protect
from tests.host.memory_trees import V1_MOUNTS, V2_MOUNTS, plant, proc

NEED = 1 << 30
ITS = "sys/fs/cgroup/model"


def a_server(root, *, membership="0::/model\n", mounts=V2_MOUNTS, procs="77\n", low="0\n", own="0"):
    files = {"proc/77/oom_score_adj": own, "proc/77/cgroup": membership,
             f"{ITS}/cgroup.procs": procs, f"{ITS}/memory.low": low}  # fmt: skip
    return plant(root, proc(membership, mounts) | files)


def test_its_score_is_lowered_and_its_cgroup_keeps_what_it_needs(tmp_path):
    a_server(tmp_path)
    done, refused = protect(77, NEED, tmp_path)
    assert (done, refused) == ([f"oom_score_adj {SERVER_OOM_SCORE_ADJ}", f"memory.low {NEED}"], [])
    assert (tmp_path / "proc/77/oom_score_adj").read_text() == str(SERVER_OOM_SCORE_ADJ)


@pytest.mark.parametrize(("changes", "done", "refused"), [
    ({"own": "-1000"}, ["oom_score_adj -1000", f"memory.low {NEED}"], []),
    ({"low": "max"}, ["oom_score_adj -900", "memory.low max"], []),
    ({"low": str(2 * NEED)}, ["oom_score_adj -900", f"memory.low {2 * NEED}"], []),
    ({"procs": "77\n78\n"}, ["oom_score_adj -900"], ["others are in this cgroup as well"]),
    ({"membership": "4:memory:/model\n", "mounts": V1_MOUNTS}, ["oom_score_adj -900"], []),
])  # fmt: skip
def test_more_protection_stays_and_nobody_else_is_protected(tmp_path, changes, done, refused):
    a_server(tmp_path, **changes)
    found, why = protect(77, NEED, tmp_path)
    assert found == done and len(why) == len(refused)
    assert all(word in one for word, one in zip(refused, why, strict=True))


def test_another_process_with_its_pid_is_left_alone(tmp_path):
    a_server(tmp_path)
    assert protect(77, NEED, tmp_path, is_same=lambda: False) == ([], ["the process is gone"])
    assert (tmp_path / "proc/77/oom_score_adj").read_text() == "0"


def test_what_the_system_refuses_is_said(tmp_path):
    done, refused = protect(77, NEED, plant(tmp_path, proc("0::/x\n", V2_MOUNTS)))
    assert done == [] and "no such file" in refused[0]


@pytest.mark.skipif(not os.path.exists("/proc/self/oom_score_adj"), reason="Linux only")
def test_a_real_process_is_spared_where_that_is_allowed():
    child = subprocess.Popen(["sleep", "30"])
    try:
        done, refused = protect(child.pid, 0)
        with open(f"/proc/{child.pid}/oom_score_adj", encoding="ascii") as file:
            now = int(file.read())
        assert (now == SERVER_OOM_SCORE_ADJ) == bool(done) != bool(refused)
    finally:
        child.kill()
        child.wait()
