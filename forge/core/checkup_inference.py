"""What `forge doctor` says of inference servers. Changes nothing: it names the command that would.

On macOS the system unwires what the GPU has not used for a while, and the server has to be told to
ask for it again and again; what only root can set is said with the command that sets it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from forge.core.build_cgroup import BUILD_OOM_SCORE_ADJ
from forge.core.checkup import Row, Verdict
from forge.core.inference_surprises import Surprise
from forge.core.units import show_bytes

Report = Mapping[str, Any]
LOCKED_SHARE = 0.98
"""So much of a model is locked where all of it is: the file has a head that nobody locks."""

HARMLESS = ("slot-context", "context-rounded", "prompt-cache", "metrics-off")
"""Surprises that a sound configuration has as well: they are told where it is planned."""

KEEP_ALIVE = "GGML_METAL_RESIDENCY_KEEP_ALIVE_S"
KEEP_ALIVE_S = 2_592_000
LEAST_KEEP_ALIVE_S = 86_400
MOST_KEEP_ALIVE_S = 10_700_000
"""Builds of llama.cpp with a fast heartbeat count beyond their counter from here on."""

WIRED_COLLECTOR = "iogpu.disable_wired_collector"


def inference_rows(inference: Report) -> list[Row]:
    """Judge each server that is there: is it whole, locked, and spared before compilers."""
    rows = []
    for one in inference.get("servers") or ():
        if one["state"] != "absent":
            rows += [_memory_row(one)]
    if not rows:
        rows.append(Row("inference", Verdict.OK, "no server is there"))
    return rows


def _memory_row(one: Report) -> Row:
    name, expected = "inference", one.get("expected_bytes")
    finding = f"{one['state']} at {one['url']}"
    if one["state"] == "squeezed":
        finding += f": {show_bytes(one['missing_bytes'])} of {show_bytes(expected or 0)} missing"
        return Row(name, Verdict.WARN, finding, "`forge inference history` has the builds")
    if one.get("hung"):
        return Row(name, Verdict.WARN, f"{finding}, and it does not answer any more")
    if not expected:
        known = "; ".join(one.get("missing") or ()) or "its memory was not looked at yet"
        return Row(name, Verdict.UNKNOWN, f"{finding}; {known}")
    locked = one.get("locked_bytes")
    if locked is not None and locked < LOCKED_SHARE * expected:
        finding += f": {show_bytes(locked)} of {show_bytes(expected)} locked"
        hint = "start it with locked memory (`--mlock`, or `--load-mode mmap+mlock`)"
        return Row(name, Verdict.WARN, finding, hint)
    return Row(name, Verdict.OK, f"{finding}: {show_bytes(expected)} in memory")


def flags_row(surprises: Sequence[Surprise], unasked: str = "") -> Row:
    """Judge how the configured server is to be started; `unasked` is why no build was asked."""
    name, hint = "llama-server flags", "`forge inference plan` says more"
    fatal = [one for one in surprises if one.fatal]
    if fatal:
        return Row(name, Verdict.FAIL, fatal[0].says, fatal[0].hint or hint)
    worse = [one for one in surprises if one.key not in HARMLESS]
    if worse:
        more = f"; and {len(worse) - 1} more" if len(worse) > 1 else ""
        return Row(name, Verdict.WARN, f"{worse[0].says}{more}", worse[0].hint or hint)
    if unasked:
        return Row(name, Verdict.UNKNOWN, f"no llama-server was asked: {unasked}")
    return Row(name, Verdict.OK, "nothing in them is amiss")


def victim_row(url: str, score_adj: int) -> Row:
    """Judge whom the kernel ends first when memory does: compilers, or the server."""
    name, finding = "memory's victim", f"{url} has oom_score_adj {score_adj}"
    if score_adj >= BUILD_OOM_SCORE_ADJ:
        hint = "start it with a lower one, or set inference.protect"
        return Row(name, Verdict.WARN, f"{finding}, builds {BUILD_OOM_SCORE_ADJ}", hint)
    return Row(name, Verdict.OK, f"{finding}, builds {BUILD_OOM_SCORE_ADJ}: they end first")


def keep_alive_row(url: str, environ: Mapping[str, str] | None) -> Row:
    """Judge whether a server on macOS keeps its memory wired while it is idle."""
    hint = f"start it with {KEEP_ALIVE}={KEEP_ALIVE_S}"
    if environ is None:
        return Row(KEEP_ALIVE, Verdict.UNKNOWN, f"the environment of {url} cannot be read", hint)
    if environ.get("GGML_METAL_NO_RESIDENCY"):
        finding = f"{url} runs with GGML_METAL_NO_RESIDENCY"
        return Row(KEEP_ALIVE, Verdict.WARN, finding, f"start it without, and {hint[9:]}")
    told = environ.get(KEEP_ALIVE, "")
    seconds = int(told) if told.isascii() and told.isdigit() else 0
    if LEAST_KEEP_ALIVE_S <= seconds <= MOST_KEEP_ALIVE_S:
        return Row(KEEP_ALIVE, Verdict.OK, f"{url} has {told}")
    finding = f"{url} has {told or 'none'}, so its memory is given up when it is idle"
    return Row(KEEP_ALIVE, Verdict.WARN, finding, hint)


def collector_row(value: int) -> Row:
    """Judge macOS's collector of wired memory, which takes it from an idle GPU."""
    if value == 1:
        return Row(WIRED_COLLECTOR, Verdict.OK, "1: wired memory is left alone")
    hint = f"`sudo sysctl {WIRED_COLLECTOR}=1`, which holds until the machine restarts"
    return Row(WIRED_COLLECTOR, Verdict.WARN, f"{value}: an idle model is unwired", hint)


def unasked(names: Iterable[str]) -> list[Row]:
    """Return rows for what the system does not have, or only a daemon could tell."""
    return [Row(name, Verdict.UNKNOWN, "this system does not have it") for name in names]
