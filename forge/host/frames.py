"""A stream of bytes as a row of zstd frames, each compressed, checked and unpacked by itself.

Frames are independent, so all cores can work on one stream; put one behind the other they are an
ordinary .zst file, which `zstd -d` reads. Which frames there must be, of which sizes and with which
digests, is told by whoever keeps the list: not one byte of a frame is used before its digest fits.
"""

import hashlib
import os
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import zstandard

from forge.errors import SnapshotRefused

FRAME_BYTES = 4 * 1024 * 1024
"""Large enough to compress as well as one long frame, small enough that 16 in flight are cheap."""

LEVEL = 1
"""Measured in docs/design/snapshots.md: the level at which a slow disk and a fast one both win."""

AHEAD = 2
"""Frames in flight for each thread: one at work, one that waits."""

_DIGEST_DIGITS = 32  # 128 bits: against damage, which does not seek collisions


class Frame(NamedTuple):
    """One frame of a stream: stored and original length, and the digest of what is stored."""

    stored_bytes: int
    content_bytes: int
    digest: str


def threads_for(cores: int) -> int:
    """Return how many threads compress: never all cores, since a model and builds live here too."""
    return max(1, min(8, cores))


class FrameWriter:
    """Writes a stream to a descriptor. Frames are compressed in `pool`, and written in order."""

    def __init__(self, descriptor: int, pool: ThreadPoolExecutor, threads: int) -> None:
        self.frames: list[Frame] = []
        self._descriptor = descriptor
        self._pool = pool
        self._most = threads * AHEAD
        self._pending: deque[tuple[Future[tuple[bytes, Frame]], bytearray]] = deque()
        self._spare: list[bytearray] = []  # used again: new memory costs a fault a page
        self._buffer = bytearray(FRAME_BYTES)
        self._filled = 0

    def write(self, data: bytes) -> None:
        """Append bytes."""
        left = memoryview(data)
        while left:
            piece = left[: FRAME_BYTES - self._filled]
            self._buffer[self._filled : self._filled + len(piece)] = piece
            left = left[len(piece) :]
            self._advance(len(piece))

    def write_file(self, source: int, length: int) -> int:
        """Append `length` bytes of a file; return how many it had, which may be less."""
        left = length
        while left:
            room = memoryview(self._buffer)[self._filled : min(FRAME_BYTES, self._filled + left)]
            count = os.readv(source, [room])
            room.release()
            if not count:
                break
            left -= count
            self._advance(count)
        return length - left

    def close(self) -> None:
        """Write what is left."""
        if self._filled:
            self._send()
        while self._pending:
            self._write_first()

    def _advance(self, count: int) -> None:
        self._filled += count
        if self._filled == FRAME_BYTES:
            self._send()

    def _send(self) -> None:
        if len(self._pending) >= self._most:
            self._write_first()
        future = self._pool.submit(_compress, self._buffer, self._filled)
        self._pending.append((future, self._buffer))
        self._buffer = self._spare.pop() if self._spare else bytearray(FRAME_BYTES)
        self._filled = 0

    def _write_first(self) -> None:
        future, buffer = self._pending.popleft()
        stored, frame = future.result()
        self._spare.append(buffer)
        write_all(self._descriptor, stored)
        self.frames.append(frame)


def read_frames(
    descriptor: int, frames: Sequence[Frame], pool: ThreadPoolExecutor, threads: int
) -> Generator[bytes, None, None]:
    """Give the content of a stream, frame by frame. Raises SnapshotRefused at the first bad one."""
    pending: deque[Future[bytes]] = deque()
    try:
        for frame in frames:
            if len(pending) >= threads * AHEAD:
                yield pending.popleft().result()
            stored = _read(descriptor, frame.stored_bytes)
            pending.append(pool.submit(_decompress, stored, frame))
        while pending:
            yield pending.popleft().result()
    finally:
        for one in pending:
            one.cancel()


def pack(content: bytes) -> bytes:
    """Compress something small into one frame."""
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(content)


def unpack(stored: bytes, most_bytes: int) -> bytes:
    """Reverse `pack`. Raises SnapshotRefused."""
    try:
        parameters = zstandard.get_frame_parameters(stored)
        if parameters.content_size > most_bytes:
            raise SnapshotRefused(f"{parameters.content_size} bytes are more than there can be")
        return zstandard.ZstdDecompressor().decompress(stored, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise SnapshotRefused(f"it cannot be unpacked: {error}") from None


def digest_of(data: bytes | memoryview) -> str:
    """Return the digest that tells whether bytes are still the same."""
    return hashlib.sha256(data).hexdigest()[:_DIGEST_DIGITS]


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of it: one write(2) takes less where a disk fills up or a signal comes."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _compress(buffer: bytearray, length: int) -> tuple[bytes, Frame]:
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    with memoryview(buffer) as whole, whole[:length] as content:
        stored = compressor.compress(content)
    return stored, Frame(len(stored), length, digest_of(stored))


def _decompress(stored: bytes, frame: Frame) -> bytes:
    if digest_of(stored) != frame.digest:
        raise SnapshotRefused("what is stored is not what was saved: its digest differs")
    content = unpack(stored, FRAME_BYTES)
    if len(content) != frame.content_bytes:
        raise SnapshotRefused(f"a frame has {len(content)} bytes, not {frame.content_bytes}")
    return content


def _read(descriptor: int, length: int) -> bytes:
    """Read exactly `length` bytes. Raises SnapshotRefused when the file ends before."""
    pieces, left = [], length
    while left:
        piece = os.read(descriptor, left)
        if not piece:
            raise SnapshotRefused(f"it ends {left} bytes before its end")
        pieces.append(piece)
        left -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
