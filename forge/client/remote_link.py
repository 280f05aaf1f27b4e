"""The client's end of the connection: frames in and out, in one thread.

What cannot be written yet is kept, and whoever sends much waits while much of it is kept. Pings go
out and are answered here, and what the host only tells people is told here.
"""

import os
import select
import subprocess
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable

from forge.client.remote_ssh import why_no_greeting
from forge.client.talk import say
from forge.core.remote_frames import (
    FROM_HOST,
    GREETING,
    LOST_AFTER_S,
    MAX_NOISE_BYTES,
    PING_AFTER_S,
    Frame,
    FrameReader,
    FrameRefused,
    FrameType,
    encode,
)
from forge.core.remote_messages import (
    Error,
    MessageRefused,
    Notice,
    RemoteMessage,
    from_frame,
    to_frame,
)
from forge.core.text import printable
from forge.errors import ConnectionLost, ForgeError, ProtocolMismatch

READ_BYTES = 256 * 1024
FULL_BYTES = 1024 * 1024
SSH_GRACE_S = 5.0


class HostRefused(ForgeError):
    """The host answered, and went no further: the slug, the words and the code are its own."""

    slug = "host-refused"
    exit_code = os.EX_UNAVAILABLE

    def __init__(self, message: str, *, hint: str | None, refusal: str, exit_code: int) -> None:
        super().__init__(message, hint=hint)
        self.refusal = refusal
        self.exit_code = exit_code


class Link:
    """A connection to `forge serve`. Close it.

    Invariant: `_kept` is what was sent and is not written; frames come out in the order they came.
    """

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        host: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert process.stdin and process.stdout, "ssh has both ends of us"
        self._process, self._host, self._clock = process, host, clock
        self._in, self._out = process.stdout.fileno(), process.stdin.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._reader = FrameReader(FROM_HOST)
        self._noise: bytearray | None = bytearray()
        self._frames: deque[Frame] = deque()
        self._kept = bytearray()
        self._heard_s = self._sent_s = clock()

    @property
    def is_greeted(self) -> bool:
        """Say whether `forge serve` is there."""
        return self._noise is None

    @property
    def is_full(self) -> bool:
        """Say whether much is kept."""
        return len(self._kept) >= FULL_BYTES

    def send(self, message: RemoteMessage) -> None:
        """Send a message."""
        self.send_bytes(to_frame(message))

    def send_bytes(self, frame: bytes) -> None:
        """Send a frame that is written already."""
        self._kept += frame
        self._sent_s = self._clock()
        self._write()

    def send_all(self, frames: Iterable[bytes]) -> None:
        """Send many, no faster than they go."""
        for frame in frames:
            self.send_bytes(frame)
            while self.is_full:
                self.wait()

    def next(self) -> Frame:
        """Return the next frame. Raises ForgeError when the host has sent its last."""
        while not self._frames:
            self.wait()
        return self._frames.popleft()

    def taken(self) -> list[Frame]:
        """Return the frames that are there, without waiting."""
        frames = list(self._frames)
        self._frames.clear()
        return frames

    def expect(self, *kinds: type[RemoteMessage]) -> RemoteMessage:
        """Return the next message, which must be one of these."""
        frame = self.next()
        message = read(frame)
        if not isinstance(message, kinds):
            raise ProtocolMismatch(f"{frame.type.name} came from the host out of turn")
        return message

    def wait(
        self,
        readers: Collection[int] = (),
        until_s: float | None = None,
        *,
        writers: Collection[int] = (),
        listens: bool = True,
    ) -> set[int]:
        """Wait for the host or for one of some descriptors; return which of these are ready.

        Not `listens`: what the host says can wait, but for so long only.
        """
        now_s = self._clock()
        self._keep_alive(now_s)
        due_s = min(self._sent_s + PING_AFTER_S, self._heard_s + LOST_AFTER_S)
        due_s = due_s if until_s is None else min(due_s, until_s)
        ready, writable, _ = select.select(
            [*readers, self._in] if listens else list(readers),
            [*writers, self._out] if self._kept else list(writers),
            [],
            max(0.0, due_s - now_s),
        )
        if self._out in writable:
            self._write()
        if self._in in ready:
            self._read()
        return {*ready, *writable} - {self._in, self._out}

    def close(self) -> None:
        """End the connection; the host ends what was not detached."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        try:
            self._process.wait(SSH_GRACE_S if self.is_greeted else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def leave(self) -> None:
        """End the connection now, without waiting for anybody."""
        self._process.kill()
        self.close()

    def _keep_alive(self, now_s: float) -> None:
        if not self.is_greeted:  # ssh asks for a passphrase, perhaps, and has patience of its own
            self._heard_s = self._sent_s = now_s
        if now_s - self._heard_s >= LOST_AFTER_S:
            self._process.kill()
            raise ConnectionLost(f"nothing was heard of `{self._host}` for {LOST_AFTER_S:g} s")
        if now_s - self._sent_s >= PING_AFTER_S:
            self.send_bytes(encode(FrameType.PING))

    def _write(self) -> None:
        while self._kept:
            try:
                del self._kept[: os.write(self._out, self._kept)]
            except BlockingIOError:
                return
            except OSError:  # what the host said last, reading tells
                self._kept.clear()

    def _read(self) -> None:
        try:
            piece = os.read(self._in, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise ConnectionLost(f"`{self._host}` cannot be heard: {error.strerror}") from None
        if not piece:
            self._at_end()
        self._heard_s = self._clock()
        if self._noise is not None:
            piece = self._past_greeting(self._noise, piece)
        try:
            for frame in self._reader.feed(piece):
                self._sort(frame)
        except (FrameRefused, MessageRefused) as refused:
            raise ProtocolMismatch(f"`{self._host}` breaks the protocol: {refused}") from None

    def _past_greeting(self, noise: bytearray, piece: bytes) -> bytes:
        """Return what follows the greeting; nothing while it has not come."""
        noise += piece
        at = noise.find(GREETING)
        if at >= 0:
            self._noise = None
            return bytes(noise[at + len(GREETING) :])
        if len(noise) > MAX_NOISE_BYTES:
            self._process.kill()
            raise why_no_greeting(self._host, bytes(noise), None)
        return b""

    def _sort(self, frame: Frame) -> None:
        if frame.type is FrameType.HOST_PING:
            self.send_bytes(encode(FrameType.PONG, frame.payload))
        elif frame.type is FrameType.NOTICE:
            message = from_frame(frame)
            assert isinstance(message, Notice)
            say(message.line)
        elif frame.type is not FrameType.HOST_PONG or frame.payload:
            self._frames.append(frame)

    def _at_end(self) -> None:
        """Raise what the end of the host's output means."""
        if self._frames:
            return  # they come first
        try:
            code: int | None = self._process.wait(SSH_GRACE_S)
        except subprocess.TimeoutExpired:
            code = None
        if self._noise is not None:
            raise why_no_greeting(self._host, bytes(self._noise), code)
        raise ConnectionLost(f"the connection to `{self._host}` is gone")


def read(frame: Frame) -> RemoteMessage:
    """Read a message. Raises HostRefused for the host's refusal, and ProtocolMismatch."""
    try:
        message = from_frame(frame)
    except MessageRefused as refused:
        raise ProtocolMismatch(f"the host breaks the protocol: {refused}") from None
    if isinstance(message, Error):
        raise HostRefused(
            printable(message.message),
            hint=printable(message.hint) or None,
            refusal=message.slug,
            exit_code=message.exit_code,
        )
    return message
