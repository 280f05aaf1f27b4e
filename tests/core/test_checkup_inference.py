"""The verdicts of `forge doctor` on inference servers."""

import pytest

from forge.core.checkup import Verdict
from forge.core.checkup_inference import (
    HARMLESS,
    KEEP_ALIVE,
    collector_row,
    flags_row,
    inference_rows,
    keep_alive_row,
    victim_row,
)
from forge.core.inference_surprises import Surprise

OK, WARN, FAIL, UNKNOWN = Verdict
GIB = 1 << 30
WHOLE = {"state": "idle", "url": "http://h:1", "expected_bytes": 4 * GIB, "missing_bytes": 0,
         "locked_bytes": 4 * GIB, "missing": []}  # fmt: skip


@pytest.mark.parametrize(("changes", "verdict", "words"), [
    ({}, OK, "4.0 GiB in memory"),
    ({"locked_bytes": int(3.95 * GIB)}, OK, "4.0 GiB in memory"),
    ({"locked_bytes": GIB}, WARN, "1.0 GiB of 4.0 GiB locked"),
    ({"locked_bytes": None}, OK, "4.0 GiB in memory"),  # macOS does not tell
    ({"state": "squeezed", "missing_bytes": GIB}, WARN, "1.0 GiB of 4.0 GiB missing"),
    ({"hung": True}, WARN, "does not answer any more"),
    ({"expected_bytes": None, "missing": ["its process: not ours"]}, UNKNOWN, "not ours"),
    ({"state": "absent"}, OK, "no server is there"),
])  # fmt: skip
def test_a_server_is_to_be_whole_and_locked(changes, verdict, words):
    (row,) = inference_rows({"servers": [WHOLE | changes]})
    assert (row.verdict, words in row.finding) == (verdict, True)


@pytest.mark.parametrize(("score_adj", "verdict"), [(0, OK), (-900, OK), (500, WARN), (800, WARN)])
def test_compilers_are_to_end_before_the_server(score_adj, verdict):
    assert victim_row("http://h:1", score_adj).verdict is verdict


@pytest.mark.parametrize(("environ", "verdict"), [
    (None, UNKNOWN),
    ({}, WARN),
    ({KEEP_ALIVE: "180"}, WARN),
    ({KEEP_ALIVE: "2592000"}, OK),
    ({KEEP_ALIVE: "99999999"}, WARN),  # beyond the counter of some builds
    ({KEEP_ALIVE: "for ever"}, WARN),
    ({KEEP_ALIVE: "2592000", "GGML_METAL_NO_RESIDENCY": "1"}, WARN),
])  # fmt: skip
def test_a_server_on_macos_is_to_keep_its_memory_wired(environ, verdict):
    row = keep_alive_row("http://h:1", environ)
    assert row.verdict is verdict
    assert (row.hint is None) is (verdict is OK)


SHARED = Surprise("slots-share", "4 slots share one pool", "`-np 4`")
UNLOCKED = Surprise("not-locked", "the weights are not locked", None)
UNKNOWN_OPTION = Surprise("option-unknown", "it does not know `--x`", None, fatal=True)
USUAL = tuple(Surprise(key, "so it is") for key in HARMLESS)


@pytest.mark.parametrize(("surprises", "unasked", "verdict", "words"), [
    (USUAL, "", OK, "nothing in them is amiss"),
    ((*USUAL, SHARED), "", WARN, "4 slots share one pool"),
    ((UNLOCKED, SHARED), "no server", WARN, "the weights are not locked; and 1 more"),
    ((UNKNOWN_OPTION, UNLOCKED), "", FAIL, "it does not know `--x`"),
    (USUAL, "there is no llama-server", UNKNOWN, "there is no llama-server"),
])  # fmt: skip
def test_the_flags_of_the_server_are_judged_by_what_would_surprise(
    surprises, unasked, verdict, words
):
    row = flags_row(surprises, unasked)
    assert (row.verdict, row.finding.endswith(words)) == (verdict, True)
    assert (row.hint is None) is (verdict in (OK, UNKNOWN))


def test_the_command_for_the_collector_is_named_and_nothing_is_run():
    assert collector_row(1).verdict is OK
    assert "sudo sysctl iogpu.disable_wired_collector=1" in str(collector_row(0).hint)
