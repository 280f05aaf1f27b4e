"""Streams of zstd in frames: read in pieces, so that a small frame cannot become much at once."""

import contextlib
from collections.abc import Iterator

import zstandard

from forge.core.remote_frames import FrameType
from forge.errors import ConnectionLost, SourcesRefused
from forge.serve.channel import Channel

MAX_WINDOW_BYTES = 8 << 20
PIECE_BYTES = 256 * 1024


class _Frames:
    """What the next frames of one type hold, as a file to read; another frame is its end."""

    def __init__(self, channel: Channel, kind: FrameType) -> None:
        self._channel, self._kind = channel, kind
        self._rest = b""

    def read(self, size: int) -> bytes:
        if not self._rest:
            frame = self._channel.peek()
            if frame is None:
                raise ConnectionLost("the client went away while it was sending")
            if frame.type is not self._kind:
                return b""
            self._channel.next_frame()
            self._rest = frame.payload
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


@contextlib.contextmanager
def opened_stream(channel: Channel, kind: FrameType) -> Iterator[zstandard.ZstdDecompressionReader]:
    """Open the stream that comes in frames of a type. Raises SourcesRefused when it is none."""
    inflater = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    try:
        with inflater.stream_reader(_Frames(channel, kind)) as stream:  # type: ignore[arg-type]  # it reads, no more
            yield stream
    except zstandard.ZstdError as error:
        raise SourcesRefused(f"{kind.name} is no stream of zstd: {error}") from None


def pieces_of(stream: zstandard.ZstdDecompressionReader, size: int) -> Iterator[bytes]:
    """Yield exactly so many bytes of a stream. Raises SourcesRefused where it has fewer."""
    while size:
        piece = stream.read(min(size, PIECE_BYTES))
        if not piece:
            raise SourcesRefused("the pack ends before all files are there")
        size -= len(piece)
        yield piece


def inflated(channel: Channel, kind: FrameType, most: int) -> bytes:
    """Return all of a stream. Raises SourcesRefused where that is over a limit."""
    found = bytearray()
    with opened_stream(channel, kind) as stream:
        while piece := stream.read(PIECE_BYTES):
            found += piece
            if len(found) > most:
                raise SourcesRefused(f"{kind.name} is over the limit of {most} bytes")
    return bytes(found)
