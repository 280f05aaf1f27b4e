"""A mapped model on the virtual host: the kernel calls its pages available, and takes them first.

A server loads it in the first minute, then works and waits in turn. What of the demand is beyond
the machine is taken from the model, and is read back when there is room and the server works.
"""

from dataclasses import dataclass, replace

from forge.core import actions, events
from forge.core.inference_actions import LookAtInference
from forge.core.inference_need import Need
from forge.core.inference_policy import InferencePolicy
from forge.core.inference_seen import Answer, MappedModel, Served, ServerProcess, ServerSeen, Slot
from forge.core.inference_settings import ServerSpec
from forge.core.memory import Reading, Swap
from forge.core.state import State
from tests.sim.memory_day import MODEL_BYTES, Day
from tests.sim.memory_host import Host
from tests.sim.memory_ledger import TOTAL_BYTES
from tests.sim.memory_policies import READING_S, ByForge

LOADED_S = 60.0
WORKS_S, WAITS_S = 40.0, 20.0
LOOK_S = 0.02
TOKENS_PER_S = 10.0
URL = "http://127.0.0.1:8080"


@dataclass
class Model:
    """What of it is in memory, and the least that ever was once it was loaded."""

    resident_bytes: float = float(MODEL_BYTES)
    lowest_bytes: float = float(MODEL_BYTES)
    read_bytes: float = 0.0

    def pass_by(self, demand: float, *, is_busy: bool) -> None:
        """Take from it what is beyond the machine, or read back what there is room for."""
        room = min(float(MODEL_BYTES), MODEL_BYTES - (demand - TOTAL_BYTES))
        if room < self.resident_bytes:
            self.resident_bytes = max(0.0, room)
        elif is_busy and room > self.resident_bytes:
            self.read_bytes += room - self.resident_bytes
            self.resident_bytes = room
        self.lowest_bytes = min(self.lowest_bytes, self.resident_bytes)


class BesideModel(ByForge):
    """The core beside such a server; `is_known`: it is told of the server."""

    def __init__(self, host: Host, *, is_known: bool = True, check_every: int = 20) -> None:
        super().__init__(host, check_every=check_every)
        self.model = Model()
        if is_known:
            spec = ServerSpec(name="main", url=URL)
            policy = InferencePolicy(servers=(spec,), build_nice=0)
            self.state = State(replace(self.state.settings, inference=policy))

    @property
    def answer(self) -> Answer:
        return Answer.LOADING if self.host.now_s < LOADED_S else Answer.READY

    @property
    def is_busy(self) -> bool:
        return self.answer is Answer.READY and self.host.now_s % (WORKS_S + WAITS_S) < WORKS_S

    def check(self) -> None:
        self.model.pass_by(self.host.demand, is_busy=self.is_busy)
        super().check()

    def _perform(self, action: actions.Action) -> None:
        if isinstance(action, LookAtInference):
            seen = self._seen()
            self.host.later(LOOK_S, lambda: self._post(events.InferenceSeen((seen,))))
            return
        super()._perform(action)

    def _seen(self) -> ServerSeen:
        now_s = self.host.now_s
        slot = Slot(0, 4096, self.is_busy, decoded=int(now_s * TOKENS_PER_S))
        resident_bytes = int(self.model.resident_bytes)
        process = ServerProcess(
            pid=7, started_s=1.0, argv=("llama-server", "-t", "8"), resident_bytes=resident_bytes,
            anonymous_bytes=0, locked_bytes=0, swapped_bytes=0,
            read_bytes=int(self.model.read_bytes), is_deep=True,
            models=(MappedModel("/m", MODEL_BYTES, resident_bytes),),
        )  # fmt: skip
        served = Served(self.answer, slots=(slot,), model_path="/m")
        return ServerSeen("main", URL, now_s, served, process, Need(MODEL_BYTES, 0))

    def _measure(self, conns: tuple[int, ...]) -> None:
        """Measure as Linux does: what is mapped from a file and clean is available."""
        host = self.host
        available_bytes = min(TOTAL_BYTES, host.available_bytes + int(self.model.resident_bytes))
        reading = Reading(host.now_s, TOTAL_BYTES, available_bytes, Swap(0, 0))
        used = {conn: host.used_bytes(conn - 1_000_000) for conn in conns}
        host.later(READING_S / 2, lambda: self._post(events.MemoryMeasured(reading, used)))


def beside_model(day: Day, *, is_known: bool = True) -> tuple[Host, BesideModel]:
    """Run a day beside the model."""
    host = Host(day, lambda host: BesideModel(host, is_known=is_known))
    assert isinstance(host.policy, BesideModel)
    return host.go(), host.policy
