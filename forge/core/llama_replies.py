"""What a llama-server's replies say.

Whatever comes is read into a value or refused by None: what answers at the configured address may
be anything. The replies of a server from April and one from October 2026 were recorded; both are
read. A slot that was never used tells of no tokens, an older server tells only of those generated.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from forge.core.inference_seen import Slot

INVALID_KEY = "authentication_error"
LOADING = "unavailable_error"
OFF = "not_supported_error"
_MOST = 1 << 62
_MOST_SLOTS = 4096
_METRIC = re.compile(r"^llamacpp:(\w+) +([0-9][0-9.eE+-]{0,40})$", re.MULTILINE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply, read to its end."""

    status: int
    body: bytes
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Metrics:
    """Counters since the server's start, and the requests of the moment.

    The averages that it tells as well are left alone: each reader sets them back.
    """

    prompt_tokens: int | None = None
    predicted_tokens: int | None = None
    predicted_s: float | None = None
    processing: int | None = None
    deferred: int | None = None


@dataclass(frozen=True, slots=True)
class Props:
    """What a server is: its model, its build, its slots and the context of each."""

    slots: int
    slot_context_tokens: int | None = None
    model_path: str | None = None
    build: str | None = None
    is_sleeping: bool | None = None


def error_type(reply: Reply) -> str | None:
    """Return the type of error that a llama-server tells; None when it is no such reply."""
    told = _json(reply.body)
    error = told.get("error") if isinstance(told, dict) else None
    if not isinstance(error, dict) or error.get("code") != reply.status:
        return None
    kind = error.get("type")
    return kind if isinstance(kind, str) else None


def is_healthy(reply: Reply) -> bool:
    """Say whether /health tells that requests are answered."""
    told = _json(reply.body)
    return reply.status == 200 and isinstance(told, dict) and told.get("status") == "ok"


def read_slots(reply: Reply) -> tuple[Slot, ...] | None:
    """Read /slots."""
    told = _json(reply.body) if reply.status == 200 else None
    if not isinstance(told, list) or not 0 < len(told) <= _MOST_SLOTS:
        return None
    slots = [_slot(one) for one in told]
    known = tuple(one for one in slots if one is not None)
    return known if len(known) == len(slots) else None


def read_props(reply: Reply) -> Props | None:
    """Read /props."""
    told = _json(reply.body) if reply.status == 200 else None
    if not isinstance(told, dict):
        return None
    slots, defaults = _count(told, "total_slots"), told.get("default_generation_settings")
    if slots is None or not isinstance(defaults, dict):
        return None
    sleeping = told.get("is_sleeping")
    return Props(
        slots,
        _count(defaults, "n_ctx"),
        _text(told, "model_path"),
        _text(told, "build_info"),
        sleeping if isinstance(sleeping, bool) else None,
    )


def read_metrics(reply: Reply) -> Metrics | None:
    """Read /metrics."""
    if reply.status != 200:
        return None
    text = reply.body.decode("utf-8", "replace").replace("\r\n", "\n")
    told = {
        name: number
        for name, written in _METRIC.findall(text)
        if (number := _number(written)) is not None
    }
    if "n_decode_total" not in told and "tokens_predicted_total" not in told:
        return None
    return Metrics(
        _whole(told.get("prompt_tokens_total")),
        _whole(told.get("tokens_predicted_total")),
        told.get("tokens_predicted_seconds_total"),
        _whole(told.get("requests_processing")),
        _whole(told.get("requests_deferred")),
    )


def _slot(told: Any) -> Slot | None:
    if not isinstance(told, dict):
        return None
    number, context, busy = _count(told, "id"), _count(told, "n_ctx"), told.get("is_processing")
    if number is None or context is None or not isinstance(busy, bool):
        return None
    speculates = told.get("speculative")
    then = told.get("next_token")
    if isinstance(then, list):
        then = then[0] if then else None
    return Slot(
        number,
        context,
        busy,
        speculates if isinstance(speculates, bool) else None,
        _count(told, "n_prompt_tokens"),
        _count(then, "n_decoded") if isinstance(then, dict) else None,
    )


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _count(told: dict[str, Any], key: str) -> int | None:
    value = told.get(key)
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST
    return value if is_count else None


def _text(told: dict[str, Any], key: str) -> str | None:
    value = told.get(key)
    return value if isinstance(value, str) and value and value.isprintable() else None


def _number(written: str) -> float | None:
    try:
        number = float(written)
    except ValueError:
        return None
    return number if math.isfinite(number) and number <= _MOST else None


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)
