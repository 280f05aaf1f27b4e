"""`forge queue`."""

import json
import os

from forge.cli.view_queue import queue_report, queue_view
from forge.core.moment import Moment
from forge.core.report import status_report
from tests.cli.conftest import Forge, StartDaemon
from tests.cli.fakes import a_build, a_queue, a_report, a_status
from tests.cli.test_render import shown
from tests.core.driver import Driver, settings

LINE = {
    "limit": 1,
    "builds": [
        a_build(priority="interactive"),
        a_build(id="b9", phase="waiting in line", priority="batch",
                queue=a_queue(position=2, ahead=["b10"], since_s=83.0)),
        a_build(id="b10", phase="waiting for the target dir", priority="interactive",
                root="/src/fd", queue=a_queue(ahead=["b7"], since_s=4.0)),
    ],
}  # fmt: skip


def test_the_line_is_shown_in_order_with_whom_each_waits_for(forge: Forge, daemon: StartDaemon):
    daemon(status=[a_status(**LINE)])
    result = forge("queue")
    assert (result.code, result.err) == (0, "")
    assert [line.split() for line in result.out.splitlines()] == [
        ["build", "project", "verb", "priority", "since", "for", "ahead"],
        ["1", "b10", "fd", "test", "interactive", "4.0s", "ago", "the", "target", "dir", "b7"],
        ["2", "b9", "ripgrep", "test", "batch", "1m23s", "ago", "its", "turn", "b10"],
        [],
        ["1", "build", "at", "work,", "at", "most", "1", "at", "once"],
        ["build", "project", "verb", "priority", "phase", "for"],
        ["b7", "ripgrep", "test", "interactive", "running", "1m23s"],
    ]


def test_json_has_the_reason_of_each_as_the_daemon_says_it(forge: Forge, daemon: StartDaemon):
    daemon(status=[a_status(**LINE)])
    queue = json.loads(forge("queue", "--json").out)
    assert [one["id"] for one in queue["waiting"]] == ["b10", "b9"]
    assert [one["id"] for one in queue["beside"]] == ["b7"]
    assert queue["waiting"][1]["queue"] == a_queue(position=2, ahead=["b10"], since_s=83.0)
    assert (queue["limit"], queue["held"]) == (1, False)


def test_a_held_machine_is_said_with_since_when_and_the_way_out(forge: Forge, daemon: StartDaemon):
    daemon(status=[a_status(**LINE, held=True, held_s=75.0)])
    first, *rest = forge("queue").out.splitlines()
    assert first == "the machine is held (for 1 min 15 s): `forge resume` lets builds go on"
    assert "`forge resume`" in rest[2] and "the target dir" in rest[1]


def test_an_empty_line_says_so(forge: Forge, daemon: StartDaemon):
    daemon(status=[a_status(limit=2)])
    assert forge("queue").out == "nobody waits\nno build at work, at most 2 at once\n"


def test_looking_at_the_line_starts_no_daemon(forge: Forge, place):
    assert forge("queue").code == os.EX_UNAVAILABLE
    assert not (place / "state").exists()


def test_the_queue_fits_80_columns_and_needs_no_colour():
    long = "/src/a-project-whose-name-is-longer-than-most-others-are"
    builds = [a_build(root=long), *(
        a_build(id=f"b{number}", root=long, phase="waiting for the target dir",
                priority="interactive", queue=a_queue(position=number, ahead=["b7", "b8", "b99"]))
        for number in (1, 2)
    )]  # fmt: skip
    view = queue_view(queue_report(a_report(builds=builds, limit=1, held=True, held_s=1.0)))
    text = shown(view, force_terminal=True, no_color=True)
    assert max(len(line) for line in shown(view).splitlines()) <= 80
    assert "\x1b[3" not in text


def test_the_view_takes_what_the_core_reports():
    driver = Driver(settings(builds_at_once=1))
    driver.run(1, root="/src/one")
    driver.begin(2, "check", root="/src/two")
    now = Moment(driver.now_s + 5, 1.0)
    text = shown(queue_view(queue_report(status_report(driver.state, now))))
    assert "1  b2     two      check  batch     5.0s ago  its turn" in text
    assert "1 build at work, at most 1 at once" in text
