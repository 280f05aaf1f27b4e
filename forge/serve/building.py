"""Runs what a client asked for, with its streams on the connection, and ends it with that.

What runs leads a session of its own. When the client is gone, all of the session is ended: first
asked, then killed, so that no lock and no core is held for somebody who is not there.
"""

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence

from forge.core.remote_frames import DATA_BYTES, STDIN_WINDOW_BYTES, Frame, FrameType, encode
from forge.core.remote_messages import Exit, Notice, Run, Signal, StdinTaken, Window, from_frame
from forge.errors import ConnectionLost, ProtocolMismatch
from forge.serve.channel import Channel
from forge.serve.ending import end_session, has_left_something

DRAIN_S = 0.5
"""How long output is waited for that somebody else still writes when the program has ended."""

POLL_S = 0.5


class Building:
    """One program that runs."""

    def __init__(self, argv: Sequence[str], cwd: str, env: Mapping[str, str], run: Run) -> None:
        self._terminal: int | None = None
        self._wakeup, self._wakeup_in = os.pipe()
        for end in (self._wakeup, self._wakeup_in):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakeup_in, warn_on_full_buffer=False)
        if run.pty:
            self._start_in_terminal(argv, cwd, env, run)
        else:
            self._start(argv, cwd, env, run)

    def _start(self, argv: Sequence[str], cwd: str, env: Mapping[str, str], run: Run) -> None:
        self.process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE if run.has_stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout and self.process.stderr
        self._outputs = {
            self.process.stdout.fileno(): FrameType.STDOUT,
            self.process.stderr.fileno(): FrameType.STDERR,
        }
        self._stdin = os.dup(self.process.stdin.fileno()) if self.process.stdin else None
        if self.process.stdin:
            self.process.stdin.close()
        self._prepare()

    def _start_in_terminal(
        self, argv: Sequence[str], cwd: str, env: Mapping[str, str], run: Run
    ) -> None:
        self._terminal, theirs = pty.openpty()
        self._resize(Window(columns=run.columns or 80, rows=run.rows or 24))
        self.process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # no threads
        )
        os.close(theirs)
        self._outputs = {self._terminal: FrameType.STDOUT}
        self._stdin = os.dup(self._terminal)
        self._prepare()

    def _prepare(self) -> None:
        self._pending = bytearray()
        self._unacknowledged = 0
        self._stdin_ends = False
        for end in (*self._outputs, self._stdin):
            if end is not None:
                os.set_blocking(end, False)

    def attend(self, channel: Channel, until_s: float) -> Exit:
        """Run it to its end; return how it ended. Raises ForgeError when the client is gone.

        `until_s`: when it has run for long enough, by the monotonic clock.
        """
        try:
            self._attend(channel, until_s)
        except BaseException:
            end_session(self.process)
            raise
        finally:
            self._close()
        if has_left_something(self.process):
            end_session(self.process)
        code = self.process.returncode
        if code >= 0:
            return Exit(code=code)
        return Exit(signal=signal.Signals(-code).name.removeprefix("SIG"))

    def _attend(self, channel: Channel, until_s: float) -> None:
        drained_s: float | None = None
        while self._outputs or self.process.poll() is None:
            now_s = time.monotonic()
            if self.process.poll() is not None:
                drained_s = drained_s or now_s + DRAIN_S
                if now_s >= drained_s:
                    return
            if now_s >= until_s:
                channel.send(Notice(line="the build took longer than its key allows, and is ended"))
                end_session(self.process)
            due_s = min(now_s + POLL_S, *(one for one in (drained_s, until_s) if one))
            self._pass(channel, due_s)
            if channel.is_at_end:
                raise ConnectionLost("the client is gone")

    def _pass(self, channel: Channel, due_s: float) -> None:
        readers = [self._wakeup, *(() if channel.is_full else self._outputs)]
        writers = [self._stdin] if self._stdin is not None and self._pending else []
        readable, writable = channel.wait(readers, due_s, writers)
        with contextlib.suppress(BlockingIOError):
            if self._wakeup in readable:
                os.read(self._wakeup, 512)
        for end in readable - {self._wakeup}:
            self._pass_on(channel, end)
        for frame in channel.taken():
            self._take(frame)
        if writable or self._stdin_ends:
            self._feed(channel)

    def _pass_on(self, channel: Channel, end: int) -> None:
        try:
            piece = os.read(end, DATA_BYTES)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the terminal open any more
            piece = b""
        if piece:
            channel.send_bytes(encode(self._outputs[end], piece))
        else:
            del self._outputs[end]

    def _take(self, frame: Frame) -> None:
        match frame.type:
            case FrameType.STDIN:
                self._unacknowledged += len(frame.payload)
                if self._unacknowledged > STDIN_WINDOW_BYTES:
                    raise ProtocolMismatch("the client sent more stdin than was asked for")
                self._pending += frame.payload
            case FrameType.STDIN_END:
                self._stdin_ends = True
            case FrameType.SIGNAL | FrameType.WINDOW:
                self._steer(from_frame(frame))
            case _:
                raise ProtocolMismatch(f"{frame.type.name} came while something runs")

    def _steer(self, message: object) -> None:
        if isinstance(message, Window):
            self._resize(message)
        elif isinstance(message, Signal) and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.Signals[f"SIG{message.name}"])

    def _resize(self, window: Window) -> None:
        if self._terminal is not None:
            size = struct.pack("HHHH", window.rows, window.columns, 0, 0)
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)

    def _feed(self, channel: Channel) -> None:
        """Write stdin as far as it is taken; a program that reads no more loses the rest."""
        if self._stdin is None:
            self._pending.clear()
        elif self._pending:
            try:
                taken = os.write(self._stdin, memoryview(self._pending)[:DATA_BYTES])
            except BlockingIOError:
                return
            except OSError:
                taken = len(self._pending)
            del self._pending[:taken]
            self._unacknowledged -= taken
            channel.send(StdinTaken(size=taken))
        if self._stdin_ends and not self._pending and self._stdin is not None:
            self._end_stdin(self._stdin)

    def _end_stdin(self, stdin: int) -> None:
        if self._terminal is not None:
            with contextlib.suppress(OSError):
                os.write(stdin, b"\4")  # a terminal's end of input
        os.close(stdin)
        self._stdin = None

    def _close(self) -> None:
        signal.set_wakeup_fd(-1)
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        for end in (self._wakeup, self._wakeup_in, self._stdin, self._terminal):
            if end is not None:
                os.close(end)
