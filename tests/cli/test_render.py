"""What people see."""

import io
import os
import re

import pytest
from rich.console import Console

from forge.cli import render
from forge.cli.view_status import builds_view, status_view
from forge.core.memory_map import propose
from forge.core.moment import Moment
from forge.core.report import status_report
from forge.core.settings import Settings
from forge.core.state import State
from tests.cli.fakes import a_build, a_disk, a_report, a_reservation, a_target_dir


def shown(renderable, width: int = 80, **options) -> str:
    file = io.StringIO()
    render.print_lines(renderable, Console(file=file, width=width, markup=False, **options))
    return file.getvalue()


def test_the_whole_status_fits_80_columns():
    report = a_report(
        builds=[a_build(root="/a/very/long/way/to/a/project/of/somebody/that/never/ends/ripgrep")],
        target_dirs=[a_target_dir(root="/home/somebody/" + "deep/" * 20)],
        disk=a_disk(caveats=["its pages can be swapped out: " + "why " * 30]),
    )
    text = shown(status_view(report))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert not re.search(r" $", text, re.MULTILINE)
    for word in (
        "mounted, tmpfs",
        "b7",
        "1m23s",
        "5 MiB",
        "AI engine 12.0 GiB",
        "up 1 h",
        "units",
    ):
        assert word in text, text


def test_the_view_takes_what_the_core_reports():
    state = State(Settings(disk=None, memory_map=propose(256 * 1024), cores=32))
    text = shown(status_view(status_report(state, Moment(5.0, 100.0))))
    assert 'off: disk.kind is "none"' in text
    assert "linker buffer 51.0 GiB" in text
    assert "no build is under way" in text


def test_what_is_reserved_is_shown_when_something_is():
    waits = a_reservation(id="r5", running=False, wait="waiting for memory", used_bytes=0, cores=0)
    text = shown(status_view(a_report(reservations=[a_reservation(), waits])), width=120)
    assert re.search(r"r4 +import +6\.0 GiB +3\.0 GiB +2 +1 min 23 s +-", text), text
    assert re.search(r"r5 +import +6\.0 GiB +- +- +1 min 23 s +waiting for memory", text), text
    assert "reservation" not in shown(status_view(a_report()))


@pytest.mark.parametrize(
    ("used_mib", "says"),
    [
        (0, "[--------------------] 0% used: 0 B"),
        (2048, "[##########----------] 50% used: 2.0 GiB"),
        (3600, "88% used, nearly full: 3.5 GiB"),
        (4096, "[####################] 100% used, full: 4.0 GiB"),
        (5000, "100% used, full: 4.9 GiB"),  # a directory may hold more than its size
    ],
)
def test_the_bar_says_in_words_what_it_shows(used_mib, says):
    disk = a_disk(used_bytes=used_mib * 1024 * 1024)
    assert says in shown(render.use_bar(disk))


@pytest.mark.parametrize(
    ("disk", "says"),
    [
        (a_disk(phase="absent", kind=None, size_mib=None, total_bytes=None),
         "not mounted; the next build mounts it at /mnt/OptaBuilds"),
        (a_disk(phase="failed", kind=None, total_bytes=None, failure="no room", hint="make some"),
         "failed: no room (make some)"),
        (a_disk(failure="1 MiB is below the 4 MiB in use"), "the last change failed: 1 MiB is"),
        (a_disk(kind="apfs", mount_point="/Volumes/OptaBuilds", node="/dev/disk4"),
         "mounted, apfs, 4.0 GiB at /Volumes/OptaBuilds on /dev/disk4"),
        (a_disk(caveats=["it is an ordinary disk"]), "note: it is an ordinary disk"),
    ],
)  # fmt: skip
def test_each_state_of_the_disk_is_told_in_words(disk, says):
    assert says in shown(render.disk_view(disk), width=200)


@pytest.mark.parametrize(
    ("shim", "says"),
    [
        ({"phase": "unknown"}, "not needed yet"),
        ({}, "not needed yet"),
        ({"phase": "being compiled", "failure": None}, "being compiled"),
        ({"phase": "missing", "failure": "there is no `rustc`"}, "missing: there is no `rustc`"),
    ],
)
def test_the_state_of_the_gates_is_told_in_words(shim, says):
    assert re.search(rf"^gates +{re.escape(says)}$", shown(status_view(a_report(shim=shim))), re.M)


def test_what_runs_behind_the_gates_is_counted():
    assert "1m23s  -      -       2 units, 1 link" in shown(builds_view([a_build()]), width=200)
    tokens = {"granted": 7, "withdrawn": 2, "unused": 1, "used": 4, "threads": 1}
    assert "4/7     2 units" in shown(builds_view([a_build(tokens=tokens)]), width=200)
    none = a_build(gates={"units_running": [], "links_running": []})
    assert "1m23s  -      -" in shown(builds_view([none]), width=200)


def test_names_from_outside_cannot_drive_the_terminal():
    text = shown(builds_view([a_build(root="/a/b\x1b[31m[bold]\udcff\n")]), width=200)
    assert r"b\x1b[31m[bold]\udcff\n" in text


def test_colour_is_used_on_a_terminal_and_never_with_no_color():
    view = render.use_bar(a_disk())
    assert "\x1b[" in shown(view, force_terminal=True, color_system="standard")
    assert "\x1b[3" not in shown(view, force_terminal=True, no_color=True)


def test_rows_are_whole_lines_where_the_output_is_not_a_terminal(monkeypatch, capsys):
    path = "/mnt/" + "x" * 300
    render.print_lines(render.target_dirs_view([a_target_dir(path=path)], paths=True))
    assert path in capsys.readouterr().out


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"at": "2026-01-02T03:04:05.678+00:00", "decision": "disk.mounted", "size_mib": 3},
         "disk.mounted  size_mib=3"),
        ({"decision": "disk.failed", "reason": "two words", "while": None},
         'disk.failed  reason="two words"  while=null'),
        ({"decision": "build.granted", "argv": ["build"], "why": ""},
         'build.granted  argv=["build"]  why=""'),
        ({"decision": "daemon.bug", "traceback": "Traceback:\n  line 1\n"}, "\n  line 1"),
        ({"at": "never", "decision": "x"}, "never  x"),
    ],
)  # fmt: skip
def test_a_decision_is_one_line_with_its_numbers(entry, says):
    assert says in shown(render.decision_line(entry), width=200)


def test_times_of_decisions_are_local(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    entry = {"at": "2026-01-02T05:04:05.678+02:00", "decision": "x"}
    if os.environ["TZ"] == "UTC":
        import time

        time.tzset()
    assert shown(render.decision_line(entry)).startswith("2026-01-02 03:04:05.678")


@pytest.mark.parametrize(
    ("cgroup", "swapped_bytes", "says"),
    [
        ({}, None, "builds can be swapped: they have no cgroup"),
        ({"directory": None, "failure": "refused"}, None, "builds can be swapped: refused"),
        ({"directory": "/c", "swap_off": True}, None, "off for builds\n"),
        (
            {"directory": "/c", "swap_off": True, "ceiling_bytes": 22 * 1024**3},
            None,
            "off for builds, below a ceiling of 22.0 GiB\n",
        ),
        ({"directory": "/c", "swap_off": False, "caveats": ["why"]}, None, "note: why"),
        ({}, 0, "swapped out: 0 B of the machine since"),
        ({}, 5 * 1024**2, "swapped out: 5 MiB of the machine since"),
    ],
)
def test_whether_builds_can_be_swapped_and_what_was_is_said(cgroup, swapped_bytes, says):
    memory = {"swapped_out_since_mount_bytes": swapped_bytes}
    text = shown(render.swap_view(cgroup, memory))
    assert says in text
    assert ("swapped out:" in text) is (swapped_bytes is not None)


def test_what_a_disk_keeps_is_shown_and_the_way_out_when_that_is_much():
    kept = shown(render.disk_view(a_disk(high_water_bytes=5 << 30, bloated=False)))
    assert "it keeps the most that it held: 5.0 GiB\n" in kept
    bloated = shown(render.disk_view(a_disk(high_water_bytes=5 << 30, bloated=True)), width=120)
    assert "5.0 GiB; `forge disk recreate` gives that back, and empties it" in bloated
    assert "keeps" not in shown(render.disk_view(a_disk(high_water_bytes=None, bloated=False)))


def test_a_build_of_another_machine_is_shown_with_its_key_and_where_it_came_from():
    client = {"key": "laptop\x1b[31m", "from": "10.0.0.5"}
    text = shown(builds_view([a_build(root="/a/ripgrep", client=client)]), width=200)
    assert "ripgrep@laptop" in text
    assert "sent by laptop" in text
    assert "from 10.0.0.5" in text
    assert "\x1b[31m" not in text
