"""What the outside tells the core, as values. `conn` is the daemon's number of a connection."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from forge.core.build_cgroup import BuildCgroup
from forge.core.disk_events import DiskEvent
from forge.core.inference_seen import ServerSeen
from forge.core.memory import Reading
from forge.core.messages import Message
from forge.core.room_events import RoomEvent
from forge.core.service_actions import ServiceEvent
from forge.core.settings import Settings
from forge.core.shim import Shim
from forge.core.snapshots import Room, Snapshot
from forge.core.tokens import Move
from forge.core.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Received:
    """A client sent a request."""

    conn: int
    message: Message


@dataclass(frozen=True, slots=True)
class Closed:
    """A connection ended, from either side."""

    conn: int


@dataclass(frozen=True, slots=True)
class Gone:
    """A watched process is gone. `key` is what the watch was asked for with."""

    key: str
    pid: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """The workspace of a request is known."""

    conn: int
    workspace: Workspace


@dataclass(frozen=True, slots=True)
class SnapshotsFound:
    """The snapshots that there are; `room` None: the disk they are on cannot be looked at."""

    snapshots: tuple[Snapshot, ...]
    room: Room | None
    swept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskProgressed:
    """How far a task is."""

    number: int
    done_bytes: int
    whole_bytes: int


@dataclass(frozen=True, slots=True)
class TaskDone:
    """A task is done. `snapshot` is what was saved; None: nothing had changed, or none was made."""

    number: int
    size_bytes: int
    took_s: float
    snapshot: Snapshot | None = None


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """A task came to nothing, and all is as it was before."""

    number: int
    slug: str
    reason: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class ShimReady:
    """The shim can be used."""

    shim: Shim


@dataclass(frozen=True, slots=True)
class ShimMissing:
    """There is no shim: no rustc, or it does not compile."""

    reason: str


@dataclass(frozen=True, slots=True)
class JobserverMade:
    """The FIFO of a build is there; `path` None: it could not be made."""

    build: str
    path: str | None


@dataclass(frozen=True, slots=True)
class TokensSeen:
    """How many bytes are in each build's FIFO now; one that cannot be read is left out."""

    in_fifo: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class HoldersCounted:
    """The most tokens that the living processes of each build can hold."""

    holders: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TokensMoved:
    """What was moved in truth, which may be less than was wished."""

    moves: tuple[Move, ...]


@dataclass(frozen=True, slots=True)
class MemoryMeasured:
    """A reading of memory, and what holders of bytes had resident then, by connection."""

    reading: Reading
    used_bytes: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class MemoryUnmeasured:
    """Memory cannot be read."""

    reason: str


@dataclass(frozen=True, slots=True)
class InferenceSeen:
    """Inference servers were looked at. `places` are the memory cgroups of those that have one."""

    seen: tuple[ServerSeen, ...]
    places: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InferenceUnseen:
    """Inference servers could not be looked at, which says nothing of them."""

    reason: str


@dataclass(frozen=True, slots=True)
class BuildsWeighed:
    """The cgroup of builds has another weight; with a `reason`, it has not."""

    weight: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ServerProtected:
    """What was done so that the kernel spares a server, and what the system refused."""

    name: str
    done: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LockSeen:
    """Whether a build's lock file is locked; one that does not exist is not."""

    build: str
    locked: bool


@dataclass(frozen=True, slots=True)
class BuildCgroupOpened:
    """Builds can run in a cgroup of their own."""

    cgroup: BuildCgroup


@dataclass(frozen=True, slots=True)
class BuildCgroupMissing:
    """Builds run where they are started, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class BuildsLimited:
    """The ceiling of builds was set; with a `reason`, it was not."""

    ceiling_bytes: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class LauncherSeen:
    """A launcher was looked at: `own_limit` names a limit that it would leave, if there is one."""

    build: str
    own_limit: str | None


@dataclass(frozen=True, slots=True)
class SettingsLoaded:
    """forge.toml was read, at the start or again."""

    settings: Settings
    conn: int | None = None


@dataclass(frozen=True, slots=True)
class SettingsRefused:
    """forge.toml is wrong; what held before still holds."""

    reason: str
    hint: str | None = None
    conn: int | None = None


@dataclass(frozen=True, slots=True)
class TargetDirEvicted:
    """A target dir is gone; with a `failure`, it is as it was, and that is why."""

    path: str
    freed_bytes: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Ending:
    """The machine or its user ends the daemon: SIGTERM."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event = (
    Received
    | Closed
    | Gone
    | Resolved
    | SnapshotsFound
    | TaskProgressed
    | TaskDone
    | TaskFailed
    | ShimReady
    | ShimMissing
    | JobserverMade
    | MemoryMeasured
    | MemoryUnmeasured
    | InferenceSeen
    | InferenceUnseen
    | BuildsWeighed
    | ServerProtected
    | TokensSeen
    | HoldersCounted
    | TokensMoved
    | LockSeen
    | BuildCgroupOpened
    | BuildCgroupMissing
    | BuildsLimited
    | LauncherSeen
    | SettingsLoaded
    | SettingsRefused
    | TargetDirEvicted
    | RoomEvent
    | ServiceEvent
    | Ending
    | Tick
    | DiskEvent
)
