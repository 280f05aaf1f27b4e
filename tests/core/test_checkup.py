"""The verdicts of `forge doctor`."""

import pytest

from forge.core import checkup
from forge.core.checkup import Row, Verdict, has_failed
from forge.core.memory import Limit, Missing, Reading, Swap
from forge.core.memory_map import propose
from forge.core.units import MIB

GIB = 1024 * MIB
OK, WARN, FAIL, UNKNOWN = Verdict
DISK = {
    "phase": "mounted",
    "kind": "tmpfs",
    "size_mib": 4096,
    "mount_point": "/mnt/b",
    "failure": None,
    "hint": None,
    "caveats": [],
}
CGROUP = {
    "directory": "/c",
    "version": 2,
    "swap_off": True,
    "ceiling_bytes": 22 * GIB,
    "caveats": [],
    "failure": None,
}


def reading(available_bytes=12 * GIB, total_bytes=24 * GIB, swap=None, **more):
    return Reading(0.0, total_bytes, available_bytes, swap or Swap(0, 0), **more)


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({}, OK, "tmpfs, 4.0 GiB at /mnt/b; its pages are never swapped out"),
        ({"caveats": ["it can be swapped"]}, WARN, "it can be swapped"),
        (
            {"kind": "apfs-wired", "caveats": ["it keeps the most"]},
            WARN,
            "/mnt/b; its memory is wired, so it is never swapped out; it keeps the most",
        ),
        ({"phase": "off"}, OK, "off"),
        ({"phase": "absent"}, OK, "the next build mounts it at /mnt/b"),
        ({"phase": "mounting"}, OK, "mounting"),
        ({"phase": "failed", "failure": "no memory"}, FAIL, "no memory"),
    ],
)
def test_the_disk_is_judged_by_what_it_guarantees(changes, verdict, words):
    row = checkup.disk_row(DISK | changes)
    assert (row.verdict, words in row.finding) == (verdict, True)
    assert (row.hint is not None) is (verdict is FAIL)


@pytest.mark.parametrize(
    ("shim", "verdict"),
    [
        ({"phase": "ready", "failure": None}, OK),
        ({"phase": "unknown", "failure": None}, OK),  # nothing was built yet
        ({"phase": "missing", "failure": "no rustc"}, WARN),
    ],
)
def test_gates_that_cannot_be_had_are_a_warning(shim, verdict):
    assert checkup.gates_row(shim).verdict is verdict


@pytest.mark.parametrize(
    ("changes", "builds", "verdict", "words"),
    [
        ({}, [], OK, "swap off, ceiling 22.0 GiB, 1.0 GiB used, artifacts included"),
        ({}, [{"in_cgroup": True}, {"in_cgroup": None}], OK, "swap off"),
        ({}, [{"in_cgroup": False}], WARN, "1 build could not enter it"),
        ({"caveats": ["but"]}, [], WARN, "but"),
        ({"swap_off": False}, [], WARN, "swap on"),
        ({"ceiling_bytes": None}, [], WARN, "no ceiling"),
        ({"directory": None, "failure": "refused"}, [], WARN, "builds can be swapped: refused"),
        ({"directory": None, "failure": "off: so"}, [], OK, "off: so"),  # as it was set
    ],
)
def test_the_cgroup_is_judged_by_what_it_keeps(changes, builds, verdict, words):
    row = checkup.cgroup_row(CGROUP | changes, builds, GIB)
    assert (row.verdict, words in row.finding) == (verdict, True), row


def test_what_cannot_be_read_of_memory_is_named_with_its_reason():
    assert checkup.readings_row(reading()).finding == "12.0 GiB of 24.0 GiB available"
    lacks = checkup.readings_row(reading(missing=(Missing("stalls", "no PSI"),)))
    assert (lacks.verdict, "stalls: no PSI" in lacks.finding) == (WARN, True)
    bound = checkup.readings_row(reading(limits=(Limit("/a", "memory.max", 4 * GIB, GIB, 0),)))
    assert bound.finding == "3.0 GiB of 4.0 GiB available; memory.max of /a binds"


@pytest.mark.parametrize(
    ("swap", "out_bytes", "verdict", "words"),
    [
        (Swap(0, 0), 0, OK, "the machine has none"),
        (Swap(4 * GIB, GIB), None, OK, "1.0 GiB of 4.0 GiB used"),  # it drains lazily
        (Swap(4 * GIB, GIB), GIB, WARN, "1.0 GiB went out since the RAM disk was mounted"),
        (Swap(None, None), None, UNKNOWN, "does not tell"),
    ],
)
def test_swap_in_use_is_no_fault_and_swapping_is_a_warning(swap, out_bytes, verdict, words):
    row = checkup.swap_row(reading(swap=swap), out_bytes)
    assert (row.verdict, words in row.finding) == (verdict, True)


def test_less_than_the_low_water_is_a_failure():
    assert checkup.low_water_row(reading(GIB), GIB).verdict is OK
    assert checkup.low_water_row(reading(GIB - 1), GIB).verdict is FAIL


def test_a_map_of_more_than_the_machine_fails_and_no_model_is_no_fault():
    good = checkup.map_rows(propose(24 * 1024), reading())
    assert [row.verdict for row in good] == [OK, OK]
    wrong = checkup.map_rows(propose(32 * 1024, {"model": 9 * 1024}), reading())
    assert [(row.verdict, row.hint) for row in wrong] == [(FAIL, "lower host.memory"), (OK, None)]
    assert wrong[1].finding == "9.0 GiB are kept for it"


@pytest.mark.parametrize(
    ("limit_mib", "verdict"),
    [(0, OK), (121 * 1024, OK), (121 * 1024 - 1, WARN)],  # 78 + 3 + 40 of the reference host
)
def test_the_gpus_limit_must_hold_the_models_rows(limit_mib, verdict):
    row = checkup.wired_limit_row(limit_mib, propose(256 * 1024))
    assert row.verdict is verdict
    assert (row.hint is None) is (verdict is OK)


def test_the_systems_own_choice_may_be_too_little_for_a_large_model():
    large = propose(256 * 1024, {"model": 180 * 1024, "ram_disk": 1024})
    wanted_mib = sum(large.size_mib(key) for key in ("model", "draft_model", "agent_context"))
    assert wanted_mib > 192 * 1024
    row = checkup.wired_limit_row(0, large)
    assert (row.verdict, f"iogpu.wired_limit_mb={wanted_mib}" in str(row.hint)) == (WARN, True)


@pytest.mark.parametrize(
    ("owner", "mode", "verdict"),
    [(None, 0, OK), (501, 0o40700, OK), (501, 0o40750, WARN), (0, 0o40700, FAIL)],
)
def test_the_state_directory_is_ours_alone(owner, mode, verdict):
    assert checkup.state_dir_row("/s", owner, mode, 501).verdict is verdict


@pytest.mark.parametrize(
    ("free_bytes", "verdict"), [(2 * GIB, OK), (GIB - 1, WARN), (64 * MIB - 1, FAIL)]
)
def test_a_full_disk_is_a_failure(free_bytes, verdict):
    assert checkup.space_row(free_bytes).verdict is verdict


def test_only_a_failure_fails():
    assert not has_failed(Row("a", verdict, "") for verdict in (OK, WARN, UNKNOWN))
    assert has_failed([Row("a", OK, ""), Row("b", FAIL, "")])
