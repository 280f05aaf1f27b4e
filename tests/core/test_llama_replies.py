"""What replies say: those of two servers as they were recorded, and anything at all."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.core.inference_seen import Slot
from forge.core.llama_replies import (
    Metrics,
    Props,
    Reply,
    error_type,
    is_healthy,
    read_metrics,
    read_props,
    read_slots,
)

RECORDED = Path(__file__).parent.parent / "data" / "llama" / "replies"
READERS = (error_type, is_healthy, read_metrics, read_props, read_slots)


def recorded(version, name):
    return Reply(200, (RECORDED / version / name).read_bytes())


def told(value, status=200):
    return Reply(status, json.dumps(value).encode())


@pytest.mark.parametrize("version", ["0.3.20", "0.3.36"])
def test_slots_that_were_never_used_tell_of_no_tokens(version):
    slots = read_slots(recorded(version, "slots_idle.json"))
    assert slots == tuple(Slot(n, 32768, False, False) for n in range(4))


@pytest.mark.parametrize(
    ("version", "slots"),
    [
        (  # the old one tells only what was generated
            "0.3.20",
            [(0, True, None, 15), (1, True, None, 16), (2, True, None, 15), (3, True, None, 14)],
        ),
        (
            "0.3.36",
            [(0, False, None, None), (1, True, 902, 0), (2, False, 23, 0), (3, False, 11, 0)],
        ),
    ],
)
def test_busy_slots_tell_of_their_tokens(version, slots):
    found = read_slots(recorded(version, "slots_busy.json"))
    assert found is not None
    assert [(one.id, one.is_busy, one.tokens, one.decoded) for one in found] == slots
    assert {one.context_tokens for one in found} == {32768}


@pytest.mark.parametrize(
    ("version", "metrics"),
    [
        ("0.3.20", Metrics(3624, 6022, 40.805, 0, 0)),
        ("0.3.36", Metrics(3616, 6022, 810.162, 0, 0)),
    ],
)
def test_metrics_are_counters_and_requests(version, metrics):
    assert read_metrics(recorded(version, "metrics.txt")) == metrics


@pytest.mark.parametrize(("version", "build"), [("0.3.20", "b0-lcp0320"), ("0.3.36", "b0-lcp0336")])
def test_props_tell_model_and_slots(version, build):
    props = read_props(recorded(version, "props.json"))
    assert props == Props(4, 32768, "tiny.gguf", build, is_sleeping=False)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (
            told({"error": {"message": "m", "type": "unavailable_error", "code": 503}}, 503),
            "unavailable_error",
        ),
        (told({"error": {"type": "unavailable_error", "code": 500}}, 503), None),  # not its own
        (told({"error": {"type": 7, "code": 503}}, 503), None),
        (told({"error": {"type": "auth_error", "code": "401"}}, 401), None),  # as a proxy says it
        (told({"error": "no"}, 401), None),
        (Reply(503, b"<html>busy</html>"), None),
    ],
)
def test_an_error_is_believed_when_it_is_a_llama_servers(reply, kind):
    assert error_type(reply) == kind


@pytest.mark.parametrize(
    ("reply", "healthy"),
    [
        (told({"status": "ok"}), True),
        (told({"status": "ok"}, 503), False),
        (told({"status": "fine"}), False),
        (told(["ok"]), False),
    ],
)
def test_health_is_one_word(reply, healthy):
    assert is_healthy(reply) is healthy


SLOT = {"id": 0, "n_ctx": 512, "is_processing": False}


@pytest.mark.parametrize(
    "slots",
    [
        [],
        {},
        None,
        [7],
        [{**SLOT, "id": True}],
        [{**SLOT, "id": -1}],
        [{**SLOT, "n_ctx": 1 << 63}],
        [{**SLOT, "n_ctx": "512"}],
        [{**SLOT, "is_processing": 1}],
        [SLOT, {}],  # half of an answer is none
        [SLOT] * 5000,
    ],
)
def test_slots_of_another_shape_are_refused(slots):
    assert read_slots(told(slots)) is None


@pytest.mark.parametrize(
    ("changed", "slot"),
    [
        ({"speculative": True}, Slot(0, 512, False, True)),
        ({"speculative": "yes"}, Slot(0, 512, False)),
        ({"n_prompt_tokens": -5}, Slot(0, 512, False)),
        ({"next_token": []}, Slot(0, 512, False)),
        ({"next_token": {"n_decoded": 3}}, Slot(0, 512, False, decoded=3)),  # before it was a list
        ({"next_token": [9]}, Slot(0, 512, False)),
    ],
)
def test_what_a_slot_need_not_tell_may_be_anything(changed, slot):
    assert read_slots(told([{**SLOT, **changed}])) == (slot,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# HELP nothing\n",
        "node_cpu_seconds_total 7\n",  # somebody else's metrics
        "llamacpp:n_decode_total nan\n",
        "llamacpp:n_decode_total -1\n",
        "llamacpp:n_decode_total 1e400\n",
        "llamacpp:n_decode_total 1-1\n",
        "llamacpp:unknown 7\n",
    ],
)
def test_other_metrics_are_refused(text):
    assert read_metrics(Reply(200, text.encode())) is None


def test_large_counters_are_written_with_an_exponent():
    text = "llamacpp:tokens_predicted_total 1.5e+06\r\nllamacpp:requests_deferred 3\r\n"
    assert read_metrics(Reply(200, text.encode())) == Metrics(predicted_tokens=1500000, deferred=3)


@pytest.mark.parametrize(
    "props",
    [
        [],
        {"total_slots": 4},
        {"total_slots": "4", "default_generation_settings": {}},
        {"role": "router"},
    ],
)
def test_other_props_are_refused(props):
    assert read_props(told(props)) is None


def test_a_path_that_would_upset_a_terminal_is_not_taken():
    props = {"total_slots": 1, "default_generation_settings": {}, "model_path": "a\x1b[2J"}
    assert read_props(told(props)) == Props(1)


@pytest.mark.parametrize("body", [b"[" * 200_000, b"1" * 10_000, b'{"a":' * 100_000, b"\xff\xfe"])
def test_hostile_json_is_refused(body):
    assert read_slots(Reply(200, body)) is None
    assert read_props(Reply(200, body)) is None
    assert error_type(Reply(503, body)) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "n_ctx",
                    "is_processing",
                    "next_token",
                    "n_decoded",
                    "n_prompt_tokens",
                    "total_slots",
                    "default_generation_settings",
                    "error",
                    "type",
                    "code",
                    "status",
                    "is_sleeping",
                    "model_path",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
STATUS = st.sampled_from([200, 301, 401, 404, 500, 501, 503])


@given(STATUS, st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_value_or_refused(status, body):
    for read in READERS:
        read(Reply(status, body))


@given(st.lists(st.text("llamacpp:_total 0123456789.eE+-\n#", max_size=60), max_size=8))
def test_any_metrics_are_numbers_or_refused(lines):
    found = read_metrics(Reply(200, "\n".join(["llamacpp:n_decode_total 1", *lines]).encode()))
    assert found is not None
    for count in (found.prompt_tokens, found.predicted_tokens, found.deferred):
        assert count is None or count >= 0
