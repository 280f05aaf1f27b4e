# mypy: disable-error-code="comparison-overlap"
# It takes an attribute for what it was compared with, and does not see that a look changes it.
"""One server from look to look: its state, its speed, what it was promised."""

from dataclasses import replace

import pytest

from forge.core.inference_seen import Answer, Slot
from forge.core.inference_server import (
    HUNG_AFTER_S,
    IDLE_AFTER_S,
    Server,
    ServerState,
    cores_of,
    threads_of,
)
from tests.core.inference import BUSY, GIB, IDLE, NEED, process, seen, slots

NONE, LOADING, SLOW = seen(Answer.NONE), seen(Answer.LOADING), seen(Answer.SLOW)
STRANGER = seen(Answer.STRANGER, reason="it answers with another service's JSON")
DEFERRED = seen(slots=slots(False), deferred=2)
BY_METRICS = seen(slots=None, busy_slots=1)
SILENT = seen(slots=None)


def after(*looks, every_s=1.0):
    server = Server("main", "http://127.0.0.1:8080")
    for number, one in enumerate(looks):
        server.look(one, number * every_s)
    return server


@pytest.mark.parametrize(("looks", "state"), [
    ((NONE,), "absent"),
    ((STRANGER,), "absent"),
    ((LOADING,), "loading"),
    ((NONE, LOADING, IDLE), "idle"),
    ((IDLE, BUSY), "busy"),
    ((DEFERRED,), "busy"),  # requests wait for a slot
    ((BY_METRICS,), "busy"),
    ((SILENT,), "idle"),  # neither /slots nor /metrics: `missing` says so
    ((BUSY, IDLE, IDLE), "idle"),
    ((SLOW,), "busy"),  # somebody listens, who may well be at work
    ((IDLE, SLOW), "idle"),
    ((BUSY, SLOW, SLOW), "busy"),
    ((LOADING, SLOW), "loading"),
    ((BUSY, NONE), "absent"),  # killed
    ((BUSY, STRANGER), "absent"),  # the port was taken by something else
])  # fmt: skip
def test_a_state_follows_from_what_is_answered(looks, state):
    assert after(*looks).state == state


def test_a_pause_between_two_requests_is_not_idle():
    server = after(BUSY)
    server.look(IDLE, IDLE_AFTER_S / 2)
    assert server.state is ServerState.BUSY
    server.look(IDLE, IDLE_AFTER_S + 0.1)
    assert server.state is ServerState.IDLE


def test_a_server_that_hangs_keeps_its_state_and_wants_no_cores_any_more():
    server = after(BUSY, SLOW)
    assert server.wants_cores(HUNG_AFTER_S) and not server.wants_cores(HUNG_AFTER_S + 1)
    assert server.state is ServerState.BUSY and server.is_hung(HUNG_AFTER_S + 1)
    server.look(BUSY, HUNG_AFTER_S + 2)
    assert server.wants_cores(HUNG_AFTER_S + 2)


def test_tokens_are_counted_by_slot_and_a_new_request_begins_at_none():
    looks = [seen(slots=(Slot(0, 99, is_busy=True, decoded=n),)) for n in (10, 20, 3, 13)]
    server = after(*looks)
    assert server.generated == 10 + 3 + 10
    assert server.tokens_per_s(3.0) == pytest.approx(23 / 3)
    assert server.tokens_per_s(30.0) is None


def test_tokens_are_counted_by_the_counter_where_slots_do_not_tell():
    looks = [seen(slots=slots(True, decoded=None), predicted_tokens_total=n) for n in (500, 600)]
    server = after(*looks)
    assert server.generated == 100


@pytest.mark.parametrize("other", [
    seen(of=process(pid=8)),
    seen(of=process(started_s=2.0)),
    seen(of=process(), model_path="/models/other.gguf"),
])  # fmt: skip
def test_another_process_or_model_begins_anew(other):
    server = after(seen(of=process()), seen(of=process(GIB)))
    assert server.state is ServerState.SQUEEZED
    server.look(other, 3.0)
    assert server.state is ServerState.IDLE
    assert not server.residency.is_short


@pytest.mark.parametrize(("anonymous_bytes", "promised_bytes"), [
    (GIB, 2 * GIB),  # its KV is there
    (2 * GIB, GIB),
    (9 * GIB, 0),
    (0, 2 * GIB),  # compressed, or not counted: never more than it may grow by
    (None, 2 * GIB),
])  # fmt: skip
def test_what_it_has_not_grown_by_yet_is_promised(anonymous_bytes, promised_bytes):
    server = after(seen(of=process(anonymous_bytes=anonymous_bytes), need=NEED))
    assert server.promised_bytes == promised_bytes


def test_while_it_loads_all_that_is_not_mapped_is_promised():
    server = after(seen(Answer.LOADING, of=process(GIB, anonymous_bytes=0), need=NEED))
    assert server.promised_bytes == 3 * GIB
    server = after(seen(Answer.LOADING, need=NEED))
    assert server.promised_bytes == NEED.total_bytes


def test_weights_that_are_not_mapped_are_no_growth():
    of = replace(process(anonymous_bytes=5 * GIB), models=())
    assert after(seen(of=of, need=NEED)).promised_bytes == 2 * GIB


def test_nothing_is_promised_to_what_is_not_there():
    server = after(seen(of=process(), need=NEED), NONE)
    assert server.promised_bytes == 0 and server.process is None


@pytest.mark.parametrize(("argv", "threads"), [
    ((), None),
    (("llama-server", "-t", "8"), 8),
    (("llama-server", "--threads", "8", "-t", "2"), 2),
    (("llama-server", "--threads=3"), 3),
    (("llama-server", "-t"), None),
    (("llama-server", "-t", "-1"), None),
    (("llama-server", "-t", "many"), None),
    (("llama-server", "--threads-batch", "8"), None),
])  # fmt: skip
def test_threads_are_read_from_the_command_line(argv, threads):
    assert threads_of(argv) == threads


@pytest.mark.parametrize(("argv", "cores", "kept"), [
    (None, 32, 4),
    (None, 2, 1),
    (None, 1, 0),
    (("s", "-t", "1"), 2, 1),
    (("s", "-t", "24"), 32, 16),
])  # fmt: skip
def test_a_server_is_left_its_threads_and_builds_half_of_the_cores(argv, cores, kept):
    assert cores_of(after(seen(of=process(argv=argv))), cores) == kept
