"""What is seen of an inference server: what it answers, and the process behind its port.

None means that it is not known: an endpoint that is off, a process that is not ours to inspect.
"""

from dataclasses import dataclass
from enum import StrEnum

from forge.core.inference_need import Need


class Answer(StrEnum):
    """How a server answers."""

    NONE = "none"  # nobody listens
    SLOW = "slow"  # somebody listens, and has not answered in time: busy, or hung
    LOADING = "loading"  # it says so, by 503
    READY = "ready"
    STRANGER = "stranger"  # what answers is no llama-server


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot. `tokens` are in its context now, `decoded` were generated for this request."""

    id: int
    context_tokens: int
    is_busy: bool
    is_speculative: bool | None = None
    tokens: int | None = None
    decoded: int | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """What a server says of itself.

    Totals are counters since its start. `shares_context`: all slots draw on one pool of
    `context_tokens`, so theirs are not to be added up. `missing` tells what it would not tell, and
    why: `/metrics: off (start it with --metrics)`.
    """

    answer: Answer
    reason: str = ""
    took_s: float | None = None
    slots: tuple[Slot, ...] | None = None
    busy_slots: int | None = None
    deferred: int | None = None
    context_tokens: int | None = None
    shares_context: bool | None = None
    prompt_tokens_total: int | None = None
    predicted_tokens_total: int | None = None
    predicted_s_total: float | None = None
    model_path: str | None = None
    build: str | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MappedModel:
    """A model's file: how much of it is mapped, and how much of that is in memory.

    A server with layers on a GPU has let go of them. Where mappings cannot be seen, the whole file
    counts.
    """

    path: str
    size_bytes: int
    resident_bytes: int | None


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """The process behind the port. Faults, reads and refaults are counters since its start.

    `footprint_bytes`: macOS' phys_footprint; RSS is wrong there by an order of magnitude.
    `read_bytes` are read from disk; `refaults` are pages of its cgroup that were evicted before.
    `system_wired_bytes` is macOS', of all processes. It, `refaults` and `models` are looked at only
    if the look `is_deep`: else no models does not mean that none is mapped.
    """

    pid: int
    started_s: float
    argv: tuple[str, ...] | None = None
    resident_bytes: int | None = None
    anonymous_bytes: int | None = None
    locked_bytes: int | None = None
    swapped_bytes: int | None = None
    footprint_bytes: int | None = None
    major_faults: int | None = None
    read_bytes: int | None = None
    refaults: int | None = None
    models: tuple[MappedModel, ...] = ()
    is_deep: bool = False
    system_wired_bytes: int | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerSeen:
    """One look at one server. `at_s` is the steady clock; `no_process`, `no_need` say why not."""

    name: str
    url: str
    at_s: float
    served: Served
    process: ServerProcess | None = None
    need: Need | None = None
    no_process: str = ""
    no_need: str = ""
