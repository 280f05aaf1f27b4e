import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.core import message_reading, messages, wire

BEGIN = {"type": "begin", "v": 1, "pid": 1, "cwd": "/", "argv": ["build"], "env": {"HOME": "/h"}}


def line(**changes):
    return json.dumps({**BEGIN, **changes}).encode()


def test_a_request_is_read_and_what_is_unknown_ignored():
    assert message_reading.read(line(later="field"), first=True) == messages.Begin(
        pid=1, cwd="/", argv=["build"], env={"HOME": "/h"}
    )


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"v":1}', "not a JSON object with a `type`"),
        (b'{"v":1,"type":"dance"}', "there is no message `dance`"),
        (line(pid="1"), "field `pid` has the wrong type"),
        (line(pid=True), "field `pid` has the wrong type"),
        (line(argv=["a", 1]), "field `argv` has the wrong type"),
        (line(env={"A": None}), "field `env` has the wrong type"),
        (b'{"v":1,"type":"started"}', "field `pid` is missing"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(raw, complaint):
    with pytest.raises(ValueError, match=complaint):
        message_reading.read(raw, first=True)


def test_another_version_is_told_apart_from_garbage():
    with pytest.raises(message_reading.UnknownVersion, match="version 2"):
        message_reading.read(line(v=2), first=True)
    assert message_reading.read(line(v=2), first=False)


@given(st.binary(max_size=200))
def test_bytes_that_are_not_text_survive_the_way_there_and_back(raw):
    name = raw.decode("utf-8", "surrogateescape")
    sent = wire.decode(wire.encode({"type": "x", "name": name}))
    assert sent["name"].encode("utf-8", "surrogateescape") == raw


@given(st.binary(max_size=300))
def test_no_line_whatsoever_does_more_than_raise_value_error(raw):
    try:
        message_reading.read(raw, first=True)
    except ValueError:
        return


def test_a_message_over_the_limit_is_not_sent():
    with pytest.raises(ValueError, match="over the limit"):
        wire.encode({"type": "x", "big": "a" * wire.MAX_LINE_BYTES})


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1e300", str(2**63)])
def test_a_number_that_nobody_can_reckon_with_is_refused(number):
    line = f'{{"type":"unit_ended","exit":0,"user_s":{number},"peak_kib":1}}'.encode()
    with pytest.raises(ValueError, match="`user_s` has the wrong type"):
        message_reading.read(line, first=False)
    line = f'{{"type":"unit_ended","exit":0,"peak_kib":{number}}}'.encode()
    with pytest.raises(ValueError, match="`peak_kib` has the wrong type"):
        message_reading.read(line, first=False)
