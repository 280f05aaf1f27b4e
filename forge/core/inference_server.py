"""One inference server: what it is doing, from one look to the next.

What it answers tells what it does, the process behind the port what it has. A server that does not
answer in time is not dead: between two batches of a large prompt it answers nobody. So it keeps its
last state, and that it is slow is said beside it.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from forge.core.inference_need import Need
from forge.core.inference_residency import Residency
from forge.core.inference_seen import Answer, Served, ServerProcess, ServerSeen

IDLE_AFTER_S = 0.5
"""It is idle after so long without a request: between two of one client's it is not worth it."""

HUNG_AFTER_S = 120.0
"""One that has not answered for so long keeps its memory, and no cores any more."""

SPEED_OVER_S = 3.0
"""Tokens each second are counted over so long."""

CORES_SHARE = 8
"""A server of which no threads are known is left one core in so many."""


class ServerState(StrEnum):
    """What a server does."""

    ABSENT = "absent"  # nobody listens, or somebody else does
    LOADING = "loading"
    IDLE = "idle"
    BUSY = "busy"
    SQUEEZED = "squeezed"  # a part of what it needs is not in memory


@dataclass(slots=True)
class Server:
    """What is known of one server. Invariant: one that is absent has no process and needs nothing.

    `mapped_bytes` are what it had mapped of models at the last look at its memory.
    `activity` is its state but for being squeezed: a server that is may be idle or busy.
    """

    name: str
    url: str
    activity: ServerState = ServerState.ABSENT
    since_s: float = 0.0
    reason: str = ""
    model_path: str | None = None
    served: Served | None = None
    process: ServerProcess | None = None
    need: Need | None = None
    no_process: str = ""
    no_need: str = ""
    slow_since_s: float | None = None
    generated: float = 0.0
    residency: Residency = field(default_factory=Residency)
    mapped_bytes: int = 0
    _asked_s: float = float("-inf")
    _decoded: dict[int, int] = field(default_factory=dict)
    _total: int | None = None
    _trail: deque[tuple[float, float]] = field(default_factory=deque)

    @property
    def state(self) -> ServerState:
        """What it does, in one word."""
        is_up = self.activity in (ServerState.IDLE, ServerState.BUSY)
        return ServerState.SQUEEZED if is_up and self.residency.is_short else self.activity

    @property
    def is_here(self) -> bool:
        """Say whether there is such a server."""
        return self.activity is not ServerState.ABSENT

    def look(self, seen: ServerSeen, now_s: float) -> None:
        """Take a look in."""
        self._identify(seen)
        activity = self._activity(seen.served, now_s)
        if activity is not self.activity:
            self.activity, self.since_s = activity, now_s
        self.reason = seen.served.reason
        if activity is ServerState.ABSENT:
            self._leave()
            return
        self.need = seen.need or self.need
        self.no_process, self.no_need = seen.no_process, seen.no_need
        if seen.served.answer is Answer.READY:
            self.served = seen.served
            self._count(seen.served, now_s)
        if seen.process:
            self.process = seen.process
            if seen.process.is_deep:
                self.mapped_bytes = sum(one.size_bytes for one in seen.process.models)
                is_ready = activity is not ServerState.LOADING
                self.residency.look(seen.process, self.generated, now_s, is_ready=is_ready)

    def is_hung(self, now_s: float) -> bool:
        """Say whether it has been silent for so long that nobody can be waiting for its cores."""
        return self.slow_since_s is not None and now_s - self.slow_since_s >= HUNG_AFTER_S

    def wants_cores(self, now_s: float) -> bool:
        """Say whether cores are to be kept free for it."""
        is_at_work = self.activity in (ServerState.BUSY, ServerState.LOADING)
        return is_at_work and not self.is_hung(now_s)

    def tokens_per_s(self, now_s: float) -> float | None:
        """Return how fast it generates; None when it does not, or nothing tells."""
        if self.activity is not ServerState.BUSY or len(self._trail) < 2:
            return None
        (first_s, first), (last_s, last) = self._trail[0], self._trail[-1]
        if last_s <= first_s or now_s - last_s > SPEED_OVER_S:
            return None
        return (last - first) / (last_s - first_s)

    @property
    def promised_bytes(self) -> int:
        """Return what it may still grow by, beside its mapped files; while it loads, all of it."""
        if not self.is_here or self.need is None:
            return 0
        is_up = self.activity is not ServerState.LOADING
        process = self.process
        if process is None or process.anonymous_bytes is None:
            return self.need.growth_bytes if is_up else self.need.total_bytes
        files_bytes = self.mapped_bytes
        most_bytes = max(0, self.need.total_bytes - files_bytes)
        most_bytes = min(most_bytes, self.need.growth_bytes) if is_up else most_bytes
        left_bytes = self.need.total_bytes - files_bytes - process.anonymous_bytes
        return max(0, min(most_bytes, left_bytes))

    def _activity(self, served: Served, now_s: float) -> ServerState:
        if served.answer is Answer.SLOW:
            self.slow_since_s = now_s if self.slow_since_s is None else self.slow_since_s
            return self.activity if self.is_here else ServerState.BUSY
        self.slow_since_s = None
        if served.answer in (Answer.NONE, Answer.STRANGER):
            return ServerState.ABSENT
        if served.answer is Answer.LOADING:
            return ServerState.LOADING
        if is_asked(served):
            self._asked_s = now_s
            return ServerState.BUSY
        is_pausing = self.activity is ServerState.BUSY and now_s - self._asked_s < IDLE_AFTER_S
        return ServerState.BUSY if is_pausing else ServerState.IDLE

    def _identify(self, seen: ServerSeen) -> None:
        """Begin anew when it is another process, or has another model."""
        path = seen.served.model_path
        is_other_model = path is not None and self.model_path not in (None, path)
        now, was = seen.process, self.process
        is_other_process = bool(
            now and was and (now.pid, now.started_s) != (was.pid, was.started_s)
        )
        if is_other_model or is_other_process:
            self._leave()
        self.model_path = path or self.model_path

    def _leave(self) -> None:
        self.served = self.process = self.need = self.model_path = self._total = None
        self.no_process = self.no_need = ""
        self.mapped_bytes = 0
        self.residency = Residency()
        self._decoded.clear()
        self._trail.clear()
        self.generated, self._asked_s = 0.0, float("-inf")

    def _count(self, served: Served, now_s: float) -> None:
        """Count tokens: by its slots as they come, else by a counter, which moves at the end."""
        told = {one.id: one.decoded for one in served.slots or () if one.decoded is not None}
        if told:
            for slot, decoded in told.items():
                was = self._decoded.get(slot)
                if was is not None:
                    self.generated += decoded - was if decoded >= was else decoded
            self._decoded = told
        elif served.predicted_tokens_total is not None:
            self.generated += max(0, served.predicted_tokens_total - (self._total or 0))
            if self._total is None:
                self.generated = 0.0
            self._total = served.predicted_tokens_total
        self._trail.append((now_s, self.generated))
        while len(self._trail) > 2 and now_s - self._trail[0][0] > SPEED_OVER_S:
            self._trail.popleft()


def is_asked(served: Served) -> bool:
    """Say whether requests are being answered, or wait."""
    by_slot = any(one.is_busy for one in served.slots or ())
    return by_slot or bool(served.busy_slots) or bool(served.deferred)


def cores_of(server: Server, cores: int) -> int:
    """Return how many of `cores` a server is left while it works: its threads, at most half."""
    argv = server.process.argv if server.process else None
    threads = threads_of(argv or ())
    wanted = max(1, cores // CORES_SHARE) if threads is None else threads
    return max(0, min(wanted, cores // 2))


def threads_of(argv: tuple[str, ...]) -> int | None:
    """Read `-t 8`, `--threads 8` or `--threads=8`; the last one counts, as with llama-server."""
    found = None
    for index, word in enumerate(argv):
        name, is_joined, value = word.partition("=")
        if name not in ("-t", "--threads"):
            continue
        value = value if is_joined else "".join(argv[index + 1 : index + 2])
        if value.isascii() and value.isdigit() and 0 < int(value) <= 4096:
            found = int(value)
    return found
