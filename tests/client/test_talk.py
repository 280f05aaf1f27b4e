"""How a wait is shown; hooks/shim reads the same records."""

import json
from pathlib import Path

import pytest

from forge.client import talk
from forge.core.text import printable

WAITS = Path(__file__).parent.parent / "data" / "vectors" / "waits.json"


@pytest.mark.parametrize("case", json.loads(WAITS.read_text()), ids=lambda case: case["shown"])
def test_waits_are_shown_as_recorded(case):
    reason = printable(case["reason"])
    line = f"forge: {reason}{talk.since(case['since_s'])}"
    assert talk.cut(line, case["columns"] - talk.KEPT_FREE) == case["shown"]
    assert talk.kind_of(reason) == case["kind"]
