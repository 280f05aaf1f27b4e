"""What `forge inference verify` says: whether a server that was started is as it was planned."""

from forge.core.checkup import Row, Verdict
from forge.core.checkup_inference import LOCKED_SHARE
from forge.core.inference_plan import InferencePlan
from forge.core.inference_seen import Answer, ServerProcess, ServerSeen
from forge.core.units import plural, show_bytes


def launch_rows(plan: InferencePlan, seen: ServerSeen) -> list[Row]:
    """Compare a plan with what is seen of the server."""
    answers = Row("server", Verdict.OK, f"it is ready at {seen.url}")
    if seen.served.answer is not Answer.READY:
        reason = f": {seen.served.reason}" if seen.served.reason else ""
        finding = f"{seen.url} answers {seen.served.answer.value}{reason}"
        return [Row("server", Verdict.FAIL, finding, "`forge inference command --exec` starts it")]
    rows = [answers, _context_row(plan, seen), _cache_row(plan, seen), _draft_row(plan, seen)]
    if plan.args.is_locked:
        rows.append(_locked_row(plan, seen))
    return rows


def _context_row(plan: InferencePlan, seen: ServerSeen) -> Row:
    name, slots = "context", seen.served.slots
    planned = f"{plural(plan.cells.slots, 'slot')} of {plan.slot_tokens} tokens"
    if slots is None:
        return Row(name, Verdict.UNKNOWN, f"it does not tell its slots; {planned} were planned")
    if len(slots) == plan.cells.slots and {one.context_tokens for one in slots} == {
        plan.slot_tokens
    }:
        return Row(name, Verdict.OK, planned)
    sizes = ", ".join(str(size) for size in sorted({one.context_tokens for one in slots}))
    finding = f"{plural(len(slots), 'slot')} of {sizes} tokens, and {planned} were planned"
    return Row(name, Verdict.FAIL, finding, "it was started otherwise than it is configured")


def _cache_row(plan: InferencePlan, seen: ServerSeen) -> Row:
    """Judge the KV caches by the command line that runs, and by what the process has written to."""
    name = "KV cache"
    planned_bytes = plan.need.kv_bytes + plan.need.draft_kv_bytes
    if seen.need is None:
        return Row(name, Verdict.UNKNOWN, f"its command line cannot be reckoned: {seen.no_need}")
    runs_bytes = seen.need.kv_bytes + seen.need.draft_kv_bytes
    if runs_bytes != planned_bytes:
        finding = f"{show_bytes(runs_bytes)}, and {show_bytes(planned_bytes)} were planned"
        return Row(name, Verdict.FAIL, finding, "it was started otherwise than it is configured")
    anonymous_bytes = seen.process.anonymous_bytes if seen.process else None
    if anonymous_bytes is not None and anonymous_bytes < planned_bytes:
        finding = f"{show_bytes(planned_bytes)} are planned, {show_bytes(anonymous_bytes)} resident"
        return Row(name, Verdict.WARN, finding, "`forge inference status` says what is missing")
    return Row(name, Verdict.OK, f"{show_bytes(planned_bytes)}, as planned")


def _draft_row(plan: InferencePlan, seen: ServerSeen) -> Row:
    name, told = "draft", [one.is_speculative for one in seen.served.slots or ()]
    if not told or None in told:
        return Row(name, Verdict.UNKNOWN, "its slots do not tell whether they use one")
    if plan.draft is None and not any(told):
        return Row(name, Verdict.OK, "none is configured, and none is used")
    if all(told) == plan.uses_draft:
        return Row(name, Verdict.OK, "every slot uses the draft model")
    finding = "no slot uses the draft model" if not any(told) else "slots use a draft, unasked"
    return Row(name, Verdict.FAIL, finding, "`forge inference plan` says what it is started with")


def _locked_row(plan: InferencePlan, seen: ServerSeen) -> Row:
    name, process = "locked", seen.process
    wanted = show_bytes(plan.need.models_bytes)
    if process is None:
        return Row(name, Verdict.UNKNOWN, f"its process cannot be looked at: {seen.no_process}")
    locked = process.locked_bytes
    if locked is None:
        return Row(name, Verdict.UNKNOWN, _unlocked_here(process, wanted))
    if locked < LOCKED_SHARE * plan.need.models_bytes:
        finding = f"{show_bytes(locked)} of {wanted}"
        hint = "raise the limit of locked memory (`ulimit -l`), and start it again"
        return Row(name, Verdict.FAIL, finding, hint)
    return Row(name, Verdict.OK, f"{show_bytes(locked)} of {wanted}")


def _unlocked_here(process: ServerProcess, wanted: str) -> str:
    if process.footprint_bytes is None:
        return "this system does not tell what is locked"
    return (
        f"this system tells the footprint alone: {show_bytes(process.footprint_bytes)} of {wanted}"
    )
