"""What a llama-server says of itself, over HTTP.

Each look asks /slots, which tells what each slot does. /props is asked when a server is new, and
now and then. /metrics is asked seldom: each reader sets back the averages that it tells, and a
person may be another reader. Where /slots is off, /metrics has to do, and /health where that is off
as well. What is refused is asked for again after a while only: a server writes a line into its log
for each wrong key.

A server that sleeps when it is idle is kept awake, and woken up, by /slots. So one that is told to
sleep is asked by /props, which does neither, and by /metrics, which has not since 2026.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from forge.core import llama_replies as replies
from forge.core.inference_seen import Answer, Served, Slot
from forge.core.inference_settings import ServerSpec
from forge.core.llama_replies import Metrics, Props, Reply
from forge.host.http_get import Address, HttpGet, NoAnswer
from forge.host.small_files import reason_of

LOOK_S = 0.5
"""So long a look waits for answers. One that comes later is found by a later look."""

PROPS_S = 30.0
METRICS_S = 5.0
METRICS_FULL_S = 1.0
"""How often to ask; the last while all slots are busy, when requests may wait for one."""

REFUSED_S = 30.0
"""So long nothing is asked for that was refused."""


class _Loading(Exception):
    """It says that it loads its model."""


class _Stranger(Exception):
    """What answers is no llama-server."""


@dataclass(slots=True)
class _Known:
    """What was asked before, and when. It is forgotten when the server was not ready."""

    props: Props | None = None
    props_s: float = float("-inf")
    metrics: Metrics | None = None
    metrics_s: float = float("-inf")
    was_full: bool = False
    refused: dict[str, tuple[float, str]] = field(default_factory=dict)


class LlamaServer:
    """One server. It keeps a request that waits for its answer, and what changes seldom."""

    def __init__(self, spec: ServerSpec, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._has_key = bool(spec.api_key)
        self._http = HttpGet(Address.of(spec.url), spec.api_key)
        self._known = _Known()

    def look(self, *, sleeps: bool | None) -> Served:
        """Ask it, and wait for half a second at most.

        `sleeps`: it is told to sleep when it is idle; None when that is not known.
        """
        began_s = time.monotonic()
        until_s = began_s + LOOK_S
        try:
            try:
                served = self._ask(until_s, sleeps)
            except ConnectionResetError:  # it has just ended, perhaps, or is overrun: ask anew
                served = self._ask(until_s, sleeps)
        except TimeoutError:
            waited_s = time.monotonic() - (self._http.waiting_s or began_s)
            return Served(Answer.SLOW, "it has not answered yet", waited_s)
        except _Loading:
            self.forget()
            return Served(Answer.LOADING, took_s=time.monotonic() - began_s)
        except (_Stranger, NoAnswer) as error:
            self.forget()
            return Served(Answer.STRANGER, str(error))
        except OSError as error:
            self.forget()
            return Served(Answer.NONE, reason_of(error))
        return replace(served, took_s=time.monotonic() - began_s)

    def forget(self) -> None:
        """Ask everything anew: it is another server by now."""
        self._known = _Known()

    def close(self) -> None:
        """Give up a request that waits."""
        self._http.close()

    def _ask(self, until_s: float, sleeps: bool | None) -> Served:
        known, now_s = self._known, self._clock()
        if now_s - known.props_s >= PROPS_S or (sleeps is not False and _may_sleep(known.props)):
            self._ask_props(now_s, until_s)
        if known.props and known.props.is_sleeping:
            return self._served(None, 0, "it sleeps: its model is unloaded until the next request")
        slots = None if sleeps else self._slots(until_s)
        known.was_full = slots is not None and all(one.is_busy for one in slots)
        every_s = METRICS_FULL_S if known.was_full else METRICS_S if slots else 0.0
        if now_s - known.metrics_s >= every_s:
            self._ask_metrics(now_s, until_s)
        if slots is not None:
            return self._served(slots, sum(one.is_busy for one in slots))
        if known.metrics is None:
            self._ask_health(until_s)
        return self._served(None, known.metrics.processing if known.metrics else None)

    def _ask_props(self, now_s: float, until_s: float) -> None:
        reply = self._get("/props", until_s)
        self._known.props = replies.read_props(reply) if reply else None
        if reply and self._known.props is None:
            raise _Stranger("its /props are not those of a llama-server")
        self._known.props_s = now_s

    def _slots(self, until_s: float) -> tuple[Slot, ...] | None:
        reply = self._get("/slots", until_s)
        if reply is None:
            return None
        slots = replies.read_slots(reply)
        if slots is None:
            raise _Stranger("its /slots are not those of a llama-server")
        return slots

    def _ask_metrics(self, now_s: float, until_s: float) -> None:
        reply = self._get("/metrics", until_s)
        self._known.metrics = replies.read_metrics(reply) if reply else None
        if reply and self._known.metrics is None:
            self._refuse("/metrics", "not those of a llama-server")
        self._known.metrics_s = now_s

    def _ask_health(self, until_s: float) -> None:
        reply = self._get("/health", until_s)
        if reply is None or not replies.is_healthy(reply):
            raise _Stranger("its /health is not that of a llama-server")

    def _get(self, path: str, until_s: float) -> Reply | None:
        """Ask for a page; None where it will not tell, which is noted."""
        refused = self._known.refused
        if path in refused and self._clock() - refused[path][0] < REFUSED_S:
            return None
        reply = self._http.get(path, until_s)
        if reply.status == 200:
            refused.pop(path, None)
            return reply
        kind = replies.error_type(reply)
        if kind == replies.LOADING:
            raise _Loading
        if kind == replies.INVALID_KEY:
            self._refuse(path, "the API key is wrong" if self._has_key else "it wants an API key")
        elif kind == replies.OFF:
            self._refuse(path, f"off (start it with --{path[1:]})")
        else:
            raise _Stranger(f"it answers {path} with HTTP {reply.status}")
        return None

    def _refuse(self, path: str, why: str) -> None:
        self._known.refused[path] = (self._clock(), why)

    def _served(
        self, slots: tuple[Slot, ...] | None, busy_slots: int | None, reason: str = ""
    ) -> Served:
        props, metrics = self._known.props, self._known.metrics or Metrics()
        is_full, refused = self._known.was_full or slots is None, self._known.refused
        return Served(
            Answer.READY,
            reason,
            slots=slots,
            busy_slots=busy_slots,
            deferred=metrics.deferred if is_full or metrics.deferred is None else 0,
            prompt_tokens_total=metrics.prompt_tokens,
            predicted_tokens_total=metrics.predicted_tokens,
            predicted_s_total=metrics.predicted_s,
            model_path=props.model_path if props else None,
            build=props.build if props else None,
            missing=tuple(f"{path}: {why}" for path, (_, why) in sorted(refused.items())),
        )


def _may_sleep(props: Props | None) -> bool:
    return props is not None and props.is_sleeping is not None
