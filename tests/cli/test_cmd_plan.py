"""`forge plan`."""

import json
import os
import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from forge.cli.cmd_plan import plan_of
from forge.cli.view_plan import cells_of, plan_view
from forge.core.memory_map import propose
from forge.core.moment import Moment
from forge.core.plan import Plan
from forge.core.report import status_report
from forge.core.state import State
from tests.cli.conftest import Forge, StartDaemon
from tests.cli.fakes import a_disk, a_memory, a_report, a_status
from tests.cli.test_render import shown
from tests.core.driver import settings

GIB = 1024**3
MIB = 1024**2
REFERENCE = Path(__file__).parents[2] / "docs" / "examples" / "reference-host.toml"


def a_plan_report(**changes):
    memory_map = propose(16 * 1024, {"ram_disk": 4096, "linker_buffer": 4096})
    rows = [
        {"key": row.key, "tenant": row.tenant, "size_mib": row.size_mib, "kind": row.kind.value}
        for row in memory_map.rows
    ]
    return a_report(
        **{"memory_map": {"total_mib": 16384, "rows": rows}, "memory": a_memory(), **changes}
    )


def row_of(out: str, letter: str) -> list[str]:
    return next(re.split(r" {2,}", line) for line in out.splitlines() if line.startswith(letter))


def test_it_shows_what_is_planned_used_and_promised(forge: Forge, daemon: StartDaemon):
    fake = daemon(status=[{"type": "status", "status": a_plan_report()}])
    result = forge("plan")
    assert (result.code, result.err) == (0, "")
    assert row_of(result.out, "R  ")[1:] == [
        "Build Forge RAM disk", "wired", "4.0 GiB", "1.0 GiB", "3.0 GiB",
    ]  # fmt: skip
    assert row_of(result.out, "L  ")[2:] == ["reserved", "4.0 GiB", "1.0 GiB", "2.0 GiB"]
    assert row_of(result.out, "O  ")[2:] == ["dynamic", "8.0 GiB", "5.0 GiB", "-"]
    for line in ("available 9.0 GiB of 16.0 GiB", "- promised 5.0 GiB not yet",
                 "- low water 655 MiB", "= left 3.4 GiB nobody"):  # fmt: skip
        assert line in re.sub(" +", " ", result.out)
    assert "only planned" not in result.out
    assert [request["type"] for request in fake.requests] == ["status"]


def test_as_json_it_has_the_same_figures(forge: Forge, daemon: StartDaemon):
    daemon(status=[{"type": "status", "status": a_plan_report()}])
    answer = json.loads(forge("plan", "--json").out)
    assert (answer["total_mib"], answer["host_file"]) == (16384, None)
    rows = {row["key"]: row for row in answer["rows"]}
    assert rows["ram_disk"] == {
        "key": "ram_disk", "tenant": "Build Forge RAM disk", "kind": "wired", "size_mib": 4096,
        "setting": "disk.size", "used_bytes": GIB, "promised_bytes": 3 * GIB,
    }  # fmt: skip
    assert rows["model"]["used_bytes"] is None
    assert rows["operating_system"]["used_bytes"] == 5 * GIB
    assert answer["available_bytes"] == 9 * GIB
    assert answer["promised_bytes"] == 5 * GIB
    assert answer["left_bytes"] == 4 * GIB - 655 * MIB
    assert answer["not_measured"] is None


def test_without_a_daemon_there_is_the_map_alone_and_none_is_started(forge: Forge, env, place):
    Path(env["FORGE_CONFIG"]).write_text("host.memory = '24GiB'\nhost.low_water = '2GiB'\n")
    result = forge("plan")
    assert (result.code, result.err) == (0, "")
    assert "this is only planned: no daemon answers on" in result.out
    assert row_of(result.out, "L  ")[2:] == ["reserved", "8.2 GiB"]
    assert "low water  2.0 GiB" in result.out
    assert "available" not in result.out
    assert not (place / "state").exists()
    answer = json.loads(forge("plan", "--json").out)
    assert answer["available_bytes"] is answer["left_bytes"] is None
    assert "no daemon answers" in answer["not_measured"]
    assert "error" not in answer


def test_without_a_daemon_and_a_file_it_plans_for_the_memory_that_this_machine_has(forge: Forge):
    answer = json.loads(forge("plan", "--json").out)
    assert answer["total_mib"] == sum(row["size_mib"] for row in answer["rows"])
    assert answer["low_water_bytes"] >= 384 * MIB


def test_a_daemon_that_has_not_measured_shows_its_map_and_says_why(
    forge: Forge, daemon: StartDaemon
):
    for failure, says in ((None, "has not measured yet"), ("no /proc", "only planned: no /proc")):
        memory = a_memory(total_bytes=None, available_bytes=None, failure=failure)
        fake = daemon(status=[{"type": "status", "status": a_plan_report(memory=memory)}])
        assert says in forge("plan").out
        fake.close()


def test_the_reference_host_is_planned_from_its_file_and_no_daemon_is_asked(
    forge: Forge, daemon: StartDaemon
):
    fake = daemon(status=[a_status()])
    result = forge("plan", "--host", str(REFERENCE))
    assert (result.code, result.err) == (0, "")
    assert "256.0 GiB of memory" in result.out
    planned = [row_of(result.out, f"{letter}  ")[3] for letter in "ADRCOL"]
    assert planned == ["78.0 GiB", "3.0 GiB", "64.0 GiB", "40.0 GiB", "20.0 GiB", "51.0 GiB"]
    assert "low water  8.0 GiB" in result.out
    assert "tells of another machine" in result.out
    assert not fake.requests


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "host.toml: there is no such file"),
        ("[host\n", "TOML 1.0"),
        (b"\xff\xfe", "not UTF-8"),
        ("", 'does not set `host.memory` (write how much that machine has, such as memory = "'),
        ("host.memory = '64GB'\n", "`host.memory` cannot be '64GB'"),
        ("host.memory = '8GiB'\ndisk.size = '9GiB'\n", "lower `disk.size` (9216 MiB)"),
        ("host.memory = '8GiB'\nmemory_map.model = '9GiB'\n", "1024 MiB more than the 8192 MiB"),
        ("host.memory = '8GiB'\nhost.low_water = '9GiB'\n", "lower `host.low_water` (9216 MiB)"),
    ],
)  # fmt: skip
def test_a_host_that_cannot_be_planned_is_one_line_with_the_way_out(
    forge: Forge, tmp_path, text, says
):
    file = tmp_path / "host.toml"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    result = forge("plan", "--host", str(file))
    assert (result.code, result.out) == (os.EX_CONFIG, "")
    assert says in result.err
    assert str(file) in result.err
    assert result.err.count("\n") == 1
    answer = json.loads(forge("plan", "--host", str(file), "--json").out)
    assert answer["error"]["slug"] == "config-invalid"


def test_a_directory_in_place_of_the_host_file_is_refused(forge: Forge, tmp_path):
    result = forge("plan", "--host", str(tmp_path))
    assert result.code == os.EX_CONFIG
    assert "cannot be read" in result.err


def view(report, width=80, **options):
    return shown(plan_view(plan_of(report), "this machine", "", width), width, **options)


@pytest.mark.parametrize("width", [80, 70, 120])
def test_it_fits_the_screen(width):
    text = view(a_plan_report(), width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert len(text.splitlines()) <= 24
    bars = re.findall(r"\[(.*)\]", text)
    assert len(bars) == 2
    assert len(bars[0]) == len(bars[1]) == min(64, width - 11)


def test_the_bars_are_told_by_letters_and_not_by_colours():
    text = view(a_plan_report(), no_color=True, force_terminal=True)
    assert "\x1b[3" not in text
    planned, now = re.findall(r"\[([A-Za-z.]*)\]", re.sub(r"\x1b\[\d*m", "", text))
    assert [planned.count(letter) for letter in "ADRCOL"] == [0, 0, 16, 0, 32, 16]
    assert [now.count(letter) for letter in "ROLrl."] == [4, 20, 4, 12, 8, 16]


def test_more_promised_than_there_is_is_said_and_does_not_overflow_the_bar():
    text = view(a_plan_report(memory=a_memory(available_bytes=2 * GIB)))
    assert "= short      3.6 GiB  more is promised than there is" in text
    assert len(re.findall(r"\[(.*)\]", text)[1]) == 64


def test_a_disk_that_takes_no_memory_is_not_counted():
    for changes in ({"kind": "directory"}, {"kind": None, "phase": "absent", "total_bytes": None}):
        found = plan_of(a_plan_report(disk=a_disk(**changes)))
        assert found.use
        assert (found.use.ram_disk.used_bytes, found.use.ram_disk.promised_bytes) == (0, 0)


def test_a_model_that_has_a_row_is_part_of_what_is_not_told_apart():
    memory_map = propose(16 * 1024, {"model": 5 * 1024})
    use = plan_of(a_plan_report()).use
    text = shown(plan_view(Plan(memory_map, 0, use), "this machine", "", 80))
    assert row_of(text, "A  ")[2:] == ["wired", "5.0 GiB", "part of O", "-"]
    assert row_of(text, "D  ")[2:] == ["wired", "none", "-", "-"]


def test_it_takes_what_the_core_reports():
    found = plan_of(status_report(State(settings()), Moment(5.0, 100.0)))
    assert found.memory_map == settings().memory_map
    assert found.use is None
    assert found.low_water_bytes == int(0.04 * 24 * GIB)


@pytest.mark.parametrize(
    ("sizes", "cells", "given"),
    [
        ([1, 1, 2], 8, [2, 2, 4]),
        ([1, 1, 1], 10, [4, 3, 3]),
        ([1000, 1, 0], 10, [9, 1, 0]),  # whoever has anything is seen
        ([1, 1, 1], 2, [1, 1, 0]),
        ([0, 0], 10, [0, 0]),
    ],
)
def test_cells_go_by_size_and_never_get_lost(sizes, cells, given):
    assert cells_of(sizes, cells) == given
