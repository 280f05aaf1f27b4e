"""Looks at inference servers, as tests make them up."""

from typing import Any

from forge.core import actions, events
from forge.core.inference_need import Need
from forge.core.inference_policy import InferencePolicy
from forge.core.inference_seen import (
    Answer,
    MappedModel,
    Served,
    ServerProcess,
    ServerSeen,
    Slot,
)
from forge.core.inference_settings import ServerSpec
from tests.core.driver import Driver, settings

MIB = 1024 * 1024
GIB = 1024 * MIB
URL = "http://127.0.0.1:8080"
MODEL = "/models/m.gguf"
NEED = Need(weights_bytes=4 * GIB, kv_bytes=GIB, prompt_cache_bytes=2 * GIB)


def spec(name: str = "main") -> ServerSpec:
    return ServerSpec(name=name, url=URL)


def slots(*busy: bool, decoded: int | None = 0) -> tuple[Slot, ...]:
    return tuple(Slot(n, 4096, one, decoded=decoded) for n, one in enumerate(busy))


def process(
    resident_bytes: int = 4 * GIB, *, size_bytes: int = 4 * GIB, pid: int = 7, **fields: Any
) -> ServerProcess:
    """A process with one mapped model, of which so much is in memory."""
    given = {"started_s": 1.0, "anonymous_bytes": GIB, "locked_bytes": 0, "swapped_bytes": 0,
             "read_bytes": 0, "is_deep": True, "resident_bytes": resident_bytes + GIB}  # fmt: skip
    models = (MappedModel(MODEL, size_bytes, resident_bytes),)
    return ServerProcess(pid=pid, models=models, **{**given, **fields})


def seen(
    answer: Answer = Answer.READY, *, name: str = "main", of: ServerProcess | None = None,
    need: Need | None = None, **served: Any,
) -> ServerSeen:  # fmt: skip
    if answer is Answer.READY:
        served.setdefault("slots", slots(False, False))
        served.setdefault("model_path", MODEL)
    return ServerSeen(name, URL, 0.0, Served(answer, **served), of, need)


IDLE = seen()
BUSY = seen(slots=slots(True, False))


class Beside(Driver):
    """A core with an inference server to look at."""

    def __init__(self, *, cores: int = 4, names: tuple[str, ...] = ("main",), **policy: Any):
        servers = tuple(spec(name) for name in names)
        given = InferencePolicy(servers=servers, **policy)
        super().__init__(settings(cores=cores, inference=given))

    def look(self, *all_seen: ServerSeen, after_s: float = 0.25, **places: str) -> None:
        """Let so much time pass, and the servers be seen then."""
        self.now_s += after_s
        self.post(events.Tick())
        self.post(events.InferenceSeen(all_seen, places))

    def states(self, name: str = "main") -> list[str]:
        """The states that were told, in order."""
        logs = [one for one in self.asked(actions.Log) if one.decision == "inference.changed"]
        return [str(one.fields["state"]) for one in logs if one.fields["server"] == name]

    @property
    def server(self):
        return self.state.inference.servers["main"]
