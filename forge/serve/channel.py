"""The host's end of the connection: frames in and out, without ever waiting for ever.

One thread reads, writes and waits, with `select`. What cannot be written yet is kept, and whoever
makes output stops while much of it is kept (`is_full`), so a client that reads nothing costs no
memory and can still send signals. Who is silent, or takes a minute over one frame, is lost.
"""

import os
import select
import time
from collections import deque
from collections.abc import Callable, Collection

from forge.core.remote_frames import (
    FROM_CLIENT,
    LOST_AFTER_S,
    PING_AFTER_S,
    Frame,
    FrameReader,
    FrameRefused,
    FrameType,
    encode,
)
from forge.core.remote_messages import RemoteMessage, to_frame
from forge.errors import ConnectionLost, ProtocolMismatch

READ_BYTES = 256 * 1024
FULL_BYTES = 1024 * 1024
"""With so much kept for the client, nothing more is read of what runs."""

MOST_FRAMES = 16
"""With so many frames that nobody has taken, no more are read."""


class Channel:
    """Frames over two descriptors, which are made non-blocking.

    A client may say early what is to be run: `run` is set aside until the tree is there.
    """

    def __init__(
        self, incoming: int, outgoing: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        os.set_blocking(incoming, False)
        os.set_blocking(outgoing, False)
        self._incoming, self._outgoing = incoming, outgoing
        self._clock = clock
        self._reader = FrameReader(FROM_CLIENT)
        self._frames: deque[Frame] = deque()
        self._kept = bytearray()
        self._heard_s = self._sent_s = clock()
        self._frame_began_s: float | None = None
        self.run: Frame | None = None
        self.is_at_end = False

    @property
    def is_full(self) -> bool:
        """Say whether the client is behind with reading."""
        return len(self._kept) >= FULL_BYTES

    @property
    def has_frames(self) -> bool:
        """Say whether there is a frame to take."""
        return bool(self._frames)

    def send(self, message: RemoteMessage) -> None:
        """Send a message, or keep it until it can be sent."""
        self.send_bytes(to_frame(message))

    def send_bytes(self, data: bytes) -> None:
        """Send what is a frame, or the greeting."""
        if not self._kept:
            self._sent_s = self._clock()  # patience with its reading begins now
        self._kept += data
        self._write()

    def flush(self) -> None:
        """Wait until all is sent. Raises ConnectionLost."""
        while self._kept:
            self.wait((), None)

    def flush_some(self) -> None:
        """Wait while much is kept."""
        while self.is_full:
            self.wait((), None)

    def next_frame(self, patience_s: float | None = None) -> Frame | None:
        """Return the next frame; None at the end of the client's input. Raises ForgeError."""
        until_s = None if patience_s is None else self._clock() + patience_s
        while not self._frames:
            if self.is_at_end:
                return None
            if until_s is not None and self._clock() >= until_s:
                raise ConnectionLost(f"the client sent nothing for {patience_s:g} s")
            self.wait((), until_s)
        return self._frames.popleft()

    def peek(self) -> Frame | None:
        """Return the next frame and leave it there; None at the end."""
        frame = self.next_frame()
        if frame is not None:
            self._frames.appendleft(frame)
        return frame

    def taken(self) -> list[Frame]:
        """Return the frames that are there, without waiting."""
        frames = list(self._frames)
        self._frames.clear()
        return frames

    def wait(
        self, readers: Collection[int], until_s: float | None, writers: Collection[int] = ()
    ) -> tuple[set[int], set[int]]:
        """Wait for the client, or for one of some descriptors; say which of these are ready.

        Raises ConnectionLost and ProtocolMismatch.
        """
        now_s = self._clock()
        self._keep_alive(now_s)
        due_s = min(self._due_s(), until_s if until_s is not None else self._due_s())
        ours_in = [self._incoming] if self._listens else []
        ours_out = [self._outgoing] if self._kept else []
        ready_in, ready_out, _ = select.select(
            [*ours_in, *readers], [*ours_out, *writers], [], max(0.0, due_s - now_s)
        )
        if self._outgoing in ready_out:
            self._write()
        if self._incoming in ready_in:
            self._read()
        return set(ready_in) - {self._incoming}, set(ready_out) - {self._outgoing}

    @property
    def _listens(self) -> bool:
        return not self.is_at_end and len(self._frames) < MOST_FRAMES

    def _due_s(self) -> float:
        """Return when something is to be done though nothing happens."""
        due_s = [self._sent_s + (LOST_AFTER_S if self._kept else PING_AFTER_S)]
        if self._listens:
            due_s.append(self._heard_s + LOST_AFTER_S)
            if self._frame_began_s is not None:
                due_s.append(self._frame_began_s + LOST_AFTER_S)
        return min(due_s)

    def _keep_alive(self, now_s: float) -> None:
        began_s = self._frame_began_s
        if self._listens:
            if now_s - self._heard_s >= LOST_AFTER_S:
                raise ConnectionLost(f"the client was silent for {LOST_AFTER_S:g} s")
            if began_s is not None and now_s - began_s >= LOST_AFTER_S:
                raise ConnectionLost(f"the client took {LOST_AFTER_S:g} s over one frame")
        if self._kept:
            if now_s - self._sent_s >= LOST_AFTER_S:
                raise ConnectionLost(f"the client read nothing for {LOST_AFTER_S:g} s")
        elif now_s - self._sent_s >= PING_AFTER_S:
            self.send_bytes(encode(FrameType.HOST_PING))

    def _read(self) -> None:
        try:
            piece = os.read(self._incoming, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise ConnectionLost(f"the client cannot be heard: {error.strerror}") from None
        if not piece:
            self.is_at_end = True
            if not self._reader.is_between_frames:
                raise ConnectionLost("the client went away in the middle of a frame")
            return
        self._heard_s = self._clock()
        try:
            for frame in self._reader.feed(piece):
                self._frame_began_s = None
                self._sort(frame)
        except FrameRefused as refused:
            raise ProtocolMismatch(f"the client does not keep to the protocol: {refused}") from None
        if self._reader.is_between_frames:
            self._frame_began_s = None
        elif self._frame_began_s is None:
            self._frame_began_s = self._heard_s

    def _sort(self, frame: Frame) -> None:
        if frame.type is FrameType.PING:
            self._kept += encode(FrameType.HOST_PONG, frame.payload)
            self._write()
            if len(self._kept) > 4 * FULL_BYTES:
                raise ConnectionLost("the client sends pings and reads no answer")
        elif frame.type is FrameType.RUN:
            if self.run:
                raise ProtocolMismatch(
                    "the client asked for a second run before the first was done"
                )
            self.run = frame
        elif frame.type is not FrameType.PONG:
            self._frames.append(frame)

    def _write(self) -> None:
        while self._kept:
            try:
                sent = os.write(self._outgoing, memoryview(self._kept)[:READ_BYTES])
            except BlockingIOError:
                return
            except OSError as error:
                raise ConnectionLost(f"the client is gone: {error.strerror}") from None
            del self._kept[:sent]
            self._sent_s = self._clock()
