"""What the core wants done. The daemon performs actions one at a time, in order."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from forge.core.disk_actions import DiskAction
from forge.core.inference_actions import InferenceAction
from forge.core.learned import Entry
from forge.core.room_actions import RoomAction
from forge.core.service_actions import ServiceAction
from forge.core.snapshots import Snapshot
from forge.core.tasks import Task
from forge.core.tokens import Move


@dataclass(frozen=True, slots=True)
class Send:
    """Send one message on a connection, if it is still open."""

    conn: int
    message: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Watch:
    """Say `Gone(key, pid)` when the process is gone, also when it is gone already."""

    key: str
    pid: int


@dataclass(frozen=True, slots=True)
class Unwatch:
    """Forget a watch."""

    key: str


@dataclass(frozen=True, slots=True)
class EndOrphan:
    """Send SIGTERM to the cargo of a launcher that is gone, if it still is the one watched."""

    key: str


@dataclass(frozen=True, slots=True)
class EndTree:
    """Send SIGTERM to a watched cargo and to all that it has started, down to the leaves."""

    key: str


@dataclass(frozen=True, slots=True)
class ProbeLock:
    """See whether a build's lock file is locked; answered by `LockSeen`."""

    build: str
    path: str


@dataclass(frozen=True, slots=True)
class OpenBuildCgroup:
    """Make the cgroup of builds; answered by `BuildCgroupOpened` or `BuildCgroupMissing`."""


@dataclass(frozen=True, slots=True)
class LimitBuilds:
    """Set the ceiling of the cgroup of builds; answered by `BuildsLimited`."""

    directory: str
    version: int
    ceiling_bytes: int


@dataclass(frozen=True, slots=True)
class LookAtLauncher:
    """See whether a launcher has a memory limit of its own; answered by `LauncherSeen`, at once."""

    build: str
    pid: int


@dataclass(frozen=True, slots=True)
class Resolve:
    """Find the workspace of a command line; answered by `Resolved`."""

    conn: int
    cwd: str
    argv: tuple[str, ...]
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FindSnapshots:
    """List the snapshots in a directory; answered by `SnapshotsFound`."""

    directory: str


@dataclass(frozen=True, slots=True)
class RemoveSnapshots:
    """Delete snapshots; answered by `SnapshotsFound`."""

    directory: str
    snapshots: tuple[Snapshot, ...]


@dataclass(frozen=True, slots=True)
class BeginTask:
    """Begin a task; `TaskProgressed` tells how far it is, `TaskDone` or `TaskFailed` ends it."""

    task: Task


@dataclass(frozen=True, slots=True)
class StopTask:
    """Let a task end soon, with `TaskFailed`, unless it is done by then."""

    number: int


@dataclass(frozen=True, slots=True)
class RecordBuild:
    """Keep a build that is over, with its details and what was learned from it."""

    number: int
    record: Mapping[str, Any]
    details: Mapping[str, Any]
    learned: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class TellHistory:
    """Answer a client with past builds, newest first; `failed`: with those that failed."""

    conn: int
    limit: int
    root: str | None
    failed: bool


@dataclass(frozen=True, slots=True)
class TellBuild:
    """Answer a client with what is known of one build that is over."""

    conn: int
    build: str
    number: int


@dataclass(frozen=True, slots=True)
class ForgetPast:
    """Forget learned costs, of one workspace or of all, and with `builds` past builds.

    The client is told how much it was: `costs` as the core has counted them. `dry_run`: told alone.
    """

    conn: int
    root: str | None
    costs: int
    builds: bool
    dry_run: bool


@dataclass(frozen=True, slots=True)
class KeepNextBuild:
    """Keep the number of the next build, so that no two builds ever share an id."""

    number: int


@dataclass(frozen=True, slots=True)
class KeepHighWater:
    """Keep the most that the disk with this token ever held."""

    token: str
    high_water_bytes: int


@dataclass(frozen=True, slots=True)
class EnsureShim:
    """Find the shim or compile it, with the rustc on `search_path` (None: the daemon's PATH).

    Answered by `ShimReady` or `ShimMissing`.
    """

    search_path: str | None


@dataclass(frozen=True, slots=True)
class MakeJobserver:
    """Make the FIFO of a new build with `tokens` in it; answered by `JobserverMade`."""

    build: str
    path: str
    tokens: int


@dataclass(frozen=True, slots=True)
class AdoptJobserver:
    """Open the FIFO of a build that an earlier daemon started."""

    build: str
    path: str


@dataclass(frozen=True, slots=True)
class LookAtTokens:
    """Count the bytes in builds' FIFOs; answered by `TokensSeen`."""

    builds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CountHolders:
    """Bound what processes hold, by the watched cargo of each build; `HoldersCounted` answers."""

    cargos: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MoveTokens:
    """Put bytes into FIFOs and take some out; answered by `TokensMoved`."""

    moves: tuple[Move, ...]


@dataclass(frozen=True, slots=True)
class MeasureMemory:
    """Read memory, and what the trees below these processes have resident.

    `pids` are those of gates, by connection. Answered by `MemoryMeasured` or `MemoryUnmeasured`.
    """

    pids: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class RemoveJobserver:
    """Close and delete the FIFO of a build."""

    build: str


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """Read forge.toml; answered by `SettingsLoaded` or `SettingsRefused`."""

    conn: int | None = None


@dataclass(frozen=True, slots=True)
class Log:
    """Write one decision with the numbers behind it."""

    decision: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quit:
    """End the daemon."""


Action = (
    Send
    | Watch
    | Unwatch
    | EndOrphan
    | EndTree
    | ProbeLock
    | OpenBuildCgroup
    | LimitBuilds
    | LookAtLauncher
    | Resolve
    | FindSnapshots
    | RemoveSnapshots
    | BeginTask
    | StopTask
    | RecordBuild
    | TellHistory
    | TellBuild
    | ForgetPast
    | KeepNextBuild
    | KeepHighWater
    | EnsureShim
    | MakeJobserver
    | AdoptJobserver
    | LookAtTokens
    | CountHolders
    | MoveTokens
    | MeasureMemory
    | InferenceAction
    | RemoveJobserver
    | LoadSettings
    | RoomAction
    | ServiceAction
    | Log
    | Quit
    | DiskAction
)
