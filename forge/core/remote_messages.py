"""What the frames that are not data say, typed and checked. Source: docs/remote-protocol.md.

A payload is a JSON object. A message class is its own schema: the annotation of a field has the
check that its value passes (core/remote_values.py). Unknown fields are ignored, so that a newer end
can talk to an older one; a field that is missing or wrong is an error that ends the connection.
"""

import json
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any, ClassVar

from forge.core.remote_frames import Frame, FrameType, encode
from forge.core.remote_tree import MAX_ENTRIES, MAX_FILE_BYTES
from forge.core.remote_values import (
    CHECKOUT,
    DIGEST,
    MAX_TEXT,
    NAME,
    Check,
    json_object,
    listed,
    mapped,
    matching,
    maybe,
    number,
    one_of,
    spans,
    text,
    truth,
)

MAX_ARGS = 4096
MAX_VARIABLES = 64
MAX_FETCHED = 10_000
MAX_JOBS = 1000
_HUGE = (1 << 63) - 1
_WORD = text(128 * 1024)
_SHORT = text(256)
_DIGEST = matching(DIGEST)
_NAME = matching(NAME)
_BASE = one_of("target", "tree")

SIGNALS = ("INT", "TERM", "HUP", "QUIT", "KILL", "USR1", "USR2", "TSTP", "CONT", "WINCH")
"""Signals that a client may send to what runs, by name: their numbers differ between systems."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteMessage:
    """What one frame says."""

    frame: ClassVar[FrameType]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello(RemoteMessage):
    """The client's first frame. `now_ns`: its clock, by which the host judges times of files."""

    frame = FrameType.HELLO
    versions: Annotated[list[int], listed(number(1, 1_000_000), 16)]
    client: Annotated[str, _SHORT]
    now_ns: Annotated[int, number(0, _HUGE)]
    system: Annotated[str, _SHORT] = ""
    machine: Annotated[str, _SHORT] = ""
    capabilities: Annotated[list[str], listed(_SHORT, 64)] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Open(RemoteMessage):
    """A client has this tree. `base`: the one of which the patch that follows makes it.

    Without `base` nothing follows until the host has answered.
    """

    frame = FrameType.OPEN
    project: Annotated[str, _NAME]
    checkout: Annotated[str, matching(CHECKOUT)]
    tree: Annotated[str, _DIGEST]
    base: Annotated[str | None, maybe(_DIGEST)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window(RemoteMessage):
    """How large the client's terminal is now."""

    frame = FrameType.WINDOW
    columns: Annotated[int, number(1, 10_000)]
    rows: Annotated[int, number(1, 10_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(RemoteMessage):
    """Run `cargo ARGV` in `cwd`, a directory of the tree (`.`: its root), once the tree is there.

    `argv` begins with the verb. `is_detached`: it goes on when the connection ends. `columns`: the
    width for cargo's progress bar, null for none. `pty`: stdin, stdout and stderr are a terminal of
    the host's, of `columns` and `rows`, and all output is STDOUT. `interactive`: a person waits.
    """

    frame = FrameType.RUN
    argv: Annotated[list[str], listed(_WORD, MAX_ARGS)]
    cwd: Annotated[str, text(MAX_TEXT)] = "."
    env: Annotated[dict[str, str], mapped(_SHORT, text(MAX_TEXT), MAX_VARIABLES)] = field(
        default_factory=dict
    )
    has_stdin: Annotated[bool, truth] = False
    is_detached: Annotated[bool, truth] = False
    pty: Annotated[bool, truth] = False
    columns: Annotated[int | None, maybe(number(1, 10_000))] = None
    rows: Annotated[int | None, maybe(number(1, 10_000))] = None
    interactive: Annotated[bool, truth] = False
    wait_timeout: Annotated[str, text(32)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal(RemoteMessage):
    """Send a signal to what runs."""

    frame = FrameType.SIGNAL
    name: Annotated[str, one_of(*SIGNALS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch(RemoteMessage):
    """Send these files: paths below the target dir or the tree, not following symlinks."""

    frame = FrameType.FETCH
    base: Annotated[str, _BASE]
    paths: Annotated[list[str], listed(text(MAX_TEXT), MAX_FETCHED)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attach(RemoteMessage):
    """Follow a job from byte `offset` of its output on, as if it had been started here."""

    frame = FrameType.ATTACH
    job: Annotated[str, _NAME]
    offset: Annotated[int, number(0, _HUGE)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome(RemoteMessage):
    """The host's first frame: which version is spoken, and who we are for it."""

    frame = FrameType.WELCOME
    version: Annotated[int, number(1, 1_000_000)]
    forge: Annotated[str, _SHORT]
    key: Annotated[str, _NAME]
    system: Annotated[str, _SHORT]
    machine: Annotated[str, _SHORT]
    now_ns: Annotated[int, number(0, _HUGE)]
    capabilities: Annotated[list[str], listed(_SHORT, 64)] = field(default_factory=list)
    max_files: Annotated[int, number(0, _HUGE)] = MAX_ENTRIES
    max_bytes: Annotated[int, number(0, _HUGE)] = MAX_FILE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Need(RemoteMessage):
    """What the host lacks: the whole manifest, or the contents of these entries, by index."""

    frame = FrameType.NEED
    manifest: Annotated[bool, truth] = False
    blobs: Annotated[list[list[int]], spans(MAX_ENTRIES)] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready(RemoteMessage):
    """The tree is there: where, and how much of it was written."""

    frame = FrameType.READY
    tree: Annotated[str, _DIGEST]
    root: Annotated[str, text()]
    written: Annotated[int, number(0, _HUGE)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(RemoteMessage):
    """It runs. `job` names it for ATTACH where it is detached. `target_dir` null: not known."""

    frame = FrameType.STARTED
    job: Annotated[str | None, maybe(_NAME)] = None
    target_dir: Annotated[str | None, maybe(text())] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StdinTaken(RemoteMessage):
    """So many more bytes of stdin may be sent."""

    frame = FrameType.STDIN_TAKEN
    size: Annotated[int, number(1, _HUGE)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit(RemoteMessage):
    """It has ended: by code or by signal, of which one is null.

    `changed` are Cargo.lock files of the tree that are not as the client sent them.
    """

    frame = FrameType.EXIT
    code: Annotated[int | None, maybe(number(0, 255))] = None
    signal: Annotated[str | None, maybe(_SHORT)] = None
    changed: Annotated[list[str], listed(text(), 64)] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class File(RemoteMessage):
    """A fetched file, whose content follows. `why` says why there is none; then nothing follows.

    A symlink has a `target`, and no content.
    """

    frame = FrameType.FILE
    path: Annotated[str, text()]
    mode: Annotated[int, number(0, 0o777)] = 0
    mtime_ns: Annotated[int, number(0, _HUGE)] = 0
    size: Annotated[int, number(0, MAX_FILE_BYTES)] = 0
    target: Annotated[str, text()] = ""
    why: Annotated[str, text()] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEnd(RemoteMessage):
    """All of the file was sent. `digest` is its SHA-256, empty when it changed meanwhile."""

    frame = FrameType.FILE_END
    digest: Annotated[str, text(64)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobList(RemoteMessage):
    """The key's detached jobs, newest first."""

    frame = FrameType.JOB_LIST
    jobs: Annotated[list[dict[str, Any]], listed(json_object, MAX_JOBS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoIs(RemoteMessage):
    """What the host is: for people, and for `forge remote doctor`."""

    frame = FrameType.INFO_IS
    info: Annotated[dict[str, Any], json_object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice(RemoteMessage):
    """A line for people."""

    frame = FrameType.NOTICE
    line: Annotated[str, text()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Error(RemoteMessage):
    """Why the host goes no further; the connection ends, and the client with `exit_code`."""

    frame = FrameType.ERROR
    slug: Annotated[str, _SHORT]
    message: Annotated[str, text()]
    hint: Annotated[str, text()] = ""
    exit_code: Annotated[int, number(1, 255)] = 70


_KINDS: tuple[type[RemoteMessage], ...] = (
    Hello, Open, Window, Run, Signal, Fetch, Attach,
    Welcome, Need, Ready, Started, StdinTaken, Exit, File, FileEnd, JobList, InfoIs, Notice, Error,
)  # fmt: skip
MESSAGES = {kind.frame: kind for kind in _KINDS}
_CHECKS: dict[type[RemoteMessage], dict[str, Check]] = {
    kind: {name: hint.__metadata__[0] for name, hint in kind.__annotations__.items()}
    for kind in _KINDS
}


class MessageRefused(ValueError):
    """A frame does not say what its type has to say."""


def to_frame(message: RemoteMessage) -> bytes:
    """Write a message as a frame; ValueError when it passes a limit, which the sender must not."""
    values = {one.name: getattr(message, one.name) for one in fields(message)}
    _check(type(message), values)
    return encode(message.frame, json.dumps(values, separators=(",", ":")).encode())


def from_frame(frame: Frame) -> RemoteMessage:
    """Read what a frame says. Raises MessageRefused."""
    kind = MESSAGES.get(frame.type)
    if kind is None:
        raise MessageRefused(f"{frame.type.name} says nothing")
    try:
        raw = json.loads(frame.payload.decode())
    except (ValueError, RecursionError):
        raise MessageRefused(f"{frame.type.name} is not JSON") from None
    if not isinstance(raw, dict):
        raise MessageRefused(f"{frame.type.name} is no JSON object")
    values = {one.name: raw[one.name] for one in fields(kind) if one.name in raw}
    for one in fields(kind):
        needed = one.default is MISSING and one.default_factory is MISSING
        if needed and one.name not in values:
            raise MessageRefused(f"{frame.type.name}: field `{one.name}` is missing")
    _check(kind, values)
    return kind(**values)


def _check(kind: type[RemoteMessage], values: dict[str, Any]) -> None:
    for name, value in values.items():
        try:
            _CHECKS[kind][name](value)
        except ValueError as error:
            raise MessageRefused(f"{kind.frame.name}: field `{name}` {error}") from None
