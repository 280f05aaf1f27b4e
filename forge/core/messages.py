"""Requests as the daemon knows them. Source: docs/protocol.md.

A message class is its own schema: the annotation of each field says what JSON it takes. Unknown
fields are ignored, so that a newer client can talk to an older daemon.
"""

from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One request. `type_name` is its `type` on the wire."""

    type_name: ClassVar[str] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin(Message):
    """A launcher wants to start cargo."""

    type_name = "begin"
    pid: int
    cwd: str
    argv: list[str]
    env: dict[str, str]
    interactive: bool = False
    via: str = "forge"
    parent: str | None = None
    requeues: bool = False
    again: str | None = None
    client: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Message):
    """Cargo runs."""

    type_name = "started"
    pid: int
    entered: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Message):
    """Cargo has ended: by `exit` code or by `signal`."""

    type_name = "ended"
    exit: int | None = None
    signal: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt(Message):
    """A launcher whose daemon went away hands its running build to this one.

    `lender` is as a unit's.
    """

    type_name = "adopt"
    pid: int
    build: str
    cargo_pid: int
    cwd: str
    argv: list[str]
    target_dir: str | None = None
    jobserver: str | None = None
    tokens: int | None = None
    parent: str | None = None
    lender: str | None = None
    client: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Message):
    """What is going on?"""

    type_name = "status"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolve(Message):
    """Where would this command line build?"""

    type_name = "resolve"
    cwd: str
    argv: list[str]
    env: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskRequest(Message):
    """Do something with the RAM disk."""

    type_name = "disk"
    verb: str
    size_mib: int | None = None
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRequest(Message):
    """Save, restore, list or remove snapshots.

    `root` None: of all projects. `id` names one snapshot; None: the newest of the project.
    """

    type_name = "snapshot"
    verb: str
    root: str | None = None
    id: str | None = None
    replace: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomRequest(Message):
    """Evict, pin or unpin target dirs.

    `root` None: whatever is least worth its bytes, until `need_bytes` are free.
    """

    type_name = "room"
    verb: str
    root: str | None = None
    need_bytes: int | None = None
    dry_run: bool = False
    stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRequest(Message):
    """Move the `target/` of a project onto the RAM disk (`adopt`), or back (`disown`).

    `to_snapshot`: into a snapshot instead.
    """

    type_name = "move"
    verb: str
    root: str
    to_snapshot: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTargetMode(Message):
    """Build a project in another mode."""

    type_name = "set_target_mode"
    root: str
    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AboutPath(Message):
    """Whose is this path, and why is it still there?"""

    type_name = "about_path"
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload(Message):
    """Read forge.toml again now."""

    type_name = "reload"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(Message):
    """End the daemon; builds go on, the RAM disk stays."""

    type_name = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelBuild(Message):
    """End a build, wherever it stands."""

    type_name = "cancel_build"
    build: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPriority(Message):
    """Change the priority of a build."""

    type_name = "set_priority"
    build: str
    priority: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold(Message):
    """Start nothing more on the whole machine, or go on."""

    type_name = "hold"
    on: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class History(Message):
    """Which builds were there? At most `limit`, newest first; `failed`: no others."""

    type_name = "history"
    limit: int = 20
    root: str | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Explain(Message):
    """Why did a build take as long as it did?"""

    type_name = "explain"
    build: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget(Message):
    """Forget what builds of a workspace have cost (`root` null: of all); `builds`: them as well.

    `dry_run`: only say how much that is.
    """

    type_name = "forget"
    root: str | None = None
    builds: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Squeezes(Message):
    """When did an inference server lack memory? At most `limit`, newest first."""

    type_name = "squeezes"
    limit: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit(Message):
    """A rustc gate asks to start its rustc, or tells that it runs (`running`).

    `id` is the crate's name with its extra-filename; `externs` are the ids of what it depends on.
    `lender` is the build inside whose test binary it runs, or the reservation inside whose command,
    None when inside none.
    """

    type_name = "unit"
    build: str
    pid: int
    crate: str
    kinds: list[str]
    package: str | None = None
    id: str | None = None
    externs: list[str] = field(default_factory=list)
    uses_build_script: bool = False
    lender: str | None = None
    running: bool = False
    links: bool = False
    opt: str = "0"
    debug: str = "0"
    lto: str | None = None
    codegen_units: int | None = None
    target: str | None = None
    incremental: bool = False
    emit: list[str] = field(default_factory=list)
    metadata: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitEnded(Message):
    """What a unit has cost. `peak_kib` is the largest resident set of one process of it."""

    type_name = "unit_ended"
    exit: int | None = None
    signal: int | None = None
    wall_s: float = 0.0
    user_s: float = 0.0
    system_s: float = 0.0
    peak_kib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Link(Message):
    """A linker gate asks to start its linker."""

    type_name = "link"
    build: str
    pid: int
    crate: str | None = None
    output: str | None = None
    inputs: int = 0
    input_bytes: int = 0
    linker: str = ""
    linker_kind: str = "other"
    target: str | None = None
    running: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkEnded(UnitEnded):
    """What a link has cost."""

    type_name = "link_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled(Message):
    """A link was ended as asked, and waits for another `go`."""

    type_name = "cancelled"
    wall_s: float = 0.0
    user_s: float = 0.0
    system_s: float = 0.0
    peak_kib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Test(Message):
    """A test gate asks to start its test binary, or tells that it runs.

    `threads` is how many tests it was told to run at once, None when it was not told.
    """

    type_name = "test"
    build: str
    pid: int
    binary: str
    name: str
    threads: int | None = None
    running: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TestEnded(UnitEnded):
    """What a test binary has cost."""

    type_name = "test_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve(Message):
    """`forge reserve` asks for bytes and cores for a command, or tells that it runs (`running`).

    `reservation` is the id that an earlier daemon gave, with `running` alone. `lender` is the build
    or the reservation inside which it stands, None when inside none.
    """

    type_name = "reserve"
    pid: int
    cwd: str
    argv0: str
    memory_mib: int
    cores: int
    priority: str
    name: str | None = None
    wait_timeout_s: float | None = None
    lender: str | None = None
    running: bool = False
    reservation: str | None = None
    client: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReserveEnded(UnitEnded):
    """What a command has cost."""

    type_name = "reserve_ended"


_KINDS: tuple[type[Message], ...] = (
    Begin, Started, Ended, Adopt, Status, Resolve, DiskRequest, Reload, Stop, CancelBuild,
    SnapshotRequest, MoveRequest, RoomRequest, SetTargetMode, AboutPath,
    SetPriority, Hold, History, Explain, Forget, Squeezes, Unit, UnitEnded, Link, LinkEnded,
    Cancelled, Test, TestEnded, Reserve, ReserveEnded,
)  # fmt: skip
MESSAGES: dict[str, type[Message]] = {kind.type_name: kind for kind in _KINDS}
