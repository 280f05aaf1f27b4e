"""`forge explain`."""

import json
import os

import pytest

from forge.cli.view_explain import explain_view
from forge.core import events, messages
from forge.core.shim import Shim
from tests.cli.conftest import Forge, StartDaemon
from tests.cli.fakes import Reply, a_build, a_past_build, a_status, an_explained
from tests.cli.test_cmd_history import history, resolved
from tests.cli.test_render import shown
from tests.core.driver import Driver, settings


def explained(**changes) -> Reply:
    return {"type": "explained", "build": an_explained(**changes)}


def in_turn(*replies: Reply) -> list[Reply]:
    left = list(replies)
    return [lambda: left.pop(0)]


def asked(fake, kind: str, field: str) -> list[str]:
    return [one[field] for one in fake.requests if one["type"] == kind]


def test_where_the_time_went_is_told_as_people_read_it(forge: Forge, daemon: StartDaemon):
    fake = daemon(explain=[explained()])
    result = forge("explain", "12")
    assert (result.code, result.err) == (0, "")
    for line in (
        "b12 (ripgrep)  cargo build --release",
        "waited 43 s of 1 min 3 s for other builds, b11 (fd)",
        "before cargo     41 s",
        "  in line        40 s, behind b11 (fd)",
        "  being set up   0.5 s",
        "cargo ran        22 s",
        "  ran            34 units, 2 links; largest process 1.1 GiB",
        "  cores busy     1.5 of 2 on average",
        "  units waited   9.0 s for cores, added up; behind b11 (fd) 6.0 s",
        "  cargo alone    2.0 s with nothing at its gates",
    ):
        assert line in result.out.splitlines(), result.out
    assert asked(fake, "explain", "build") == ["b12"]


def test_json_has_the_verdict_beside_what_the_daemon_knows(forge: Forge, daemon: StartDaemon):
    daemon(explain=[explained()])
    told = json.loads(forge("explain", "b12", "--json").out)
    assert told.pop("verdict").startswith("waited 43 s")
    assert told == an_explained()


@pytest.mark.parametrize(
    ("past", "under_way", "wanted"),
    [
        ([history(a_past_build(id="b9"))], [], "b9"),
        ([history(a_past_build(id="b9"))], [a_build(id="b10", root="/src/app")], "b10"),
        ([history(a_past_build(id="b9"))], [a_build(id="b10", root="/src/other")], "b9"),
        ([history(), history(a_past_build(id="b8"))], [], "b8"),  # none of the project here
        ([history(), history()], [a_build(id="b10", root="/src/other")], "b10"),
    ],
)
def test_without_an_id_it_is_the_last_build_of_the_project_here_else_of_all(
    forge: Forge, daemon: StartDaemon, past, under_way, wanted
):
    fake = daemon(
        status=[a_status(builds=under_way)], resolve=[resolved("/src/app")],
        history=in_turn(*past), explain=[explained()],
    )  # fmt: skip
    assert forge("explain").code == 0
    assert asked(fake, "explain", "build") == [wanted]
    assert asked(fake, "history", "root") == ["/src/app", None][: len(past)]


def test_outside_of_any_project_it_is_the_last_of_all(forge: Forge, daemon: StartDaemon):
    fake = daemon(
        status=[a_status()], resolve=[resolved(None)], explain=[explained()],
        history=[history(a_past_build(id="b9"))],
    )  # fmt: skip
    assert forge("explain").code == 0
    assert asked(fake, "history", "root") == [None]


def test_where_nothing_was_built_there_is_nothing_to_explain(forge: Forge, daemon: StartDaemon):
    daemon(status=[a_status()], resolve=[resolved(None)], history=[history()])
    result = forge("explain", "--json")
    assert result.code == os.EX_DATAERR
    assert json.loads(result.out)["error"]["slug"] == "no-such-build"


def test_a_build_that_nobody_knows_is_named(forge: Forge, daemon: StartDaemon):
    reply = {"type": "error", "slug": "no-such-build", "message": "nothing known of b77"}
    daemon(explain=[reply])
    result = forge("explain", "77")
    assert (result.code, result.out) == (os.EX_DATAERR, "")
    assert "nothing known of b77" in result.err


def test_explaining_starts_no_daemon(forge: Forge, place):
    assert forge("explain").code == os.EX_UNAVAILABLE
    assert forge("explain", "b1").code == os.EX_UNAVAILABLE
    assert not (place / "state").exists()


def test_the_explanation_fits_80_columns_and_needs_no_colour():
    long = "a_crate_whose_name_is_longer_than_that_of_any_other_crate_one_has_seen"
    build = an_explained(argv=["build", *["--features=" + "x" * 30] * 5])
    build["slowest"][0]["name"] = build["critical_path"][0]["name"] = long
    view = explain_view(build)
    assert max(len(line) for line in shown(view).splitlines()) <= 80
    assert "\x1b[3" not in shown(view, force_terminal=True, no_color=True)


def test_of_a_long_critical_path_the_end_is_shown():
    path = an_explained()["critical_path"][:1] * 25
    text = shown(explain_view({**an_explained(), "critical_path": path}))
    assert "critical path (its last 20)" in text


def test_a_unit_that_an_earlier_daemon_started_began_before_all_that_is_known():
    node = {**an_explained()["critical_path"][0], "started_s": -2.7}
    text = shown(explain_view({**an_explained(via="adopted"), "critical_path": [node]}))
    assert "taken over from an earlier daemon" in " ".join(text.split())
    assert text.rstrip().endswith("before")


def test_names_from_outside_cannot_drive_the_terminal():
    build = an_explained(root="/a/\x1b[31mx", argv=["\x07"])
    build["slowest"][0]["name"] = "\x1b[2J"
    text = shown(explain_view(build), width=200)
    assert "\x1b" not in text and "\x07" not in text


def test_the_view_takes_what_the_core_tells_of_builds_at_every_stage():
    driver = Driver(settings(builds_at_once=1, gates=True, cores=1))
    driver.post(events.ShimReady(Shim("k1", "/c/gate", "/c/linkers", "/c/test-gate", "h")))
    driver.run(1, root="/src/one")
    driver.begin(2, "check", root="/src/two")
    for conn, crate in ((11, "serde"), (12, "syn")):
        driver.receive(conn, messages.Unit(build="b1", pid=conn, crate=crate, kinds=["lib"]))
    driver.now_s += 20
    running, waiting = told(driver, "b1"), told(driver, "b2")
    assert "running, 20 s so far" in running
    assert "  runs now    serde" in running
    assert "  waits now   syn: waiting for this build's own units" in running
    assert "  in line     20 s, behind b1 (one)" in waiting


def told(driver: Driver, build: str) -> str:
    driver.receive(50, messages.Explain(build=build))
    return shown(explain_view(driver.reply(50, "explained")["build"]), width=200)
