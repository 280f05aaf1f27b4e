from dataclasses import replace

import pytest

from forge.core.checkup_launch import launch_rows
from forge.core.inference_need import Need
from forge.core.inference_plan import plan_inference
from forge.core.inference_seen import Answer, Served, ServerProcess, ServerSeen, Slot
from forge.core.llama_args import read_args
from tests.llama.shapes import DRAFT_3B, GIB, MODEL_70B, build_of

LINE = (
    "-m M -md D --spec-type draft-simple -c 131072 -np 4 -ctk q4_0 -ctv q4_0 -ctkd q4_0"
    " -ctvd q4_0 --load-mode mmap+mlock"
)
PLAN = plan_inference(read_args(LINE.split()), build_of("0.3.36"), MODEL_70B, DRAFT_3B)
SLOTS = tuple(Slot(n, 32768, is_busy=False, is_speculative=True) for n in range(4))
PROCESS = ServerProcess(7, 0.0, anonymous_bytes=17 * GIB, locked_bytes=80 * GIB)
SEEN = ServerSeen(
    "main", "http://127.0.0.1:8080", 0.0, Served(Answer.READY, slots=SLOTS), PROCESS, PLAN.need
)


def verdicts(seen, plan=PLAN):
    return {row.name: row.verdict.value for row in launch_rows(plan, seen)}


def served(**changes):
    return replace(SEEN, served=replace(SEEN.served, **changes))


def slots(**changes):
    return served(slots=tuple(replace(one, **changes) for one in SLOTS))


def process(**changes):
    return replace(SEEN, process=replace(PROCESS, **changes))


def test_a_server_that_is_as_planned_is_ok_in_every_row():
    assert set(verdicts(SEEN).values()) == {"ok"}
    assert list(verdicts(SEEN)) == ["server", "context", "KV cache", "draft", "locked"]


@pytest.mark.parametrize(
    ("seen", "row", "verdict"),
    [
        (served(slots=SLOTS[:2]), "context", "fail"),
        (slots(context_tokens=8192), "context", "fail"),
        (served(slots=None), "context", "unknown"),
        (served(slots=None), "draft", "unknown"),
        (slots(is_speculative=False), "draft", "fail"),
        (slots(is_speculative=None), "draft", "unknown"),
        (replace(SEEN, need=Need(80 * GIB, 40 * GIB)), "KV cache", "fail"),
        (replace(SEEN, need=None, no_need="not ours"), "KV cache", "unknown"),
        (process(anonymous_bytes=GIB), "KV cache", "warn"),
        (process(anonymous_bytes=None), "KV cache", "ok"),
        (process(locked_bytes=1 << 20), "locked", "fail"),  # `mlock` failed, and it went on
        (process(locked_bytes=None), "locked", "unknown"),
        (process(locked_bytes=None, footprint_bytes=90 * GIB), "locked", "unknown"),
        (replace(SEEN, process=None, no_process="of another user"), "locked", "unknown"),
    ],
)  # fmt: skip
def test_what_is_not_as_planned_is_said(seen, row, verdict):
    found = verdicts(seen)
    assert found[row] == verdict
    others = {key: value for key, value in found.items() if key not in (row, "draft", "context")}
    assert set(others.values()) == {"ok"}


@pytest.mark.parametrize("answer", [one for one in Answer if one is not Answer.READY])
def test_a_server_that_is_not_ready_has_one_row(answer):
    assert verdicts(served(answer=answer, reason="why")) == {"server": "fail"}


def test_without_a_draft_and_a_lock_none_is_looked_for():
    plan = plan_inference(read_args(["-m", "M", "-np", "4", "-c", "131072"]),
                          build_of("0.3.36"), MODEL_70B)  # fmt: skip
    plain = replace(slots(is_speculative=False), need=plan.need)
    assert verdicts(plain, plan)["draft"] == "ok"
    assert "locked" not in verdicts(plain, plan)
    assert verdicts(SEEN, plan)["draft"] == "fail"
