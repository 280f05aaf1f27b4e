"""`forge cancel`, `forge prio`, `forge hold` and `forge resume`."""

import os
import subprocess

import pytest

from forge.cli import main
from tests.cli.conftest import Forge, StartDaemon
from tests.cli.fakes import Reply, a_build, a_status
from tests.cli.terminal import on_a_terminal
from tests.cli.test_main import run_forge


def ok(line: str) -> Reply:
    return {"type": "ok", "line": line}


def unknown(build: str) -> Reply:
    message = f"there is no build `{build}` under way"
    return {"type": "error", "slug": "no-such-build", "message": message, "hint": "look"}


def in_turn(*replies: Reply) -> list[Reply]:
    left = list(replies)
    return [lambda: left.pop(0)]


def asked(fake, kind: str) -> list[str]:
    return [one["build"] for one in fake.requests if one["type"] == kind]


@pytest.mark.parametrize("word", ["b12", "12", "012"])
def test_a_build_is_named_with_or_without_its_letter(forge: Forge, daemon: StartDaemon, word):
    fake = daemon(cancel_build=[ok("b12 (app) is cancelled; it was running")])
    result = forge("cancel", word)
    assert (result.code, result.out) == (0, "b12 (app) is cancelled; it was running\n")
    assert fake.requests == [{"client": "0.1.0", "v": 1, "type": "cancel_build", "build": "b12"}]


def test_of_several_the_youngest_goes_first_so_that_none_that_waits_is_let_in(
    forge: Forge, daemon: StartDaemon
):
    fake = daemon(cancel_build=[ok("gone")])
    assert forge("cancel", "9", "b11", "b10", "9").code == 0
    assert asked(fake, "cancel_build") == ["b11", "b10", "b9"]


def test_of_several_those_that_are_there_are_cancelled_and_the_exit_code_tells(
    forge: Forge, daemon: StartDaemon
):
    daemon(cancel_build=in_turn(ok("b3 is cancelled"), unknown("b2"), ok("b1 is cancelled")))
    result = forge("cancel", "1", "2", "3")
    assert result.code == os.EX_DATAERR
    assert result.out == "b3 is cancelled\nb1 is cancelled\n"
    assert result.err == "forge: there is no build `b2` under way (look)\n"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["cancel"], "no build is named"),
        (["cancel", "--all", "b1"], "`--all` takes no builds besides"),
        (["cancel", "ripgrep"], "'ripgrep' is not a build: write b12 or 12"),
        (["cancel", "b-1"], "'b-1' is not a build"),
        (["cancel", "b1", ""], "'' is not a build"),
        (["prio", "b1"], "missing argument"),
        (["prio", "b1", "urgent"], "'urgent' is not one of 'interactive', 'batch'"),
        (["prio", "x", "batch"], "'x' is not a build"),
        (["hold", "b1"], "unexpected extra argument"),
    ],
)
def test_a_mistake_is_told_without_asking_anybody(forge: Forge, argv, says):
    result = forge(*argv)
    assert result.code == os.EX_USAGE
    assert says in result.err


@pytest.mark.parametrize(
    "argv",
    [["cancel", "1"], ["cancel", "--all", "--yes"], ["prio", "1", "batch"], ["hold"], ["resume"]],
)
def test_nothing_is_steered_by_starting_a_daemon(forge: Forge, place, argv):
    assert forge(*argv).code == os.EX_UNAVAILABLE
    assert not (place / "state").exists()


def test_all_are_cancelled_without_asking_where_that_is_said(forge: Forge, daemon: StartDaemon):
    fake = daemon(
        status=[a_status(builds=[a_build(id="b9"), a_build(id="b10")])],
        cancel_build=in_turn(ok("b10 is cancelled"), unknown("b9")),  # which has just ended
    )
    result = forge("cancel", "--all", "--yes")
    assert (result.code, result.out) == (0, "b10 is cancelled\n")
    assert asked(fake, "cancel_build") == ["b10", "b9"]


def test_all_are_not_cancelled_where_nobody_can_be_asked(env, daemon: StartDaemon):
    fake = daemon(status=[a_status(builds=[a_build()])])
    result = run_forge(env, "cancel", "--all", stdin=subprocess.DEVNULL)
    assert result.returncode == os.EX_USAGE
    assert "nobody can be asked whether to cancel 1 build (`forge cancel --all --y" in result.stderr
    assert not asked(fake, "cancel_build")


@pytest.mark.parametrize(("answer", "code", "cancelled"), [("y", 0, ["b7"]), ("n", 130, [])])
def test_a_person_is_asked_before_all_are_cancelled(
    env, daemon: StartDaemon, answer, code, cancelled
):
    fake = daemon(status=[a_status(builds=[a_build()])], cancel_build=[ok("b7 is cancelled")])
    seen, ended = on_a_terminal(["cancel", "--all"], env, answer)
    assert "cancel 1 build: b7 (ripgrep)? [y/N]" in seen
    assert (ended, asked(fake, "cancel_build")) == (code, cancelled)


def test_nothing_under_way_is_nothing_to_cancel(forge: Forge, daemon: StartDaemon):
    daemon(status=[a_status()])
    result = forge("cancel", "--all")
    assert (result.code, result.out) == (0, "no build is under way\n")


def test_a_priority_is_changed(forge: Forge, daemon: StartDaemon):
    fake = daemon(set_priority=[ok("b7 (app) is batch now")])
    result = forge("prio", "7", "batch")
    assert (result.code, result.out) == (0, "b7 (app) is batch now\n")
    request = {"type": "set_priority", "build": "b7", "priority": "batch"}
    assert fake.requests == [{"client": "0.1.0", "v": 1, **request}]


@pytest.mark.parametrize(("verb", "on"), [("hold", True), ("resume", False)])
def test_the_machine_is_held_and_goes_on(forge: Forge, daemon: StartDaemon, verb, on):
    fake = daemon(hold=[ok("as you wish")])
    result = forge(verb)
    assert (result.code, result.out) == (0, "as you wish\n")
    assert fake.requests == [{"client": "0.1.0", "v": 1, "type": "hold", "on": on}]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("forge cancel b", ["plain,b9", "plain,b10"]),
        ("forge cancel b9 b", ["plain,b10"]),
        ("forge prio b1", ["plain,b10"]),
        ("forge prio b9 in", ["plain,interactive"]),
        ("forge explain b", ["plain,b9", "plain,b10"]),
    ],
)
def test_shells_offer_the_builds_that_are_under_way(env, daemon: StartDaemon, words, offered):
    daemon(status=[a_status(builds=[a_build(id="b9"), a_build(id="b10")])])
    assert completed(env, "bash", words) == offered


def test_shells_that_show_help_show_the_project(env, daemon: StartDaemon):
    daemon(status=[a_status(builds=[a_build(id="b9")])])
    assert completed(env, "zsh", "forge cancel b") == ["plain", "b9", "ripgrep test"]


def test_without_a_daemon_shells_offer_no_build_and_say_nothing(env, place):
    assert completed(env, "bash", "forge cancel b") == [""]
    assert not (place / "state").exists()


def completed(env: dict[str, str], shell: str, words: str) -> list[str]:
    asks = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    result = run_forge({**env, **asks, main.COMPLETE_VARIABLE: f"{shell}_complete"})
    assert result.stderr == ""
    return result.stdout.splitlines()
