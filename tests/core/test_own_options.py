"""Forge's own options are taken out of a cargo command line; wrong variables break nothing."""

import json
from pathlib import Path

import pytest

from forge.core import own_options
from forge.core.shares import Priority
from forge.core.units import parse_duration_s

VECTORS = Path(__file__).parent.parent / "data" / "vectors"
OPTIONS = json.loads((VECTORS / "options.json").read_text())
DURATIONS = json.loads((VECTORS / "durations.json").read_text())


@pytest.mark.parametrize("case", OPTIONS, ids=lambda case: " ".join(case["argv"])[:50])
def test_the_options_are_taken_out_where_cargo_would_read_them(case):
    if "error" in case:
        with pytest.raises(own_options.WrongValue) as caught:
            own_options.take(case["argv"])
        assert f"{caught.value.message} ({caught.value.hint})" == case["error"]
    else:
        assert own_options.take(case["argv"]) == (case["rest"], case["env"])


@pytest.mark.parametrize("case", DURATIONS, ids=lambda case: repr(case["text"]))
def test_durations_are_read_as_people_write_them(case):
    if case["seconds"] is None:
        with pytest.raises(ValueError, match="is not a duration"):
            parse_duration_s(case["text"])
    else:
        assert parse_duration_s(case["text"]) == pytest.approx(case["seconds"])


@pytest.mark.parametrize(
    ("env", "lines"),
    [
        ({}, []),
        ({"FORGE_PRIORITY": "", "FORGE_WAIT_TIMEOUT": ""}, []),
        ({"FORGE_PRIORITY": "batch", "FORGE_WAIT_TIMEOUT": "5m"}, []),
        (
            {"FORGE_PRIORITY": "high"},
            [
                "FORGE_PRIORITY is ignored: `high` is no priority"
                " (`FORGE_PRIORITY` takes `interactive` or `batch`)"
            ],
        ),
        (
            {"FORGE_WAIT_TIMEOUT": "ever"},
            [
                "FORGE_WAIT_TIMEOUT is ignored: `ever` is no duration (`FORGE_WAIT_TIMEOUT` takes"
                " seconds, or as in `90s`, `5m` or `1h`; `0`: do not wait)"
            ],
        ),
    ],
)
def test_a_wrong_variable_is_told(env, lines):
    assert own_options.ignored(env) == lines


def test_the_priorities_are_those_of_the_core():
    assert tuple(Priority) == own_options.PRIORITIES
