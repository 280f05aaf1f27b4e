"""Frames survive being cut anywhere, and nothing that comes can make the reader hold much."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.core import remote_frames
from forge.core.remote_frames import (
    DATA,
    DATA_BYTES,
    EMPTY,
    FROM_CLIENT,
    FROM_HOST,
    Frame,
    FrameReader,
    FrameRefused,
    FrameType,
    encode,
    encode_data,
    limit_of,
)


def frames_of(kinds):
    def of(kind):
        least = 1 if kind in DATA else 0
        most = min(limit_of(kind), 300)
        return st.binary(min_size=least, max_size=most).map(lambda data: Frame(kind, data))

    return st.lists(st.sampled_from(sorted(kinds)).flatmap(of), max_size=8)


def cut(data, places):
    at = 0
    for place in [*sorted(place % (len(data) + 1) for place in places), len(data)]:
        yield data[at:place]
        at = place


@given(frames_of(FrameType), st.lists(st.integers(min_value=0), max_size=20))
def test_frames_come_out_as_they_went_in_however_they_are_cut(frames, places):
    reader = FrameReader(FrameType)
    data = b"".join(encode(*frame) for frame in frames)
    assert [one for piece in cut(data, places) for one in reader.feed(piece)] == frames
    assert reader.is_between_frames


@given(st.lists(st.binary(max_size=400), max_size=10), st.sampled_from([FROM_CLIENT, FROM_HOST]))
def test_garbage_is_refused_or_waited_on_and_never_kept_beyond_the_limit(pieces, accepted):
    reader = FrameReader(accepted)
    most = max(map(limit_of, FrameType)) + 5
    try:
        for piece in pieces:
            for frame in reader.feed(piece):
                assert frame.type in accepted
                assert len(frame.payload) <= limit_of(frame.type)
            assert len(reader._kept) <= most
    except FrameRefused:
        with pytest.raises(FrameRefused):
            list(reader.feed(encode(FrameType.BYE)))


@pytest.mark.parametrize("kind", FrameType)
def test_a_header_alone_is_enough_to_refuse_a_frame_that_is_too_large(kind):
    reader = FrameReader(FrameType)
    with pytest.raises(FrameRefused, match="over"):
        list(reader.feed(struct.pack(">BI", kind, limit_of(kind) + 1)))
    with pytest.raises(ValueError, match="over"):
        encode(kind, bytes(limit_of(kind) + 1))


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (struct.pack(">BI", FrameType.WELCOME, 0), "type 65"),  # the host's own word
        (struct.pack(">BI", 0, 0), "type 0"),
        (b"\xff", "type 255"),  # one byte is enough
        (b"SSH-2.0-", "type 83"),
        (struct.pack(">BI", FrameType.STDIN, 0), "empty"),
    ],
)
def test_what_is_no_frame_of_the_clients_is_refused_by_the_host(header, why):
    with pytest.raises(FrameRefused, match=why):
        list(FrameReader(FROM_CLIENT).feed(header))


def test_frames_before_a_bad_one_are_still_told():
    reader = FrameReader(FROM_CLIENT)
    told = []
    with pytest.raises(FrameRefused):
        for frame in reader.feed(encode(FrameType.PING, b"x") + b"\0"):
            told.append(frame)  # noqa: PERF402  # the loop is what raises
    assert told == [Frame(FrameType.PING, b"x")]


@given(st.integers(min_value=0, max_value=3 * DATA_BYTES))
def test_a_stream_of_any_length_is_cut_into_frames(size):
    data = bytes(size)
    reader = FrameReader(FROM_HOST)
    back = [f for one in encode_data(FrameType.STDOUT, data) for f in reader.feed(one)]
    assert b"".join(frame.payload for frame in back) == data


def test_every_type_has_a_limit_and_one_end_that_sends_it():
    assert set(FrameType) == FROM_CLIENT | FROM_HOST
    assert not FROM_CLIENT & FROM_HOST
    assert all(limit_of(kind) == 0 for kind in EMPTY)
    assert max(map(limit_of, FrameType)) <= 4 * remote_frames.MIB
