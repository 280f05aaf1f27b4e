"""What the core wants done about inference servers; part of `actions.Action`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forge.core.inference_settings import ServerSpec


@dataclass(frozen=True, slots=True)
class LookAtInference:
    """Look at inference servers; at their memory as well if `deep`.

    Answered by `InferenceSeen` or `InferenceUnseen`.
    """

    servers: tuple[ServerSpec, ...]
    deep: bool


@dataclass(frozen=True, slots=True)
class WeighBuilds:
    """Write `value` into the file that weighs the cgroup of builds; `BuildsWeighed` answers.

    `weight` is what it means, where 100 is usual.
    """

    file: str
    value: int
    weight: int


@dataclass(frozen=True, slots=True)
class LowerBuilds:
    """Lower the priority of all processes below these watched cargos, as far as it is higher."""

    cargos: tuple[str, ...]
    nice: int


@dataclass(frozen=True, slots=True)
class ProtectServer:
    """See to it that the kernel spares a server, as far as it lets us; `ServerProtected` answers.

    `need_bytes` are to stay resident; 0: it is not known.
    """

    name: str
    pid: int
    started_s: float
    need_bytes: int


@dataclass(frozen=True, slots=True)
class RecordSqueeze:
    """Keep a squeeze; one of the same server that began at the same time is replaced."""

    began_at: float
    server: str
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TellSqueezes:
    """Answer a client with past squeezes, newest first."""

    conn: int
    limit: int


InferenceAction = (
    LookAtInference | WeighBuilds | LowerBuilds | ProtectServer | RecordSqueeze | TellSqueezes
)
