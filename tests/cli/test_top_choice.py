"""What keys do in `forge top`."""

import pytest

from forge.cli.top_choice import Choice, builds_of
from tests.cli.fakes import a_build, a_report

REPORT = a_report(builds=[a_build(id=f"b{n}", priority="batch") for n in range(1, 31)], held=False)


def pressed(*keys, report=REPORT, **fields):
    choice = Choice(**fields)
    requests = [request for key in keys if (request := choice.press(key, report))]
    return choice, requests


@pytest.mark.parametrize(
    ("keys", "selected"),
    [
        ([], None),
        (["down"], "b1"),
        (["j", "j", "k"], "b1"),
        (["up"], "b30"),  # from below
        (["down", "up", "up"], "b1"),
        (["page down"], "b10"),
        (["j", "page down"], "b11"),
        (["end", "page down"], "b30"),
        (["end", "page up"], "b20"),
        (["end", "home"], "b1"),
        (["j", "escape"], None),
        (["j", "a"], None),
        (["j", "x", "enter"], "b1"),
    ],
)
def test_keys_select_a_build(keys, selected):
    choice, requests = pressed(*keys)
    assert (choice.selected, requests) == (selected, [])


def test_nothing_is_selected_where_nothing_is():
    choice, requests = pressed("j", "end", "c", "p", report=a_report())
    assert (choice.selected, choice.asked, requests) == (None, None, [])
    assert "select a build first" in choice.note


def test_a_build_is_cancelled_after_a_yes_and_only_then():
    assert pressed("j", "c")[1] == []
    assert pressed("j", "c", "y")[1] == [{"type": "cancel_build", "build": "b1"}]
    for key in ("n", "enter", "escape", "c", "q", "ctrl-c"):
        choice, requests = pressed("j", "c", key)
        assert (requests, choice.asked, choice.is_over) == ([], None, False), key
        assert choice.note == "b1 goes on"


def test_the_answer_is_about_the_build_that_was_asked_about():
    choice, _ = pressed("j", "c")
    choice.selected = "b2"
    assert choice.press("y", REPORT) == {"type": "cancel_build", "build": "b1"}


def test_a_build_that_is_over_takes_selection_and_question_with_it():
    choice, _ = pressed("j", "c")
    choice.sees(a_report(builds=[a_build(id="b2")]))
    assert (choice.selected, choice.asked, choice.note) == (None, None, "b1 is over")
    assert choice.press("y", REPORT) is None


def test_priority_goes_to_the_other_one():
    request = {"type": "set_priority", "build": "b1", "priority": "interactive"}
    assert pressed("j", "p")[1] == [request]
    report = a_report(builds=[a_build(id="b1", priority="interactive")])
    assert pressed("j", "p", report=report)[1] == [{**request, "priority": "batch"}]


def test_h_holds_the_machine_and_lets_it_go_on():
    assert pressed("h")[1] == [{"type": "hold", "on": True}]
    assert pressed("h", report=a_report(held=True))[1] == [{"type": "hold", "on": False}]


@pytest.mark.parametrize("key", ["q", "ctrl-c"])
def test_q_and_ctrl_c_quit_from_everywhere_but_a_question(key):
    assert pressed(key)[0].is_over
    assert pressed("?", key)[0].is_over


def test_help_goes_away_with_any_key_which_does_nothing_else():
    assert pressed("?")[0].is_help
    choice, requests = pressed("?", "h")
    assert (choice.is_help, choice.is_over, requests) == (False, False, [])


def test_builds_at_work_come_before_those_in_line():
    builds = [
        a_build(id="b1", queue={"position": 2}),
        a_build(id="b2", queue=None),
        a_build(id="b3", queue={"position": 1}),
    ]
    assert [one["id"] for one in builds_of(a_report(builds=builds))] == ["b2", "b3", "b1"]
