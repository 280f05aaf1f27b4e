"""`forge history`."""

import json
import os
import re
from datetime import datetime

import pytest

from forge.cli.view_history import history_view, show_end, when
from tests.cli.conftest import Forge, StartDaemon
from tests.cli.fakes import Reply, a_past_build
from tests.cli.terminal import on_a_terminal
from tests.cli.test_render import shown

NOON = datetime(2026, 3, 4, 12, 0)  # noqa: DTZ001  # local, as people's clocks


def history(*builds) -> Reply:
    return {"type": "history", "builds": list(builds)}


def resolved(root: str | None) -> Reply:
    return {"type": "resolved", "root": root, "target_dir": None, "redirected": False, "why": ""}


def test_past_builds_are_shown_one_a_line(forge: Forge, daemon: StartDaemon):
    fake = daemon(history=[history(a_past_build(), a_past_build(id="b9", exit=101))])
    result = forge("history")
    assert (result.code, result.err) == (0, "")
    head, first, second = result.out.splitlines()
    assert head.split() == [
        "build", "when", "project", "verb", "profile", "prio", "wait", "wall", "units", "peak",
        "end",
    ]  # fmt: skip
    assert first.split()[0] == "b12" and second.split()[0] == "b9"
    for words in ("ripgrep", "build", "release", "inter", "41s", "1m3s", "34", "1.1GiB", "done"):
        assert words in first.split(), words
    assert fake.requests == [
        {"client": "0.1.0", "v": 1, "type": "history", "limit": 20, "root": None, "failed": False}
    ]


def test_json_is_what_the_daemon_keeps(forge: Forge, daemon: StartDaemon):
    daemon(history=[history(a_past_build())])
    assert json.loads(forge("history", "--json").out) == [a_past_build()]


def test_what_is_wanted_is_asked_of_the_daemon(forge: Forge, daemon: StartDaemon, tmp_path):
    fake = daemon(history=[history()], resolve=[resolved("/src/app")])
    result = forge("history", "-n", "500", "--failed", "--project", str(tmp_path))
    assert (result.code, result.out) == (0, "no such build is remembered\n")
    where, asked = fake.requests
    assert (where["type"], where["cwd"]) == ("resolve", str(tmp_path))
    assert (asked["limit"], asked["root"], asked["failed"]) == (500, "/src/app", True)


def test_the_project_here_is_a_dot(forge: Forge, daemon: StartDaemon, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fake = daemon(history=[history()], resolve=[resolved("/src/app")])
    assert forge("history", "--project", ".").code == 0
    assert fake.requests[0]["cwd"] == str(tmp_path)


def test_a_directory_without_a_project_is_a_mistake(forge: Forge, daemon: StartDaemon, tmp_path):
    daemon(resolve=[resolved(None)])
    result = forge("history", "--project", str(tmp_path))
    assert result.code == os.EX_USAGE
    assert f"there is no cargo project in {tmp_path}" in result.err


def test_of_a_project_that_is_gone_the_builds_are_still_told(
    forge: Forge, daemon: StartDaemon, tmp_path
):
    fake = daemon(history=[history()], resolve=[resolved(None)])
    assert forge("history", "--project", str(tmp_path / "gone")).code == 0
    assert fake.requests[1]["root"] == str(tmp_path / "gone")


@pytest.mark.parametrize("limit", ["0", "-1", "501", "many"])
def test_a_limit_that_cannot_be_is_a_mistake(forge: Forge, limit):
    result = forge("history", "--limit", limit)
    assert result.code == os.EX_USAGE
    assert limit in result.err


def test_looking_back_starts_no_daemon(forge: Forge, place):
    assert forge("history").code == os.EX_UNAVAILABLE
    assert not (place / "state").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "done"),
        ({"outcome": "failed", "exit": 101}, "exit 101"),
        ({"outcome": "ended by a signal", "exit": None, "signal": 9}, "SIGKILL"),
        ({"outcome": "ended by a signal", "exit": None, "signal": 99}, "signal 99"),
        ({"outcome": "cancelled", "exit": 130, "cancelled": True}, "cancelled"),
        ({"outcome": "requeued", "exit": None, "signal": 15}, "requeued"),
        ({"outcome": "gave up", "exit": 75}, "gave up"),
        ({"outcome": "left", "exit": None}, "left"),
        ({"outcome": None}, "done"),  # as an earlier Forge kept them
        ({"outcome": None, "exit": 101}, "exit 101"),
        ({"outcome": None, "cancelled": True}, "cancelled"),
        ({"outcome": None, "exit": None, "signal": 15}, "SIGTERM"),
        ({"outcome": None, "exit": None}, "unknown"),
    ],
)
def test_each_end_has_its_word(changes, says):
    assert show_end(a_past_build(**changes)) == says


@pytest.mark.parametrize(
    ("began", "says"),
    [
        (NOON.replace(hour=9, minute=5), "09:05"),
        (NOON.replace(day=3), "Mar 03"),
        (NOON.replace(year=2025), "2025-03-04"),
    ],
)
def test_the_time_of_a_build_is_as_short_as_it_can_be(began, says):
    assert when(began.timestamp(), NOON) == says


def test_the_history_fits_80_columns_and_needs_no_colour():
    long = a_past_build(
        id="b12345", root="/src/a-project-with-a-rather-long-name", verb="nextest", wait_s=7321,
        wall_s=73210, began_at=NOON.replace(year=2025).timestamp(), units=12345,
        outcome="ended by a signal", exit=None, signal=14,
    )  # fmt: skip
    view = history_view([long, a_past_build(units=None, peak_kib=0)], NOON)
    text = shown(view)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert not re.search(r" $", text, re.MULTILINE)
    for word in ("b12345", "20h20m", "SIGALRM", "nextest"):
        assert word in text, text
    assert "\x1b[3" not in shown(view, force_terminal=True, no_color=True)


def test_names_from_outside_cannot_drive_the_terminal():
    text = shown(history_view([a_past_build(root="/a/\x1b[31mx", verb="\x07")], NOON), width=200)
    assert r"\x1b[31mx" in text and r"\x07" in text


def forgotten(costs: int, builds: int = 0) -> Reply:
    return {"type": "forgotten", "costs": costs, "builds": builds}


def test_what_was_learned_of_the_project_here_is_forgotten(forge: Forge, daemon: StartDaemon):
    fake = daemon(resolve=[resolved("/src/app")], forget=[forgotten(12)])
    result = forge("history", "forget", "--yes")
    assert (result.code, result.out) == (0, "forgotten of /src/app: 12 learned costs\n")
    where, counted, done = fake.requests
    assert where["cwd"] == os.getcwd()
    assert [one["dry_run"] for one in (counted, done)] == [True, False]
    assert (done["root"], done["builds"]) == ("/src/app", False)


def test_all_projects_are_named_as_such_and_past_builds_go_when_told(
    forge: Forge, daemon: StartDaemon
):
    fake = daemon(forget=[forgotten(1, 7)])
    result = forge("history", "forget", "--all", "--builds", "--yes")
    assert result.out == "forgotten of all projects: 1 learned cost and 7 past builds\n"
    assert [(one["root"], one["builds"]) for one in fake.requests] == [(None, True)] * 2


def test_a_dry_run_tells_how_much_would_go_and_asks_for_nothing_else(
    forge: Forge, daemon: StartDaemon
):
    fake = daemon(forget=[forgotten(3)])
    result = forge("history", "forget", "--all", "--dry-run")
    assert result.out == "would be forgotten of all projects: 3 learned costs\n"
    assert [one["dry_run"] for one in fake.requests] == [True]
    told = json.loads(forge("history", "forget", "--all", "--dry-run", "--json").out)
    assert told == {"root": None, "costs": 3, "builds": 0, "dry_run": True}


def test_nothing_is_forgotten_when_nobody_can_be_asked(forge: Forge, daemon: StartDaemon):
    fake = daemon(forget=[forgotten(3)])
    result = forge("history", "forget", "--all")
    assert result.code == os.EX_USAGE
    assert "nobody can be asked whether to forget 3 learned costs" in result.err
    assert "`--yes`" in result.err
    assert [one["dry_run"] for one in fake.requests] == [True]


def test_where_nothing_is_known_nobody_is_asked(forge: Forge, daemon: StartDaemon):
    fake = daemon(forget=[forgotten(0)])
    assert forge("history", "forget", "--all").out == "nothing is known of all projects\n"
    assert len(fake.requests) == 1


@pytest.mark.parametrize("argv", [("--all", "/src"), ("--frobnicate",)])
def test_a_mistake_forgets_nothing(argv, forge: Forge, daemon: StartDaemon):
    fake = daemon(forget=[forgotten(3)], resolve=[resolved("/src")])
    assert forge("history", "forget", *argv).code == os.EX_USAGE
    assert fake.requests == []


@pytest.mark.parametrize(("answer", "code", "asked"), [("y", 0, 2), ("n", 130, 1)])
def test_a_person_is_asked_first(env, daemon: StartDaemon, answer, code, asked):
    fake = daemon(forget=[forgotten(3)])
    seen, ended = on_a_terminal(["history", "forget", "--all"], env, answer)
    assert "forget 3 learned costs of all projects? [y/N]" in seen
    assert (ended, len(fake.requests)) == (code, asked)
