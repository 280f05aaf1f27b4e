"""A build from the moment a launcher asks until its cargo is gone.

The lease is the launcher's connection together with its process. A connection that ends while the
launcher lives (it lost us, or we it) leaves the build as it is, watched by its process. A launcher
that is gone while its cargo lives was killed: its cargo is ended, as plain cargo would have been.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from forge.core.cargo_args import CargoArgs
from forge.core.workspace import CargoConfig


class BuildPhase(StrEnum):
    """Where a build stands."""

    RESOLVING = "resolving"  # its workspace is being found
    WAITING_FOR_DISK = "waiting for the disk"
    PREPARING = "preparing"  # its target dir is being made
    WAITING_FOR_SHIM = "waiting for the shim"
    STARTING = "starting"  # its jobserver is being made
    GRANTED = "granted"  # its launcher was told to start cargo
    RUNNING = "running"
    ORPHANED = "orphaned"  # its launcher is gone, its cargo was told to end


@dataclass(frozen=True, slots=True)
class Start:
    """How cargo is to be started. `tokens` None: it gets no jobserver from us."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    unset: tuple[str, ...]
    tokens: int | None


@dataclass(slots=True)
class Build:
    """One build. `conn` None: the connection ended and the processes are watched instead."""

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
    unset: tuple[str, ...] = ()
    jobserver: str | None = None
    cargo_pid: int | None = None
    cargo_gone: bool = False
    disk_tries: int = 0
    why: str = ""
    start: Start | None = None
    is_gated: bool = False
    notes: list[str] = field(default_factory=list)

    def enters(self, phase: BuildPhase, now_s: float) -> None:
        """Go to another phase."""
        self.phase = phase
        self.since = now_s

    @property
    def launcher_key(self) -> str:
        """The name under which its launcher is watched."""
        return f"{self.id}/launcher"

    @property
    def cargo_key(self) -> str:
        """The name under which its cargo is watched."""
        return f"{self.id}/cargo"
