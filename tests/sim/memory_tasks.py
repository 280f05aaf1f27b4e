"""What runs on the virtual host, and what a policy is told of it."""

from dataclasses import dataclass, field
from typing import Protocol

from tests.sim.memory_day import Coming, Link, Stages, Unit


@dataclass(slots=True, eq=False)
class Task:
    """A rustc or a linker. `link` is what it calls at its end, `parent` who called it.

    While it runs it `is_running`; a paused one keeps its memory, and what it had still to do. A
    rustc `is_asleep` from when it calls its linker; `is_through` when that is done.
    """

    ticket: int
    build: int
    name: str
    run_s: float
    peak_bytes: float
    unit: Unit
    link: Link | None = None
    parent: "Task | None" = None
    started_s: float | None = None
    is_running: bool = False
    is_paused: bool = False
    is_asleep: bool = False
    is_through: bool = False
    full_at: float = 0.0
    done_at: float = 0.0
    slope: float = 0.0
    slope_then: float = 0.0  # before it was paused
    level: float = 0.0  # at `level_at`
    level_at: float = 0.0
    epoch: int = 0  # what was planned in an earlier one is void

    def bytes_at(self, work: float) -> float:
        return self.level + self.slope * (work - self.level_at)


@dataclass(slots=True)
class Cargo:
    """A build that has started: what it may ask for, and how much of its stage is left."""

    coming: Coming
    stages: Stages
    disk_step: float = 0.0
    stage: int = -1
    ready: list[Unit] = field(default_factory=list)
    asked: int = 0
    left: int = 0


class Policy(Protocol):
    """Says what may start. It calls the host's `begin`, `start`, `cancel`, `pause`, `resume`."""

    def arrive(self, number: int) -> None: ...
    def ask(self, task: Task) -> None: ...
    def ended(self, task: Task) -> None: ...
    def cancelled(self, task: Task) -> None: ...
    def left(self, number: int) -> None: ...
    def tick(self) -> None: ...
    def due_s(self) -> float: ...
    def check(self) -> None: ...
