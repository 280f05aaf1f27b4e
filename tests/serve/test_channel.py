"""The host's end of a connection waits for nobody for ever, and keeps nothing without end."""

import os

import pytest

from forge.core.remote_frames import (
    LOST_AFTER_S,
    PING_AFTER_S,
    Frame,
    FrameReader,
    FrameType,
    encode,
)
from forge.core.remote_messages import Notice
from forge.errors import ConnectionLost, ProtocolMismatch
from forge.serve.channel import FULL_BYTES, MOST_FRAMES, Channel


class Wire:
    """A channel, the client's ends of its pipes, and a clock that we set."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.host_in, self.client_out = os.pipe()
        self.client_in, self.host_out = os.pipe()
        os.set_blocking(self.client_in, False)
        self.channel = Channel(self.host_in, self.host_out, clock=lambda: self.now_s)

    def send(self, data: bytes) -> None:
        assert os.write(self.client_out, data) == len(data)

    def look(self) -> None:
        """Let the channel do what is to be done now."""
        self.channel.wait((), self.now_s)

    def heard(self) -> bytes:
        try:
            return os.read(self.client_in, 1 << 22)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        for end in (self.host_in, self.client_out, self.client_in, self.host_out):
            try:
                os.close(end)
            except OSError:  # a test has closed it
                continue


@pytest.fixture
def wire():
    made = Wire()
    yield made
    made.close()


def test_frames_come_in_order_and_the_end_is_none(wire):
    wire.send(encode(FrameType.JOBS) + encode(FrameType.STDIN, b"x"))
    os.close(wire.client_out)
    assert wire.channel.next_frame() == Frame(FrameType.JOBS, b"")
    assert wire.channel.peek() == Frame(FrameType.STDIN, b"x")
    assert wire.channel.next_frame() == Frame(FrameType.STDIN, b"x")
    assert wire.channel.next_frame() is None


def test_a_ping_is_answered_with_what_it_brought(wire):
    wire.send(encode(FrameType.PING, b"abc"))
    wire.look()
    assert wire.heard() == encode(FrameType.HOST_PONG, b"abc")


def test_a_client_that_hears_nothing_else_is_pinged(wire):
    wire.now_s += PING_AFTER_S - 1
    wire.look()
    assert wire.heard() == b""
    wire.now_s += 1
    wire.look()
    assert wire.heard() == encode(FrameType.HOST_PING)


def test_a_client_that_is_silent_is_lost(wire):
    wire.now_s += LOST_AFTER_S - 1
    wire.look()
    wire.now_s += 1
    with pytest.raises(ConnectionLost, match="silent"):
        wire.look()


def test_a_client_that_sends_a_frame_byte_by_byte_is_lost_though_it_is_never_silent(wire):
    frame = encode(FrameType.STDIN, bytes(1000))
    for byte in frame[:5]:
        wire.send(bytes((byte,)))
        wire.look()
        wire.now_s += LOST_AFTER_S / 5 - 0.001
    wire.send(frame[5:6])
    wire.look()
    wire.now_s += 0.006
    with pytest.raises(ConnectionLost, match="over one frame"):
        wire.look()


def test_what_a_client_does_not_read_is_kept_to_a_limit_and_then_it_is_lost(wire):
    line = Notice(line="x" * 4000)
    while not wire.channel.is_full:
        wire.channel.send(line)
    assert len(wire.channel._kept) < FULL_BYTES + 5000
    wire.now_s += LOST_AFTER_S / 2
    wire.send(encode(FrameType.BYE))  # it is not silent: it only does not read
    wire.look()
    wire.now_s += LOST_AFTER_S / 2
    with pytest.raises(ConnectionLost, match="read nothing"):
        wire.look()


def test_a_client_that_reads_late_gets_all_of_it(wire):
    reader, told = FrameReader(FrameType), 0
    for _ in range(400):
        wire.channel.send(Notice(line="x" * 4000))
    while told < 400:
        wire.look()
        told += len(list(reader.feed(wire.heard())))
    assert not wire.channel.is_full


def test_frames_that_nobody_takes_are_left_in_the_pipe(wire):
    for _ in range(4):
        wire.send(encode(FrameType.STDIN, bytes(100)) * MOST_FRAMES)
        wire.look()
    assert len(wire.channel.taken()) == MOST_FRAMES
    wire.look()
    assert wire.channel.has_frames


def test_what_is_to_be_run_waits_apart_and_there_is_one(wire):
    run = encode(FrameType.RUN, b'{"argv":[]}')
    wire.send(run + encode(FrameType.JOBS))
    assert wire.channel.next_frame() == Frame(FrameType.JOBS, b"")
    assert wire.channel.run
    wire.send(run)
    with pytest.raises(ProtocolMismatch, match="second run"):
        wire.look()


def test_an_end_in_the_middle_of_a_frame_is_a_loss(wire):
    wire.send(encode(FrameType.STDIN, b"abc")[:-1])
    wire.look()
    os.close(wire.client_out)
    with pytest.raises(ConnectionLost, match="middle"):
        wire.look()


def test_what_is_ready_besides_is_told(wire):
    readable, writable = os.pipe()
    assert wire.channel.wait([readable], wire.now_s, [writable]) == (set(), {writable})
    os.write(writable, b"x")
    assert wire.channel.wait([readable], wire.now_s) == ({readable}, set())
    os.close(readable)
    os.close(writable)
