"""The memory map beside what is used of it."""

from forge.core.memory_map import propose
from forge.core.plan import MachineUse, Plan, TenantUse

GIB = 1024**3
LOW_WATER = 1 * GIB


def use(available_gib, *, disk=(2, 8), links=(1, 3)):
    return MachineUse(
        24 * GIB,
        available_gib * GIB,
        TenantUse(disk[0] * GIB, disk[1] * GIB),
        TenantUse(links[0] * GIB, links[1] * GIB),
    )


def test_what_is_in_use_and_nobodys_counts_as_the_operating_systems():
    rows = {row.key: tenant for row, tenant in Plan(propose(24 * 1024), 0, use(15)).rows()}
    assert rows["ram_disk"] == TenantUse(2 * GIB, 8 * GIB)
    assert rows["linker_buffer"] == TenantUse(1 * GIB, 3 * GIB)
    assert rows["operating_system"] == TenantUse((24 - 15 - 2 - 1) * GIB, 0)
    assert rows["model"] is rows["agent_context"] is None, "nobody tells them apart"


def test_figures_of_two_moments_never_make_it_negative():
    assert use(23).other_bytes == 0


def test_left_is_what_is_available_beyond_promises_and_low_water():
    assert use(15).promised_bytes == 11 * GIB
    assert use(15).left_bytes(LOW_WATER) == 3 * GIB
    assert use(9).left_bytes(LOW_WATER) == -3 * GIB


def test_a_plan_that_nobody_measured_has_every_row_and_no_use():
    rows = Plan(propose(24 * 1024), 0).rows()
    assert len(rows) == 6
    assert all(tenant is None for _, tenant in rows)
