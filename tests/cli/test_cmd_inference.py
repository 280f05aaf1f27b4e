"""`forge inference status`, `forge inference history`, and what other views tell of servers."""

import json
from datetime import datetime

import pytest

from forge.cli.cmd_plan import plan_of
from forge.cli.top_choice import Choice
from forge.cli.top_view import top_view
from forge.cli.view_inference import inference_view, squeezes_view, top_words
from forge.cli.view_status import status_view
from tests.cli.conftest import Forge, StartDaemon
from tests.cli.fakes import a_report, a_status
from tests.cli.test_cmd_plan import a_plan_report, row_of
from tests.cli.test_render import shown

GIB = 1024**3
URL = "http://127.0.0.1:8080"
NOON = datetime(2026, 3, 4, 12, 0)  # noqa: DTZ001  # local, as people's clocks
SQUEEZE = {
    "began_at": NOON.timestamp() - 3600, "lasted_s": 12.0, "server": URL, "url": URL,
    "model": "/m.gguf", "most_missing_bytes": 2 * GIB, "lowest_share": 0.5,
    "read_back_bytes": 7 * GIB, "builds": [{"id": "b7", "root": "/src/a"}],
}  # fmt: skip


def a_server(**changes):
    return {
        "name": URL, "url": URL, "state": "busy", "activity": "busy", "since_s": 3.0, "reason": "",
        "slow_s": None, "hung": False, "model": "/m.gguf", "build": "b1", "pid": 7, "slots": 4,
        "busy_slots": 1, "deferred": 2, "context_tokens": 131072, "context_used_tokens": 1200,
        "tokens_per_s": 12.34, "expected_bytes": 4 * GIB, "resident_bytes": 3 * GIB,
        "missing_bytes": GIB, "locked_bytes": 0, "swapped_bytes": 0, "anonymous_bytes": GIB,
        "need_bytes": 7 * GIB, "promised_bytes": 2 * GIB, "protection": None, "missing": [],
        **changes,
    }  # fmt: skip


def an_inference(*servers, **changes):
    return {
        "servers": list(servers), "failure": None, "kept_cores": 2, "holds_heavy": False,
        "promised_bytes": 2 * GIB, "claimed_bytes": 4 * GIB, "build_nice": 10, "build_weight": 11,
        "last_24h": {"squeezes": 1, "held_loads": 0, "cancelled_links": 2, "kept_core_s": 90.0},
        **changes,
    }  # fmt: skip


@pytest.mark.parametrize(("inference", "says"), [
    (an_inference(), "no server was looked at yet, or none is set"),
    (an_inference(a_server()),
     f"busy at {URL}: 1 of 4 slots busy, 2 waiting, context 1200 of 131072, 12.3 tokens/s"),
    (an_inference(a_server()), "3.0 GiB of 4.0 GiB of the model in memory, not locked"),
    (an_inference(a_server(locked_bytes=4 * GIB)), "in memory, 4.0 GiB locked"),
    (an_inference(a_server(swapped_bytes=GIB)), "1.0 GiB swapped out"),
    (an_inference(a_server()), "may still grow by 2.0 GiB"),
    (an_inference(a_server()), "builds leave it 2 cores, 4.0 GiB of its pages, 2.0 GiB to grow by"),
    (an_inference(a_server()),
     "for it in 24 h: squeezed 1 time, 1 min 30 s of cores kept free, 2 links cancelled"),
    (an_inference(a_server(state="absent", reason="connection refused")),
     f"absent at {URL}: connection refused"),
    (an_inference(a_server(slow_s=40.0)), "has not answered for 40 s"),
    (an_inference(a_server(slow_s=140.0, hung=True)), "hangs for 2 min 20 s"),
    (an_inference(a_server(slots=None)), "1 request under way"),
    (an_inference(a_server(missing=["/metrics: off"])), "not known: /metrics: off"),
    (an_inference(a_server(protection="oom_score_adj -900")), "protection: oom_score_adj -900"),
    (an_inference(holds_heavy=True), "all that is heavy, while it loads"),
    (an_inference(failure="a bug"), "cannot be looked at: a bug"),
    (an_inference(a_server(url="\x1b[2J")), r"\x1b[2J"),
])  # fmt: skip
def test_servers_are_told_in_words(inference, says):
    assert says in shown(inference_view(inference), width=200)


def test_the_command_shows_the_part_of_the_status(forge: Forge, daemon: StartDaemon):
    part = an_inference(a_server())
    daemon(status=[a_status(inference=part)] * 2)
    result = forge("inference", "status")
    assert (result.code, result.err) == (0, "") and result.out.startswith(f"busy at {URL}")
    assert json.loads(forge("inference", "status", "--json").out) == part


def test_past_squeezes_are_shown_with_the_builds_of_the_time(forge: Forge, daemon: StartDaemon):
    fake = daemon(squeezes=[{"type": "squeezes", "squeezes": [SQUEEZE]}] * 2)
    assert "b7" in forge("inference", "history", "-n", "5").out
    assert fake.requests[0]["limit"] == 5
    assert json.loads(forge("inference", "history", "--json").out) == [SQUEEZE]


def test_a_squeeze_is_one_line():
    words = shown(squeezes_view([SQUEEZE], NOON), width=120).splitlines()[1].split()
    assert words == ["11:00", "12s", "2.0", "GiB", "50%", "7.0", "GiB", URL, "b7"]
    unended = shown(squeezes_view([{**SQUEEZE, "lasted_s": None, "builds": []}], NOON), width=120)
    assert unended.splitlines()[1].split()[1] == "?" and unended.split()[-1] == "none"
    assert "no server was ever seen squeezed" in shown(squeezes_view([], NOON))


def test_the_status_shows_servers_and_fits_80_columns():
    text = shown(status_view(a_report(inference=an_inference(a_server()))))
    assert f"inference  busy at {URL}" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_the_top_shows_servers_and_above_all_one_that_is_squeezed():
    assert top_words(an_inference()) == ""
    assert top_words(an_inference(a_server(state="absent"))) == ""
    two = an_inference(a_server(), a_server(state="idle", tokens_per_s=None, busy_slots=0))
    assert top_words(two) == "inference busy 1/4 12.3 tok/s + idle 0/4, 2 cores kept free"
    squeezed = a_report(inference=an_inference(a_server(state="squeezed")))
    text = shown(top_view(squeezed, Choice(), "", 80, 24))
    assert f"the model at {URL} is squeezed: 1.0 GiB not in memory" in text


def test_the_plan_tells_the_model_and_its_context_apart(forge: Forge, daemon: StartDaemon):
    report = a_plan_report(inference=an_inference(a_server()))
    daemon(status=[{"type": "status", "status": report}])
    out = forge("plan").out
    assert row_of(out, "A  ")[-2:] == ["4.0 GiB", "-"]
    assert row_of(out, "C  ")[-2:] == ["1.0 GiB", "2.0 GiB"]
    use, before = plan_of(report).use, plan_of(a_plan_report()).use
    assert use and before
    assert use.promised_bytes == before.promised_bytes + 2 * GIB
    assert use.other_bytes == max(0, before.other_bytes - 5 * GIB)
