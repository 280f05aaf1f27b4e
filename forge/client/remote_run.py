"""While something runs on the host: output to us, stdin and signals to it, until it has ended.

The first Ctrl-C goes to the host, which ends the build as a terminal would; the second one leaves,
and the host ends the build because its connection is gone.
"""

import os
import signal
import time
from collections.abc import Callable

from forge.client.ending import die_by
from forge.client.remote_link import Link, read
from forge.client.remote_output import Output
from forge.client.remote_signals import Caught
from forge.client.remote_terminal import RawTerminal, size_of_terminal
from forge.core.remote_frames import STDIN_WINDOW_BYTES, Frame, FrameType, encode, encode_data
from forge.core.remote_messages import Exit, Signal, Started, StdinTaken, Window
from forge.errors import ProtocolMismatch

UNDECIDED_S = 0.05
LEAVE_AFTER_S = 5.0
_READ_BYTES = 64 * 1024
_CTRL_C, _CTRL_Z = b"\x03", b"\x1a"


class Running:
    """One thing that runs. `started` hears when it does, and says whether we leave it to itself.

    Invariant: at most the window is on its way to the host's stdin.
    """

    def __init__(
        self,
        link: Link,
        *,
        has_stdin: bool,
        is_raw: bool = False,
        started: Callable[[Started], bool],
    ) -> None:
        self.stdout, self.stderr = Output(1), Output(2)
        self._link = link
        self._stdin_is_open, self._window = has_stdin, STDIN_WINDOW_BYTES
        self._terminal, self._is_raw = RawTerminal(), is_raw
        self._started = started
        self._signals = Caught()
        self._interrupts = 0
        self._leave_at_s: float | None = None
        self._undecided_s = 0.0
        self._ended: Exit | None = None
        self._is_left = False

    def attend(self) -> Exit | None:
        """Stay until it has ended; None when it goes on without us."""
        try:
            with self._signals.caught(), self._terminal.entered(self._is_raw):
                while self._ended is None and not self._is_left:
                    self._turn()
                self.stdout.write_all()
                self.stderr.write_all()
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise BrokenPipeError(*error.args) from None
        return self._ended

    def _turn(self) -> None:
        """Do what is due, then wait for more."""
        outputs = [one for one in (self.stdout, self.stderr) if one.waits]
        readers = [self._signals.wakeup]
        if self._stdin_is_open and self._window and not self._link.is_full:
            readers.append(0)
        is_behind = self.stdout.is_full or self.stderr.is_full
        ready = self._link.wait(
            readers,
            self._due_s(),
            writers=[one.descriptor for one in outputs],
            listens=not is_behind,
        )
        for one in outputs:
            if one.descriptor in ready:
                one.write_some()
        if self._signals.wakeup in ready:
            for name in self._signals.taken():
                self._signal(name)
        if 0 in ready:
            self._read_stdin()
        for frame in self._link.taken():
            self._take(frame)
        self._decide()

    def _due_s(self) -> float | None:
        due_s = [self._leave_at_s] if self._leave_at_s is not None else []
        if self.stdout.keeps_something or self.stderr.keeps_something:
            due_s.append(self._undecided_s + UNDECIDED_S)
        return min(due_s) if due_s else None

    def _decide(self) -> None:
        now_s = time.monotonic()
        if self._leave_at_s is not None and now_s >= self._leave_at_s:
            self._leave(signal.SIGTERM)
        if now_s >= self._undecided_s + UNDECIDED_S:
            self.stdout.flush()
            self.stderr.flush()

    def _take(self, frame: Frame) -> None:
        if frame.type in (FrameType.STDOUT, FrameType.STDERR):
            output = self.stdout if frame.type is FrameType.STDOUT else self.stderr
            output.take(frame.payload)
            self._undecided_s = time.monotonic()
            self._interrupts = self._interrupts if not self._is_raw else 0
            return
        message = read(frame)
        if isinstance(message, Started):
            self._is_left = self._started(message)
        elif isinstance(message, StdinTaken):
            self._window = min(self._window + message.size, STDIN_WINDOW_BYTES)
        elif isinstance(message, Exit):
            self._ended = message
        else:
            raise ProtocolMismatch(f"{frame.type.name} came from the host out of turn")

    def _read_stdin(self) -> None:
        try:
            piece = os.read(0, min(_READ_BYTES, self._window))
        except OSError:
            piece = b""  # a terminal that is gone
        if not piece:
            self._stdin_is_open = False
            self._link.send_bytes(encode(FrameType.STDIN_END))
            return
        if self._is_raw:
            piece = self._typed(piece)
        self._window -= len(piece)
        for frame in encode_data(FrameType.STDIN, piece):
            self._link.send_bytes(frame)

    def _typed(self, piece: bytes) -> bytes:
        """Look for the keys that are ours as well."""
        if _CTRL_C in piece:
            self._interrupts += 1
            if self._interrupts > 1:  # it has not even echoed the first
                self._leave(signal.SIGINT)
        if _CTRL_Z in piece:
            self._stop()
        return piece.replace(_CTRL_Z, b"")

    def _signal(self, name: str) -> None:
        if name == "WINCH":
            size = size_of_terminal()
            if size:
                self._link.send(Window(columns=size[0], rows=size[1]))
            return
        if name == "TSTP":
            self._stop()
            return
        self._link.send(Signal(name=name))
        if name == "INT":
            self._interrupts += 1
            if self._interrupts > 1:
                self._leave(signal.SIGINT)
        elif name in ("TERM", "HUP", "QUIT") and self._leave_at_s is None:
            self._leave_at_s = time.monotonic() + LEAVE_AFTER_S

    def _stop(self) -> None:
        """Stop with what runs there, and go on with it."""
        self._link.send(Signal(name="TSTP"))
        self._terminal.leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        if self._is_raw:
            self._terminal.enter()
        self._link.send(Signal(name="CONT"))

    def _leave(self, number: int) -> None:
        """End at once; without its connection the host ends what runs."""
        self._terminal.leave()
        self._link.leave()
        die_by(number)
