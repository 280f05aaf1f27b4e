"""Looks at inference servers for `forge doctor`: what the daemon knows, and what it cannot."""

import sys
from collections.abc import Mapping
from typing import Any

from forge.client import inference
from forge.core import checkup, checkup_inference
from forge.core.checkup import Row, Verdict
from forge.core.checkup_inference import (
    WIRED_COLLECTOR,
    collector_row,
    inference_rows,
    keep_alive_row,
    unasked,
    victim_row,
)
from forge.errors import ConfigInvalid, ForgeError
from forge.host.commands import run_command
from forge.host.small_files import read_text

SYSCTL_DEADLINE_S = 5.0


def server_rows(env: Mapping[str, str], status: Mapping[str, Any] | None) -> list[Row]:
    """Judge the servers, and what the system does with their memory."""
    is_mac = env.get("FORGE_PLATFORM", sys.platform) == "darwin"
    if status is None or "inference" not in status:
        return [*checkup.unasked("inference"), *(_collector_rows(env) if is_mac else [])]
    rows = inference_rows(status["inference"])
    for one in status["inference"].get("servers") or ():
        if one.get("pid") and is_mac:
            rows.append(keep_alive_row(one["url"], _environ_of(one["pid"])))
        elif one.get("pid"):
            rows += _victim_rows(one["url"], one["pid"])
    return [*rows, *(_collector_rows(env) if is_mac else [])]


def flags_row(env: Mapping[str, str]) -> Row:
    """Look at how forge.toml has the server started."""
    name = "llama-server flags"
    try:
        told = inference.plan_configured(env)
    except inference.ModelUnset:
        return Row(name, Verdict.OK, "forge.toml starts no server")
    except ConfigInvalid:
        return Row(name, Verdict.UNKNOWN, "forge.toml cannot be read")  # which has a row of its own
    except ForgeError as error:
        return Row(name, Verdict.FAIL, error.message, error.hint or "`forge inference plan`")
    return checkup_inference.flags_row(told.surprises, told.unasked)


def _victim_rows(url: str, pid: int) -> list[Row]:
    try:
        return [victim_row(url, int(read_text(f"/proc/{pid}/oom_score_adj")))]
    except (OSError, ValueError):
        return []  # it has just gone


def _environ_of(pid: int) -> Mapping[str, str] | None:
    import psutil

    try:
        environ: dict[str, str] = psutil.Process(pid).environ()
    except (psutil.Error, OSError):
        return None
    return environ


def _collector_rows(env: Mapping[str, str]) -> list[Row]:
    try:
        asked = ["sysctl", "-n", WIRED_COLLECTOR]
        told = run_command(asked, deadline_s=SYSCTL_DEADLINE_S, env=env)
        return [collector_row(int(told.stdout))]
    except (OSError, ValueError, ForgeError):
        return unasked([WIRED_COLLECTOR])
