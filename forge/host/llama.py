"""What a llama-server says of itself, over HTTP.

Each look asks /slots, which tells what each slot does. /props is asked when a server is new, and
now and then. /metrics is asked seldom: each reader sets back the averages that it tells, and a
person may be another reader. Where /slots is off, /metrics has to do, and /health where that is off
as well. A server that sleeps is woken up by /slots, so one that can sleep is asked by /props first.
"""

import time
from dataclasses import dataclass, replace

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


class LlamaServer:
    """One server. It keeps a request that waits for its answer, and what changes seldom."""

    def __init__(self, spec: ServerSpec) -> None:
        self._has_key = bool(spec.api_key)
        self._http = HttpGet(Address.of(spec.url), spec.api_key)
        self._known = _Known()
        self._missing: dict[str, str] = {}

    def look(self, *, can_sleep: bool) -> Served:
        """Ask it, and wait for half a second at most. `can_sleep`: it may, as far as is known."""
        began_s = time.monotonic()
        try:
            try:
                served = self._ask(began_s, can_sleep)
            except ConnectionResetError:  # an old connection's end, or a server's: ask anew
                served = self._ask(began_s, can_sleep)
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
        self._missing.clear()

    def close(self) -> None:
        """Give up a request that waits."""
        self._http.close()

    def _ask(self, began_s: float, can_sleep: bool) -> Served:
        until_s = began_s + LOOK_S
        known = self._known
        if began_s - known.props_s >= PROPS_S or (can_sleep and _tells_sleep(known.props)):
            reply = self._get("/props", until_s)
            known.props = replies.read_props(reply) if reply else None
            if reply and known.props is None:
                raise _Stranger("its /props are not those of a llama-server")
            known.props_s = began_s
        if known.props and known.props.is_sleeping:
            return self._served(None, 0, "it sleeps: its model is unloaded until the next request")
        slots = self._slots(until_s)
        known.was_full = slots is not None and all(one.is_busy for one in slots)
        every_s = METRICS_FULL_S if known.was_full else METRICS_S if slots else 0.0
        if began_s - known.metrics_s >= every_s:
            self._ask_metrics(began_s, until_s)
        if slots is None:
            processing = known.metrics.processing if known.metrics else None
            if known.metrics is None:
                self._ask_health(until_s)
            return self._served(None, processing)
        return self._served(slots, sum(one.is_busy for one in slots))

    def _slots(self, until_s: float) -> tuple[Slot, ...] | None:
        reply = self._get("/slots", until_s)
        if reply is None:
            return None
        slots = replies.read_slots(reply)
        if slots is None:
            raise _Stranger("its /slots are not those of a llama-server")
        return slots

    def _ask_metrics(self, began_s: float, until_s: float) -> None:
        reply = self._get("/metrics", until_s)
        self._known.metrics = replies.read_metrics(reply) if reply else None
        if reply and self._known.metrics is None:
            self._missing["/metrics"] = "not those of a llama-server"
        self._known.metrics_s = began_s

    def _ask_health(self, until_s: float) -> None:
        reply = self._get("/health", until_s)
        if reply is None or not replies.is_healthy(reply):
            raise _Stranger("its /health is not that of a llama-server")

    def _get(self, path: str, until_s: float) -> Reply | None:
        """Ask for a page; None where it will not tell, which is noted."""
        reply = self._http.get(path, until_s)
        if reply.status == 200:
            self._missing.pop(path, None)
            return reply
        kind = replies.error_type(reply)
        if kind == replies.LOADING:
            raise _Loading
        if kind == replies.INVALID_KEY:
            self._missing[path] = "the API key is wrong" if self._has_key else "it wants an API key"
        elif kind == replies.OFF:
            self._missing[path] = f"off (start it with --{path[1:]})"
        else:
            raise _Stranger(f"it answers {path} with HTTP {reply.status}")
        return None

    def _served(
        self, slots: tuple[Slot, ...] | None, busy_slots: int | None, reason: str = ""
    ) -> Served:
        props, metrics = self._known.props, self._known.metrics or Metrics()
        is_full = self._known.was_full or slots is None
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
            missing=tuple(f"{path}: {why}" for path, why in sorted(self._missing.items())),
        )


def _tells_sleep(props: Props | None) -> bool:
    return props is not None and props.is_sleeping is not None
