"""The memory map: the reference host's rows, and what is proposed elsewhere."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.core.memory_map import (
    REFERENCE_ROWS,
    REFERENCE_TOTAL_MIB,
    MemoryMap,
    Row,
    Tenancy,
    propose,
)

GIB = 1024
KEYS = [row.key for row in REFERENCE_ROWS]
IN_THE_TABLE = ["model", "draft_model", "ram_disk", "agent_context", "operating_system",
                "linker_buffer"]  # fmt: skip
PAGE = Path(__file__).parents[2] / "docs" / "design" / "memory-map.md"
TABLE = [
    [float(cell) for cell in cells]
    for cells in re.findall(r"^" + r"\| ([\d.]+) " * 7 + r"\|$", PAGE.read_text(), re.MULTILINE)
]


def gib(memory_map):
    return {row.key: row.size_mib / GIB for row in memory_map.rows}


def test_the_reference_host_gets_exactly_its_map():
    rows = [
        (row.tenant, row.size_mib / GIB, row.kind.value)
        for row in propose(REFERENCE_TOTAL_MIB).rows
    ]
    assert rows == [
        ("AI engine", 78, "wired"),
        ("draft model", 3, "wired"),
        ("Build Forge RAM disk", 64, "wired"),
        ("agent context (KV cache)", 40, "dynamic"),
        ("operating system", 20, "dynamic"),
        ("linker buffer", 51, "reserved"),
    ]


def test_the_one_rule_gives_the_reference_host_its_rows_too():
    models = {"model": 78 * GIB, "draft_model": 3 * GIB}
    assert propose(REFERENCE_TOTAL_MIB, models) == propose(REFERENCE_TOTAL_MIB)


@pytest.mark.parametrize("cells", TABLE, ids=lambda cells: f"{cells[0]:.0f} GiB, {cells[1]:.0f}")
def test_the_table_of_the_design_is_what_is_proposed(cells):
    total, model, draft, *_ = cells
    proposed = propose(
        int(total) * GIB, {"model": int(model) * GIB, "draft_model": int(draft) * GIB}
    )
    assert [round(gib(proposed)[key], 1) for key in IN_THE_TABLE] == pytest.approx(
        cells[1:], abs=0.051
    )


def test_the_table_of_the_design_has_each_size_with_and_without_a_model():
    assert [(row[0], row[1] > 0) for row in TABLE] == [
        (total, has_model) for total in (8, 16, 24, 64, 128, 256) for has_model in (False, True)
    ]


@pytest.mark.parametrize("total", [4, 8, 24, 64, 128, 255, 257])
def test_without_a_model_none_gets_a_row(total):
    sizes = gib(propose(total * GIB))
    assert sizes["model"] == sizes["draft_model"] == sizes["agent_context"] == 0
    assert sizes["ram_disk"] + sizes["linker_buffer"] >= total / 2


def test_a_machine_of_256_gib_that_is_known_to_have_no_model_gets_no_row_for_it():
    for known in ({"wanted_mib": {"model": 0}}, {"found_mib": {"model": 0}}):
        assert gib(propose(REFERENCE_TOTAL_MIB, **known))["model"] == 0


def test_what_is_set_goes_before_what_is_found():
    found = {"model": 20 * GIB, "agent_context": 3 * GIB}
    sizes = gib(propose(64 * GIB, {"model": 10 * GIB}, found))
    assert (sizes["model"], sizes["agent_context"]) == (10, 3)


@pytest.mark.parametrize(
    ("found", "model"),
    [
        ({"model": 75 * GIB, "draft_model": 2 * GIB, "agent_context": 24 * GIB}, 78),
        ({"model": 78 * GIB}, 78),
        ({"model": 79 * GIB}, 79),
        ({"model": 40 * GIB, "agent_context": 41 * GIB}, 40),
    ],
)
def test_the_reference_host_keeps_its_rows_when_what_is_found_fits_into_them(found, model):
    sizes = gib(propose(REFERENCE_TOTAL_MIB, found_mib=found))
    assert sizes["model"] == model
    assert (sizes == gib(propose(REFERENCE_TOTAL_MIB))) is (model == 78)
    assert gib(propose(255 * GIB, found_mib=found))["model"] == found["model"] // GIB


mib = st.integers(0, 400 * GIB)


@given(
    st.integers(1, 1024 * GIB),
    st.dictionaries(st.sampled_from(KEYS), mib),
    st.dictionaries(st.sampled_from(["model", "draft_model", "agent_context"]), mib),
)
def test_a_map_adds_up_and_keeps_what_is_set_or_is_refused_with_a_row_that_was(
    total, wanted, found
):
    try:
        memory_map = propose(total, wanted, found)
    except ValueError as error:
        assert wanted or found
        assert re.search(r"(lower|change) `(disk\.size|memory_map\.\w+)` \(\d+ MiB\)", str(error))
        return
    assert sum(row.size_mib for row in memory_map.rows) == total
    assert min(row.size_mib for row in memory_map.rows) >= 0
    assert all(memory_map.size_mib(key) == size for key, size in wanted.items())


@pytest.mark.parametrize(
    ("total", "wanted", "row", "size"),
    [
        (256, {"ram_disk": 32}, "linker_buffer", 51 + 32),
        (256, {"agent_context": 0}, "linker_buffer", 51 + 40),
        (64, {"linker_buffer": 40}, "ram_disk", 16),  # it gives way to a buffer that is set
        (64, {"linker_buffer": 4}, "operating_system", 8 + 56 - 4 - 31.1650390625),
        (24, {"ram_disk": 6, "linker_buffer": 5}, "operating_system", 13),
        (64, {"linker_buffer": 30, "operating_system": 4}, "ram_disk", 30),
    ],
)
def test_a_row_that_is_set_is_paid_for_by_one_that_is_not(total, wanted, row, size):
    memory_map = propose(total * GIB, {key: value * GIB for key, value in wanted.items()})
    assert memory_map.size_mib(row) / GIB == size


@pytest.mark.parametrize(
    ("total", "wanted", "way_out"),
    [
        (256, {"ram_disk": 200}, r"lower `disk\.size` \(204800 MiB\)"),
        (24, {"model": 30}, r"6144 MiB more than .* lower `memory_map\.model` \(30720 MiB\)"),
        (24, {"ram_disk": 14, "linker_buffer": 9}, r"1792 MiB more .* lower `disk\.size`"),
    ],
)
def test_a_row_that_cannot_be_paid_for_is_named_by_its_setting(total, wanted, way_out):
    with pytest.raises(ValueError, match=way_out):
        propose(total * GIB, {key: value * GIB for key, value in wanted.items()})


def test_no_row_is_made_up_for_what_the_rows_that_are_set_leave():
    with pytest.raises(
        ValueError, match=r"51200 MiB less than .* change `disk\.size` \(6144 MiB\)"
    ):
        propose(
            64 * GIB,
            {"ram_disk": 6 * GIB, "linker_buffer": 5 * GIB, "operating_system": 3 * GIB},
        )


@pytest.mark.parametrize(("size", "word"), [(101, "1 MiB more"), (98, "2 MiB less")])
def test_a_map_with_every_row_set_must_add_up(size, word):
    with pytest.raises(ValueError, match=rf"{word} than the 100 .* change `memory_map.model`"):
        MemoryMap(100, (Row("model", "AI engine", size, Tenancy.WIRED),))
