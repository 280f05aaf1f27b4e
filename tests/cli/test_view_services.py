"""The table of services, and what `--json` says of one."""

import io

import pytest
from rich.console import Console

from forge.cli import render
from forge.cli.view_services import report_of, services_view
from forge.client.services import Standing
from forge.core.service import Runs, Service
from forge.core.units import MIB
from forge.host.processes import Process
from forge.host.service_doors import Found
from forge.host.service_errors import LastError

NOW_S = 10_000.0
SERVICE = Service("engine", "AI engine", Runs.SCREEN, "ai-engine", port=8080)
FOUND = Found(Process(7, 1.0), NOW_S - 90)
WELL = Standing(SERVICE, FOUND, True, memory_bytes=700 * MIB, planned_bytes=1024 * MIB)
DOWN = Standing(SERVICE, None, False, "exit code 3")
ERROR = LastError(NOW_S - 200, "died: exit code 3")


def line_of(standing: Standing, record=None) -> str:
    file = io.StringIO()
    view = services_view([report_of(standing, record, NOW_S)], NOW_S)
    render.print_lines(view, Console(file=file, width=200))
    return file.getvalue().splitlines()[-1]


@pytest.mark.parametrize(("standing", "record", "said"), [
    (WELL, None, "700 MiB of 1.0 GiB"),
    (WELL, {"health": "well", "deaths": 1, "again_in_s": None}, "1 min 30 s"),
    (Standing(SERVICE, FOUND, True, last_error=ERROR), None, "3 min 20 s ago: died: exit code 3"),
    (DOWN, None, "exit code 3"),
    (DOWN, {"health": "died", "deaths": 3, "again_in_s": 4.0}, "code 3; started again in 4.0 s"),
    (DOWN, {"health": "given up", "deaths": 8, "again_in_s": None}, "left alone after 8 deaths"),
    (Standing(SERVICE, None, False, stranger="nginx (pid 9)"), None,
     "port 8080 is taken by nginx (pid 9)"),
])  # fmt: skip
def test_a_line_says_how_it_is_and_what_went_wrong_last(standing, record, said):
    assert said in line_of(standing, record)


def test_without_a_daemon_what_it_would_know_is_null():
    report = report_of(Standing(SERVICE, FOUND, True, last_error=ERROR), None, NOW_S)
    assert report["last_error"] == {"at": NOW_S - 200, "what": "died: exit code 3"}
    assert (report["health"], report["deaths"], report["again_in_s"]) == (None, None, None)
    assert report_of(WELL, None, NOW_S)["last_error"] is None
