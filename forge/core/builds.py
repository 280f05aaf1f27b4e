"""A build from the moment a launcher asks until its cargo is gone.

The lease is the launcher's connection together with its process. A connection that ends while the
launcher lives (it lost us, or we it) leaves the build as it is, watched by its process. A launcher
that is gone while its cargo lives was killed: its cargo is ended, as plain cargo would have been.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from forge.core.cargo_args import CargoArgs
from forge.core.shares import Priority
from forge.core.target_modes import TargetMode
from forge.core.workspace import CargoConfig


@dataclass(frozen=True, slots=True)
class Again:
    """Which build another one carries on, and how often that was ended, or killed, for memory.

    `lost` is how often its disk was. A launcher brings `text` back as it got it.
    """

    number: int
    ended: int = 0
    killed: int = 0
    lost: int = 0

    @property
    def build(self) -> str:
        """The id of the first build."""
        return f"b{self.number}"

    @property
    def text(self) -> str:
        """Write it for the launcher: `b17/1/0`, or `b17/1/0/1` if its disk was lost."""
        lost = f"/{self.lost}" if self.lost else ""
        return f"{self.build}/{self.ended}/{self.killed}{lost}"

    @classmethod
    def read(cls, text: str | None) -> "Again | None":
        """Read what a launcher has brought back; None when that is none of ours."""
        found = _AGAIN.fullmatch(text or "")
        return cls(*(int(one or 0) for one in found.groups())) if found else None


MAX_NAME = 64
"""Names of clients and their addresses are no longer."""

_AGAIN = re.compile(r"b([0-9]{1,15})/([0-9]{1,3})/([0-9]{1,3})(?:/([0-9]{1,3}))?", re.ASCII)


class BuildPhase(StrEnum):
    """Where a build stands."""

    RESOLVING = "resolving"  # its workspace is being found
    WAITING_FOR_TARGET_DIR = "waiting for the target dir"  # another build has its lock
    QUEUED = "waiting in line"
    WAITING_FOR_DISK = "waiting for the disk"
    WAITING_FOR_ROOM = "waiting for room"  # something is deleted for it
    RESTORING = "waiting for a restore"  # its target dir is being restored, seeded or moved
    PREPARING = "preparing"  # its target dir is being made
    WAITING_FOR_SHIM = "waiting for the shim"
    STARTING = "starting"  # its jobserver is being made
    GRANTED = "granted"  # its launcher was told to start cargo
    RUNNING = "running"
    ORPHANED = "orphaned"  # its launcher is gone, its cargo was told to end

    @property
    def is_before_cargo(self) -> bool:
        """Say whether the launcher was not yet told to start cargo."""
        return self not in (BuildPhase.GRANTED, BuildPhase.RUNNING, BuildPhase.ORPHANED)


@dataclass(frozen=True, slots=True)
class Start:
    """How cargo is to be started. `tokens` None: it gets no jobserver from us."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    unset: tuple[str, ...]
    tokens: int | None


PAUSED_PHASES = frozenset((BuildPhase.WAITING_FOR_TARGET_DIR, BuildPhase.QUEUED))
"""Phases in which a build waits for other builds, and may lose patience."""


@dataclass(slots=True, eq=False)
class Build:
    """One build. `conn` None: the connection ended and the processes are watched instead.

    `lock` is the lock file that its cargo will take, `work_key` the name under which its cost is
    learned, `is_cold` whether its target dir was new or empty, `spent_s` how long it was in each
    phase. `lender` is the build inside whose test binary this one runs, or the reservation inside
    whose command: its units use their cores. `patience_s`: how long it may wait in line.
    `mode` says what of its project is in its target dir on the disk, `tmp_dir` where its compilers
    put temporary files. `waited_behind` are the builds that it has waited for
    there, with their workspace roots.
    `own_limit` names a memory limit that it was started below; `is_in_cgroup` says whether it went
    into the cgroup of builds, None where that is not known.
    `is_spilled`: its target dir is on the SSD, in a directory of ours; `failed_bytes` is what a
    part of it that has failed would have written.
    `is_provided`: its target dir was looked for among snapshots and siblings.
    `requeues`: its launcher can begin it anew, `is_requeued`: and was told to; `again`: the build
    that it carries on. `failed_s`: since when its launcher waits to hear what becomes of it, and
    `killed` is what was killed for memory. `lost_disk` says how its disk was lost, `awaits_disk`
    that the disk is looked at before it is judged.
    """

    id: str
    conn: int | None
    pid: int
    cwd: str
    args: CargoArgs
    env: Mapping[str, str]
    via: str
    interactive: bool
    parent: str | None
    began_at: float
    began_steady_s: float
    since: float
    phase: BuildPhase = BuildPhase.RESOLVING
    root: str | None = None
    base: str = "/"
    config: CargoConfig = field(default_factory=CargoConfig)
    target_dir: str | None = None
    mode: TargetMode = TargetMode.TARGET_DIR
    tmp_dir: str | None = None
    is_spilled: bool = False
    failed_bytes: int = 0
    has_waited_for_room: bool = False
    unset: tuple[str, ...] = ()
    jobserver: str | None = None
    cargo_pid: int | None = None
    cargo_gone: bool = False
    exit: int | None = None
    signal: int | None = None
    disk_tries: int = 0
    why: str = ""
    priority: Priority = Priority.BATCH
    lock: str | None = None
    work_key: str = ""
    is_cold: bool = False
    lender: str | None = None
    patience_s: float | None = None
    is_redirected: bool = False
    is_provided: bool = False
    is_compiled: bool = False
    is_cancelled: bool = False
    own_limit: str | None = None
    is_in_cgroup: bool | None = None
    requeues: bool = False
    is_requeued: bool = False
    again: Again | None = None
    failed_s: float | None = None
    killed: dict[str, str] = field(default_factory=dict)
    lost_disk: str | None = None
    awaits_disk: bool = False
    start: Start | None = None
    is_gated: bool = False
    notes: list[str] = field(default_factory=list)
    spent_s: dict[BuildPhase, float] = field(default_factory=dict)
    waited_behind: dict[str, str | None] = field(default_factory=dict)

    def enters(self, phase: BuildPhase, now_s: float) -> None:
        """Go to another phase."""
        self.spent_s = self.spent_until(now_s)
        self.phase = phase
        self.since = now_s

    def has_lost_patience(self, now_s: float) -> bool:
        """Say whether it has waited for as long as it was told to."""
        return self.patience_s is not None and now_s - self.began_steady_s >= self.patience_s

    def spent_until(self, now_s: float) -> dict[BuildPhase, float]:
        """Return how long it was in each phase, the one it is in included."""
        here_s = max(0.0, now_s - self.since)
        return {**self.spent_s, self.phase: self.spent_s.get(self.phase, 0.0) + here_s}

    @property
    def waited_s(self) -> float:
        """Return how long it took until its launcher was told to start cargo, in seconds."""
        return sum(spent_s for phase, spent_s in self.spent_s.items() if phase.is_before_cargo)

    @property
    def number(self) -> int:
        """Its number: builds that began earlier have lower ones."""
        return int(self.id[1:])

    @property
    def carried_on(self) -> Again:
        """The build that this one carries on: itself, if it is the first."""
        return self.again or Again(self.number)

    @property
    def order(self) -> int:
        """Its place in any line: where the build stood that it carries on."""
        return self.carried_on.number

    @property
    def name(self) -> str:
        """Its id and project, as people are told."""
        return f"{self.id} ({os.path.basename(self.root)})" if self.root else self.id

    @property
    def client(self) -> dict[str, str] | None:
        """Who on another machine has sent it: the name of the build key, and the address."""
        key = self.env.get("FORGE_IDENTITY", "")
        if not key:
            return None
        address = self.env.get("SSH_CONNECTION", "").partition(" ")[0]
        return {"key": key[:MAX_NAME], "from": address[:MAX_NAME]}

    @property
    def launcher_key(self) -> str:
        """The name under which its launcher is watched."""
        return f"{self.id}/launcher"

    @property
    def cargo_key(self) -> str:
        """The name under which its cargo is watched."""
        return f"{self.id}/cargo"
