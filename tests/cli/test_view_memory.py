"""How the status tells of memory."""

import pytest

from forge.cli.view_memory import memory_view
from forge.cli.view_status import status_view
from tests.cli.fakes import a_memory, a_report
from tests.cli.test_render import shown

GIB = 1024**3
IDLE = {"size_bytes": 4 * GIB, "booked_bytes": 0, "holders": 0, "waiting": 0}
ONE = {"size_bytes": 4 * GIB, "booked_bytes": GIB, "holders": 1, "waiting": 0}


@pytest.mark.parametrize(
    ("memory", "says"),
    [
        (a_memory(), "9.0 GiB of 16.0 GiB available, low water 655 MiB"),
        (a_memory(), "linker buffer: 3.0 GiB of 4.0 GiB booked by 2 holders, 3 in line"),
        (a_memory(buffer=IDLE), "linker buffer: nothing of 4.0 GiB booked\n"),
        (a_memory(buffer=ONE), "1.0 GiB of 4.0 GiB booked by 1 holder\n"),
        (a_memory(available_bytes=None), "not measured yet, low water 655 MiB"),
        (a_memory(available_bytes=None, failure="no /proc"), "cannot be measured: no /proc"),
        (a_memory(rung="shut links", signs=["1 B available, below 2 B"]),
         "tight: shut links (1 B available, below 2 B)"),
        (a_memory(rung="hold admission"), "tight: hold admission\n"),
        (a_memory(rung="\x1b[2J"), "tight: ?[2J"),
    ],
)  # fmt: skip
def test_memory_is_told_in_words(memory, says):
    assert says in shown(memory_view(a_report(memory=memory)), width=100)


def test_calm_is_not_worth_a_word():
    assert "tight" not in shown(memory_view(a_report(memory=a_memory())))


def test_rows_that_nobody_has_are_left_out_of_the_plan():
    rows = [{"tenant": "AI engine", "size_mib": 0}, {"tenant": "linker buffer", "size_mib": 2048}]
    text = shown(memory_view(a_report(memory_map={"total_mib": 2048, "rows": rows})))
    assert "planned: linker buffer 2.0 GiB" in text


def test_the_status_has_it_and_fits_80_columns():
    memory = a_memory(rung="cancel links", signs=["all tasks stalled 12% of the time"] * 3)
    text = shown(status_view(a_report(memory=memory)))
    assert "memory     9.0 GiB of 16.0 GiB available" in text
    assert max(len(line) for line in text.splitlines()) <= 80
