"""A client of `forge serve` that says whatever a test wants, also what no client would say."""

import contextlib
import hashlib
import os
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import zstandard

import forge.serve.session  # noqa: F401  # once, for all that are forked off
from forge.cli.main import run
from forge.core import remote_tree
from forge.core.remote_frames import (
    FROM_HOST,
    GREETING,
    STDIN_WINDOW_BYTES,
    Frame,
    FrameReader,
    FrameType,
    encode,
    encode_data,
)
from forge.core.remote_messages import (
    Fetch,
    File,
    FileEnd,
    Hello,
    Need,
    Notice,
    Open,
    Ready,
    RemoteMessage,
    Run,
    StdinTaken,
    from_frame,
    to_frame,
)
from forge.core.remote_tree import Entry, Kind

CHECKOUT = "0123456789ab"
PATIENCE_S = 120.0
LONG_AGO_NS = 1_600_000_000_000_000_000

Content = bytes | tuple[bytes, int]
Files = Mapping[str, Content | None]
"""Path to content, with a mode where that matters; None is a symlink's place, see `links`."""


def tree_of(
    files: Mapping[str, Content],
    links: Mapping[str, str] | None = None,
    mtime_ns: int = LONG_AGO_NS,
) -> list[Entry]:
    """Return the entries of a tree with these files and symlinks."""
    entries: dict[str, Entry] = {}
    for path, content in files.items():
        data, mode = content if isinstance(content, tuple) else (content, 0o644)
        digest = hashlib.sha256(data).hexdigest()
        entries[path] = Entry(path, Kind.FILE, mode, mtime_ns, len(data), digest)
    for path, target in (links or {}).items():
        entries[path] = Entry(path, Kind.SYMLINK, 0o777, mtime_ns, target=target)
    for path in list(entries):
        while path := path.rpartition("/")[0]:
            entries[path] = Entry(path, Kind.DIRECTORY, 0o755, mtime_ns)
    return remote_tree.decode(remote_tree.encode(entries.values()))


def contents_of(files: Mapping[str, Content]) -> dict[str, bytes]:
    data = [one[0] if isinstance(one, tuple) else one for one in files.values()]
    return {hashlib.sha256(one).hexdigest(): one for one in data}


@dataclass
class Client:
    """One connection. `files` are what it has, by path."""

    process: "subprocess.Popen[bytes] | Forked"
    frames: list[Frame] = field(default_factory=list)
    stdout: bytes = b""
    stderr: bytes = b""
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = FrameReader(FROM_HOST)
        self._greeting = b""
        self._on_the_way = 0

    def send(self, *messages: RemoteMessage | bytes) -> None:
        """Send messages, or bytes as they are."""
        assert self.process.stdin
        for one in messages:
            self.process.stdin.write(one if isinstance(one, bytes) else to_frame(one))
        self.process.stdin.flush()

    def send_data(self, kind: FrameType, data: bytes) -> None:
        """Send bytes as a stream of zstd."""
        packed = zstandard.ZstdCompressor(level=1).compress(data)
        self.send(*encode_data(kind, packed))

    def hello(self, **changed: Any) -> RemoteMessage:
        values: dict[str, Any] = {
            "versions": [1],
            "client": "test",
            "now_ns": time.time_ns(),
        } | changed
        self.send(Hello(**values))
        return self.message()

    def frame(self, patience_s: float = PATIENCE_S) -> Frame | None:
        """Return the host's next frame; None when it has ended."""
        assert self.process.stdout
        until_s = time.monotonic() + patience_s
        while not self.frames:
            left_s = until_s - time.monotonic()
            assert left_s > 0, "the host says nothing"
            if not select.select([self.process.stdout], [], [], left_s)[0]:
                continue
            piece = os.read(self.process.stdout.fileno(), 1 << 20)
            if not piece:
                return None
            self.frames += self._reader.feed(self._after_greeting(piece))
        return self.frames.pop(0)

    def _after_greeting(self, piece: bytes) -> bytes:
        if self._greeting == GREETING:
            return piece
        missing = len(GREETING) - len(self._greeting)
        self._greeting += piece[:missing]
        assert GREETING.startswith(self._greeting), piece
        return piece[missing:]

    def message(self) -> RemoteMessage:
        """Return what the host says next, other than data and notices."""
        while (frame := self.frame()) is not None:
            if not self._keep(frame):
                return from_frame(frame)
        raise AssertionError(f"the host has ended: {self.told()!r}")

    def _keep(self, frame: Frame | None) -> bool:
        """Take note of output and the like; say whether it was that."""
        assert frame, "the host has ended"
        match frame.type:
            case FrameType.STDOUT:
                self.stdout += frame.payload
            case FrameType.STDERR:
                self.stderr += frame.payload
            case FrameType.NOTICE | FrameType.STDIN_TAKEN:
                self._note(from_frame(frame))
            case FrameType.HOST_PING:
                self.send(encode(FrameType.PONG, frame.payload))
            case _:
                return False
        return True

    def _note(self, message: RemoteMessage) -> None:
        if isinstance(message, StdinTaken):
            self._on_the_way -= message.size
        elif isinstance(message, Notice):
            self.notices.append(message.line)

    def sync(
        self,
        files: Mapping[str, Content],
        links: Mapping[str, str] | None = None,
        *,
        project: str = "tiny",
        checkout: str = CHECKOUT,
        entries: Sequence[Entry] | None = None,
        base: Sequence[Entry] | None = None,
        mtime_ns: int = LONG_AGO_NS,
    ) -> Ready | RemoteMessage:
        """Bring the host's tree to what we have, as a client does; return its last word."""
        have = list(entries) if entries is not None else tree_of(files, links, mtime_ns)
        manifest = remote_tree.encode(have)
        known = remote_tree.digest_of(remote_tree.encode(base)) if base is not None else None
        tree = remote_tree.digest_of(manifest)
        self.send(Open(project=project, checkout=checkout, tree=tree, base=known))
        contents = contents_of(files)
        if base is not None:
            patch = remote_tree.patch_between(base, have)
            self.send_data(FrameType.PATCH, remote_tree.encode(patch))
            self._pack(contents, remote_tree.packed_with(patch, base))
        while isinstance(answer := self.message(), Need):
            if answer.manifest:
                self.send_data(FrameType.MANIFEST, manifest)
                self.send(encode(FrameType.SYNC_END))
            else:
                self._pack(contents, [have[n] for n in remote_tree.from_spans(answer.blobs)])
        return answer

    def _pack(self, contents: Mapping[str, bytes], files: Iterable[Entry]) -> None:
        data = b"".join(contents[one.digest] for one in files)
        if data:
            self.send_data(FrameType.PACK, data)
        self.send(encode(FrameType.SYNC_END))

    def run(self, *argv: str, stdin: bytes | None = None, **options: Any) -> Any:
        """Run `cargo ARGV` to its end; return how that was."""
        self.stdout = self.stderr = b""
        self.send(Run(argv=list(argv), has_stdin=stdin is not None, **options))
        answer = self.message()
        if stdin is not None and answer.frame is FrameType.STARTED:
            for frame in encode_data(FrameType.STDIN, stdin):
                while self._on_the_way + len(frame) > STDIN_WINDOW_BYTES:
                    self._keep(self.frame())
                self._on_the_way += len(frame) - 5
                self.send(frame)
            self.send(encode(FrameType.STDIN_END))
        return self.message() if answer.frame is FrameType.STARTED else answer

    def fetch(self, base: str, *paths: str) -> dict[str, File | bytes]:
        """Return what the host sends of these files: their content, or why there is none."""
        self.send(Fetch(base=base, paths=list(paths)))
        found: dict[str, File | bytes] = {}
        for path in paths:
            file = self.message_or_data()
            assert isinstance(file, File), file
            found[path] = file
            if file.why or file.target:
                continue
            packed = b""
            while not isinstance(word := self.message_or_data(), FileEnd):
                assert isinstance(word, bytes)
                packed += word
            data = (
                zstandard.ZstdDecompressor().decompressobj().decompress(packed) if packed else b""
            )
            assert hashlib.sha256(data).hexdigest() == word.digest
            found[path] = data
        assert isinstance(self.message(), FileEnd)
        return found

    def message_or_data(self) -> RemoteMessage | bytes:
        frame = self.frame()
        assert frame
        return frame.payload if frame.type is FrameType.FILE_DATA else from_frame(frame)

    def bye(self) -> int:
        """Say goodbye; return the exit code of the other end."""
        self.send(encode(FrameType.BYE))
        return self.ended()

    def ended(self) -> int:
        """Wait for the other end to end; return its exit code."""
        with contextlib.suppress(BrokenPipeError):
            assert self.process.stdin
            self.process.stdin.close()
        return self.process.wait(timeout=60)

    def told(self) -> bytes:
        """Return what the other end has said on stderr, once it has ended."""
        self.process.wait(timeout=60)
        assert self.process.stderr
        return self.process.stderr.read()

    def stop(self) -> None:
        """End it whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=60)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]  # all three are pipes


def start_serve(
    home: Path,
    *options: str,
    key: str = "laptop",
    env: Mapping[str, str] | None = None,
    more_bytes: int = 0,
) -> Client:
    """Start `forge serve` with a state of its own below `home`.

    It is forked off, which costs a tenth of what a new Python does. `more_bytes`: so much more
    memory than we have may it take, 0 for any.
    """
    places = ("state-dir", "s"), ("cache-dir", "c"), ("config", "forge.toml")
    words = [word for name, place in places for word in (f"--{name}", str(home / place))]
    login = {"PATH": os.environ["PATH"], "HOME": str(Path.home()), **(env or {})}
    return Client(Forked(["serve", "--key", key, *words, *options], login, more_bytes))


class Forked:
    """A process that runs `forge ARGV`, with the streams and methods of a Popen."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], more_bytes: int) -> None:
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        ours_err, theirs_err = os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            try:
                for number, end in enumerate((theirs_in, theirs_out, theirs_err)):
                    os.dup2(end, number)
                os.closerange(3, 256)
                sys.stdin, sys.stdout, sys.stderr = (
                    os.fdopen(number, mode, closefd=False) for number, mode in enumerate("rww")
                )
                if more_bytes:
                    most = psutil.Process().memory_info().vms + more_bytes
                    resource.setrlimit(resource.RLIMIT_AS, (most, most))
                code = run(list(argv), env)
                sys.stdout.flush()
                os._exit(code)
            except BaseException:  # noqa: BLE001  # a child of ours must not go on as us
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(99)
        for end in (theirs_in, theirs_out, theirs_err):
            os.close(end)
        self.stdin, self.stdout = os.fdopen(ours_in, "wb"), os.fdopen(ours_out, "rb")
        self.stderr = os.fdopen(ours_err, "rb")

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float) -> int:
        until_s = time.monotonic() + timeout
        while (code := self.poll()) is None:
            assert time.monotonic() < until_s, "it does not end"
            time.sleep(0.005)
        return code

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
