"""Frames: what travels between a client and `forge serve`. Source: docs/remote-protocol.md.

A frame is its type (one byte), the length of its payload (four bytes, big-endian) and the payload.
Whatever reads frames says which types it takes and has a limit for each, so that no more than one
frame's limit is ever held of a sender who means harm, and its header alone is enough to refuse it.
"""

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

VERSION = 1
GREETING = b"\0forge-remote\n"
"""What the host's output begins with. What stands before it was said by a login's shell."""

MAX_NOISE_BYTES = 64 * 1024
"""How much of that a client reads before it gives up."""

KIB = 1024
MIB = 1024 * KIB
DATA_BYTES = 256 * KIB
"""Data travels in frames of at most this much."""

STDIN_WINDOW_BYTES = 1 * MIB
"""How much stdin may be on its way before the host has said that it took some."""

PING_AFTER_S = 15.0
"""Who has sent nothing for that long sends a ping."""

LOST_AFTER_S = 60.0
"""Who has heard nothing for that long takes the connection for lost."""

_HEADER = struct.Struct(">BI")


class FrameType(IntEnum):
    """What a payload is. A client sends those below 64, the host the others."""

    HELLO = 1
    OPEN = 2
    PATCH = 3  # data: zstd
    MANIFEST = 4  # data: zstd
    PACK = 5  # data: zstd
    SYNC_END = 6  # empty
    RUN = 7
    STDIN = 8  # data
    STDIN_END = 9  # empty
    WINDOW = 10
    SIGNAL = 11
    FETCH = 12
    ATTACH = 13
    JOBS = 14  # empty
    INFO = 15  # empty
    PING = 16  # a few bytes, which the pong brings back
    PONG = 17
    BYE = 18  # empty

    WELCOME = 65
    NEED = 66
    READY = 67
    STARTED = 68
    STDOUT = 69  # data
    STDERR = 70  # data
    STDIN_TAKEN = 71
    EXIT = 72
    FILE = 73
    FILE_DATA = 74  # data: zstd
    FILE_END = 75
    JOB_LIST = 76
    INFO_IS = 77
    NOTICE = 78
    HOST_PING = 79
    HOST_PONG = 80
    ERROR = 81


FROM_CLIENT = frozenset(one for one in FrameType if one < 64)
FROM_HOST = frozenset(FrameType) - FROM_CLIENT

DATA = frozenset(
    (
        FrameType.PATCH,
        FrameType.MANIFEST,
        FrameType.PACK,
        FrameType.STDIN,
        FrameType.STDOUT,
        FrameType.STDERR,
        FrameType.FILE_DATA,
    )
)
"""Types whose payload is bytes of a stream. They are not empty."""

EMPTY = frozenset(
    (FrameType.SYNC_END, FrameType.STDIN_END, FrameType.JOBS, FrameType.INFO, FrameType.BYE)
)
ECHOED = frozenset((FrameType.PING, FrameType.PONG, FrameType.HOST_PING, FrameType.HOST_PONG))

_LIMITS = {
    **dict.fromkeys(FrameType, 64 * KIB),
    **dict.fromkeys(DATA, DATA_BYTES),
    **dict.fromkeys(EMPTY, 0),
    **dict.fromkeys(ECHOED, 16),
    FrameType.RUN: 1 * MIB,
    FrameType.NEED: 4 * MIB,
    FrameType.JOB_LIST: 1 * MIB,
}


class Frame(NamedTuple):
    """One frame."""

    type: FrameType
    payload: bytes


class FrameRefused(ValueError):
    """What came is no frame that this end takes; nothing that follows it can be read."""


def limit_of(kind: FrameType) -> int:
    """Return the most bytes that a payload of this type has."""
    return _LIMITS[kind]


def encode(kind: FrameType, payload: bytes = b"") -> bytes:
    """Write one frame; ValueError when its payload is over the limit."""
    if len(payload) > _LIMITS[kind]:
        raise ValueError(f"{kind.name} of {len(payload)} bytes is over {_LIMITS[kind]}")
    return _HEADER.pack(kind, len(payload)) + payload


def encode_data(kind: FrameType, data: bytes | memoryview) -> Iterator[bytes]:
    """Write bytes of a stream as frames, as many as that takes."""
    for at in range(0, len(data), DATA_BYTES):
        yield encode(kind, bytes(data[at : at + DATA_BYTES]))


class FrameReader:
    """Turns bytes as they come into frames.

    Invariant: what is kept of a frame that is not complete is at most its header and its limit, and
    one piece that was fed. After FrameRefused it refuses everything.
    """

    def __init__(self, accepted: Iterable[FrameType]) -> None:
        self._accepted = frozenset(accepted)
        self._kept = bytearray()
        self._refusal = ""

    @property
    def is_between_frames(self) -> bool:
        """Say whether nothing is kept: a stream that ends here ends well."""
        return not self._kept

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """Take what came; yield the frames that are complete by now. Raises FrameRefused."""
        self._kept += piece
        at = 0
        try:
            while (end := self._end_of_frame(at)) is not None:
                kind = FrameType(self._kept[at])
                yield Frame(kind, bytes(self._kept[at + _HEADER.size : end]))
                at = end
        finally:
            del self._kept[:at]

    def _end_of_frame(self, at: int) -> int | None:
        if self._refusal:
            raise FrameRefused(self._refusal)
        if len(self._kept) < at + 1:
            return None
        kind = self._kept[at]
        if kind not in self._accepted:
            self._refuse(f"a frame of type {kind} is not taken here")
        if len(self._kept) < at + _HEADER.size:
            return None
        _, size = _HEADER.unpack_from(self._kept, at)
        if size > (limit := _LIMITS[FrameType(kind)]):
            self._refuse(f"{FrameType(kind).name} of {size} bytes is over {limit}")
        if not size and kind in DATA:
            self._refuse(f"{FrameType(kind).name} is empty")
        end = at + _HEADER.size + size
        return end if len(self._kept) >= end else None

    def _refuse(self, why: str) -> None:
        self._refusal = why
        raise FrameRefused(why)
