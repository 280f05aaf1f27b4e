"""What depends on what, from the command lines of rustc as they were recorded."""

import json
from pathlib import Path

import pytest

from forge.core import messages
from forge.core.behind import asking_unit
from forge.core.graph import Node, UnitGraph
from forge.core.history import Recorder

VECTORS = Path(__file__).parent.parent / "data" / "vectors"
UNITS = [
    messages.Unit(build="b1", pid=1, **case["unit"])
    for case in json.loads((VECTORS / "rustc.json").read_text())
    if case.get("recorded")
]
SCRIPT, MACRO, *REST = UNITS[:5]
"""One `cargo build`, in the order in which cargo started them."""


def played(recorder, units, *, script_s=0.0):
    """Run units one after the other, a second each; the build script runs when it is compiled."""
    now_s = 0.0
    for conn, unit in enumerate(units):
        one = asking_unit(conn, unit, now_s)
        one.started_s = now_s
        now_s += 1.0
        recorder.ended(one, messages.UnitEnded(exit=0, wall_s=1.0, user_s=1.0), now_s)
        now_s += script_s if one.is_build_script else 0.0
    return recorder


def ranks(recorder):
    return {one.key.split()[1]: one.rank_s for one in recorder.observations("/src")}


def test_the_recorded_build_is_one_chain_from_the_build_script_to_the_binary():
    recorder = played(Recorder(0.0), [MACRO, SCRIPT, *REST])
    path = [one["name"] for one in recorder.details()["critical_path"]]
    assert path == ["build_script_main", "my_sys", "my_lib", "my_app"]
    chains = {"my_app": 1.0, "my_lib": 2.0, "my_sys": 3.0, "pm": 3.0, "build_script_main": 4.0}
    assert ranks(recorder) == chains


def test_a_build_script_that_runs_for_long_is_part_of_the_chain():
    recorder = played(Recorder(0.0), [MACRO, SCRIPT, *REST], script_s=30.0)
    assert ranks(recorder)["build_script_main"] == 34.0
    assert ranks(recorder)["my_sys"] == 3.0, "only what begins with the script has it to come"
    path = [one["name"] for one in recorder.details()["critical_path"]]
    assert path == ["build_script_main", "my_sys", "my_lib", "my_app"]


def test_a_script_is_waited_for_although_something_else_was_compiled_later():
    graph = UnitGraph()
    graph.add(node("script", 0.0, 1.0))
    graph.add(node("dep", 0.0, 2.0))
    graph.add(node("lib", 9.0, 10.0, needs=frozenset({"script", "dep"}), script="script"))
    assert [one.id for one in graph.critical_path()] == ["script", "lib"]
    assert graph.ranks() == {"lib": 1.0, "dep": 3.0, "script": 9.0}


@pytest.mark.parametrize("asked_s", [0.5, 1.0, 1.02])
def test_a_script_that_runs_for_no_time_adds_none(asked_s):
    graph = UnitGraph()
    graph.add(node("script", 0.0, 1.0))
    graph.add(node("lib", asked_s, 3.0, needs=frozenset({"script"}), script="script"))
    assert graph.ranks()["script"] == 1.0 + (3.0 - asked_s)


def test_a_script_that_was_compiled_in_an_earlier_build_is_nothing():
    graph = UnitGraph()
    graph.add(node("lib", 9.0, 10.0, needs=frozenset({"script"}), script="script"))
    assert graph.ranks() == {"lib": 1.0}
    assert [one.id for one in graph.critical_path()] == ["lib"]


def test_a_circle_is_cut_and_a_need_of_itself_is_none():
    graph = UnitGraph()
    graph.add(node("a", 0.0, 1.0, needs=frozenset({"b"}), script="b"))
    graph.add(node("b", 0.0, 2.0, needs=frozenset({"a"})))
    graph.add(node("c", 9.0, 10.0, needs=frozenset({"c"}), script="c"))
    assert set(graph.ranks()) == {"a", "b", "c"}
    assert graph.critical_path()[-1].id == "c"


def node(name, asked_s, ended_s, **more):
    return Node(
        id=name, name=name, key=name, asked_s=asked_s, started_s=asked_s, ended_s=ended_s,
        cpu_s=1.0, peak_kib=1, **more,
    )  # fmt: skip
