"""The top rung: which build is ended for memory, and how it comes back."""

import pytest

from forge.core import actions, messages
from forge.core.builds import Again
from forge.core.pressure import Rung
from tests.core.driver import Driver, settings
from tests.core.test_memory_gate import reason, unit, went
from tests.core.test_memory_watch import calm, decisions, rung, tight
from tests.core.test_reserved import reserve


def running(**second):
    """Two batch builds that compile; the younger one is as told."""
    driver = Driver(settings(cores=4))
    driver.run(1, root="/src/old", requeues=True)
    given = {"root": "/src/young", "requeues": True, **second}
    return driver, driver.run(2, *given.pop("argv", ("build",)), **given)


def climb(driver):
    """Be tight for long enough to take all that may be taken."""
    tight(driver, looks=250)
    assert rung(driver) is Rung.END_BUILDS


def told(driver, kind="requeue"):
    return [to for to, message in driver.sent if message["type"] == kind]


def begin_again(driver, conn, again, **fields):
    driver.begin(conn, root="/src/young", requeues=True, again=again, **fields)


def test_the_youngest_batch_build_is_ended_with_all_that_it_started():
    driver, young = running()
    unit(driver, 10, young, "a")
    climb(driver)
    assert told(driver) == [2], "never the last one"
    requeue = driver.reply(2, "requeue")
    assert requeue["line"] == "memory is short: this build is ended and goes on later"
    assert requeue["again"] == "b2/1/0"
    assert told(driver, "end") == [10]
    assert [one.key for one in driver.asked(actions.EndTree)] == ["b2/cargo"]
    assert decisions(driver, "build.requeued") == ["build.requeued"]


def test_a_launcher_hears_of_it_before_its_cargo_is_signalled():
    driver, _ = running()
    climb(driver)
    ended_at = [isinstance(one, actions.EndTree) for one in driver.done].index(True)
    sent = [one for one in driver.done[:ended_at] if isinstance(one, actions.Send)]
    assert "requeue" in [one.message["type"] for one in sent]


@pytest.mark.parametrize(
    "second",
    [
        {"interactive": True},  # a person waits for it
        {"requeues": False},  # its launcher would not know how
        {"argv": ("run",)},  # the program may have read its stdin
        {"argv": ("test",)},
        {"argv": ("install", "app")},
        {"argv": ("clippy", "--fix")},  # it changes sources
        {"again": "b2/2/0"},  # it was ended twice
    ],
)
def test_a_build_that_must_not_be_ended_is_left_alone_and_the_next_one_taken(second):
    driver, young = running(**second)
    climb(driver)
    assert told(driver) == [1]
    assert young == "b2"


def test_the_last_build_at_work_is_left_alone():
    driver = Driver(settings(cores=4))
    driver.run(1, requeues=True)
    climb(driver)
    assert told(driver) == []


def test_a_build_that_only_runs_what_it_built_is_no_build_at_work():
    driver, young = running()
    driver.state.line.compiled(driver.state.builds[young], driver.state.started_at)
    climb(driver)
    assert told(driver) == [], "the older one would be the last"


def test_a_build_inside_another_one_is_neither_taken_nor_counted():
    driver = Driver(settings(cores=4))
    outer = driver.run(1, root="/src/old", requeues=True)
    driver.run(2, root="/src/young", requeues=True, parent=outer)
    climb(driver)
    assert told(driver) == []


def test_nor_is_one_inside_a_command_since_it_would_not_wait_in_line():
    driver = Driver(settings(cores=4))
    driver.run(1, root="/src/old", requeues=True)
    reserve(driver, 3)
    inside = {"FORGE_RESERVATION": driver.reply(3, "go")["reservation"]}
    driver.run(2, root="/src/young", requeues=True, env=inside)
    climb(driver)
    assert told(driver) == []


def test_a_build_that_was_ended_stands_in_line_where_it_stood():
    driver, _ = running()
    climb(driver)
    driver.receive(2, messages.Ended(signal=15))
    driver.begin(3, root="/src/other")
    begin_again(driver, 4, "b2/1/0")
    assert driver.state.line.admission.line() == ["b4", "b3"]
    assert reason(driver, 4).startswith("waiting for memory: it is short, and 1 at work")
    calm(driver, 120)
    driver.make_target_dirs()
    assert went(driver, 4)
    assert decisions(driver, "build.again") == ["build.again"]


def test_under_pressure_one_is_admitted_when_none_is_at_work():
    driver, _ = running()
    climb(driver)
    driver.receive(2, messages.Ended(signal=15))
    begin_again(driver, 4, "b2/1/0")
    driver.receive(1, messages.Ended(exit=0))
    driver.mount()
    driver.make_target_dirs()
    assert went(driver, 4)


def test_the_record_of_a_build_names_the_one_that_it_carries_on():
    driver, _ = running()
    climb(driver)
    driver.receive(2, messages.Ended(signal=15))
    calm(driver, 120)
    driver.run(4, root="/src/young", again="b2/1/0", requeues=True)
    driver.receive(4, messages.Ended(exit=0))
    records = [one.record for one in driver.asked(actions.RecordBuild)]
    assert [(one["id"], one["outcome"], one["requeued"], one["again"]) for one in records] == [
        ("b2", "requeued", True, None),
        ("b3", "done", False, "b2"),
    ]


def test_a_build_that_is_cancelled_while_it_ends_does_not_go_on():
    driver, young = running()
    climb(driver)
    driver.receive(50, messages.CancelBuild(build=young))
    assert told(driver, "end") == [2]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("b17/1/0", Again(17, 1, 0)),
        ("b2/0/1", Again(2, 0, 1)),
        (None, None),
        ("", None),
        ("b17", None),
        ("17/1/0", None),
        ("b17/1/0/2", Again(17, 1, 0, 2)),
        ("b17/1/0/2/3", None),
        ("b17/-1/0", None),
        ("b" + "9" * 16 + "/1/0", None),
    ],
)
def test_what_a_launcher_brings_back_is_read_or_left_alone(text, read):
    assert Again.read(text) == read
    if read:
        assert read.text == text
