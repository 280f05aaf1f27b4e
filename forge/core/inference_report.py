"""What the status tells of inference servers, and of what builds give up for them."""

from typing import TYPE_CHECKING, Any

from forge.core.inference_seen import Slot
from forge.core.inference_server import Server
from forge.core.moment import Moment

if TYPE_CHECKING:
    from forge.core.state import State


def inference_report(state: "State", now: Moment) -> dict[str, Any]:
    """Build the part of the status. What is not known is None, and `missing` says why."""
    inference = state.inference
    return {
        "servers": [_server(state, one, now) for one in inference.servers.values()],
        "failure": inference.failure,
        "kept_cores": inference.kept_cores,
        "holds_heavy": inference.is_loading,
        "promised_bytes": inference.promised_bytes,
        "claimed_bytes": sum(claim.total_bytes for claim in inference.claims()),
        "build_nice": inference.ranking.nice,
        "build_weight": inference.ranking.weight,
        "last_24h": inference.day.report(now.wall_s),
    }


def _server(state: "State", one: Server, now: Moment) -> dict[str, Any]:
    served, process, residency = one.served, one.process, one.residency
    tokens_per_s = one.tokens_per_s(now.steady_s)
    slow_s = None if one.slow_since_s is None else now.steady_s - one.slow_since_s
    return {
        "name": one.name,
        "url": one.url,
        "state": one.state,
        "activity": one.activity,
        "since_s": round(now.steady_s - one.since_s, 1),
        "reason": one.reason,
        "slow_s": None if slow_s is None else round(slow_s, 1),
        "hung": one.is_hung(now.steady_s),
        "model": one.model_path,
        "build": served.build if served else None,
        "pid": process.pid if process else None,
        **_slots(one),
        "tokens_per_s": None if tokens_per_s is None else round(tokens_per_s, 2),
        "expected_bytes": residency.expected_bytes or None,
        "resident_bytes": min(residency.resident_bytes, residency.expected_bytes) or None,
        "missing_bytes": residency.missing_bytes,
        "locked_bytes": process.locked_bytes if process else None,
        "swapped_bytes": process.swapped_bytes if process else None,
        "anonymous_bytes": process.anonymous_bytes if process else None,
        "need_bytes": one.need.total_bytes if one.need else None,
        "promised_bytes": one.promised_bytes,
        "protection": state.inference.ranking.protected.get(one.name),
        "missing": _missing(one),
    }


def _slots(one: Server) -> dict[str, Any]:
    served = one.served
    if served is None:
        return {"slots": None, "busy_slots": None, "deferred": None,
                "context_tokens": None, "context_used_tokens": None}  # fmt: skip
    busy = served.busy_slots
    if served.slots is not None:
        busy = sum(slot.is_busy for slot in served.slots)
    context = served.context_tokens
    if context is None and served.slots and not served.shares_context:
        context = sum(slot.context_tokens for slot in served.slots)
    used = [_used(slot) for slot in served.slots or ()]
    is_told = any(count is not None for count in used)
    return {
        "slots": None if served.slots is None else len(served.slots),
        "busy_slots": busy,
        "deferred": served.deferred,
        "context_tokens": context,
        "context_used_tokens": sum(count or 0 for count in used) if is_told else None,
    }


def _used(slot: Slot) -> int | None:
    """Return what is in a slot's context; older servers tell only what they generated."""
    return slot.decoded if slot.tokens is None else slot.tokens


def _missing(one: Server) -> list[str]:
    served, process = one.served, one.process
    found = [*(served.missing if served else ()), *(process.missing if process else ())]
    found += [f"its process: {one.no_process}"] if one.no_process else []
    return found + ([f"its need: {one.no_need}"] if one.no_need else [])
