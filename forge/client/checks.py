"""Looks at all that Forge depends on, for `forge doctor`: never starts a daemon, changes nothing.

What is found is judged in forge.core.checkup.
"""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import forge
from forge import config, paths
from forge.client import inference
from forge.client.checks_host import host_rows
from forge.client.checks_inference import flags_row, server_rows
from forge.client.checks_tools import tool_rows
from forge.client.connection import connect
from forge.core import checkup
from forge.core.checkup import Row, Verdict
from forge.core.memory import Reading
from forge.core.memory_map import MemoryMap
from forge.core.memory_watch import proposed_low_water_bytes
from forge.core.start import is_inside_a_jobserver
from forge.core.units import MIB, plural, show_duration
from forge.errors import DaemonUnreachable, ForgeError
from forge.host.commands import run_command
from forge.host.memory import Memory, open_memory
from forge.host.small_files import read_text, reason_of

SYSCTL_DEADLINE_S = 5.0
WIRED_LIMIT = "iogpu.wired_limit_mb"
USED = {1: "memory.usage_in_bytes", 2: "memory.current"}


def check_all(env: Mapping[str, str], memory: Memory | None = None) -> list[Row]:
    """Look at everything, one row for each."""
    daemon, status = ask_daemon(env)
    return [
        daemon,
        *daemon_rows(status, env),
        *memory_rows(env, status, memory or open_memory()),
        *server_rows(env, status),
        flags_row(env),
        *state_rows(paths.state_dir(env)),
        jobserver_row(env, status),
        *tool_rows(env),
        *host_rows(env, status),
    ]


def ask_daemon(env: Mapping[str, str]) -> tuple[Row, dict[str, Any] | None]:
    """Ask the daemon that runs, if one does."""
    name = "daemon"
    try:
        connection = connect(env)
    except DaemonUnreachable:
        finding = "none runs; the first build starts it"
        return Row(name, Verdict.UNKNOWN, finding, "`forge daemon start`"), None
    except ForgeError as error:
        return Row(name, Verdict.FAIL, error.message, error.hint), None
    try:
        status = connection.ask({"type": "status", "client": forge.__version__})["status"]
        version, age = str(status["version"]), show_duration(float(status["uptime_s"]))
        finding = f"pid {status['pid']}, version {version}, up {age}"
    except ForgeError as error:
        return Row(name, Verdict.FAIL, error.message, "`forge daemon restart`"), None
    except (KeyError, TypeError, ValueError):
        return Row(name, Verdict.FAIL, "its status is none", "`forge daemon restart`"), None
    finally:
        connection.close()
    if version != forge.__version__:
        finding += f"; this is version {forge.__version__}"
        return Row(name, Verdict.WARN, finding, "`forge daemon restart`"), status
    return Row(name, Verdict.OK, finding), status


def daemon_rows(status: dict[str, Any] | None, env: Mapping[str, str]) -> list[Row]:
    """Judge what the daemon says of the disk, the gates and the cgroup of builds."""
    if status is None:
        is_compiled = os.access(paths.native_launcher(env), os.X_OK)
        shim = {"failure": None, "phase": "ready" if is_compiled else "unknown"}
        disk, builds = checkup.unasked("RAM disk", "cgroup of builds")
        return [disk, checkup.gates_row(shim), builds]
    return [
        checkup.disk_row(status["disk"]),
        checkup.gates_row(status["shim"]),
        _cgroup_row(status.get("cgroup"), status["builds"]),
    ]


def _cgroup_row(cgroup: dict[str, Any] | None, builds: list[dict[str, Any]]) -> Row:
    if cgroup is None:
        return Row("cgroup of builds", Verdict.UNKNOWN, "this daemon does not know of it")
    return checkup.cgroup_row(cgroup, builds, used_bytes(cgroup))


def used_bytes(cgroup: Mapping[str, Any]) -> int | None:
    """Read what is charged to the cgroup of builds now."""
    if cgroup["directory"] is None:
        return None
    try:
        return int(read_text(f"{cgroup['directory']}/{USED[cgroup['version']]}"))
    except (OSError, ValueError, KeyError):
        return None


def memory_rows(env: Mapping[str, str], status: dict[str, Any] | None, memory: Memory) -> list[Row]:
    """Read memory and the configuration, and judge both."""
    try:
        reading = memory.read(time.monotonic())
    except OSError as error:
        finding = f"memory cannot be read: {reason_of(error)}"
        return [Row("memory readings", Verdict.FAIL, finding)]
    told = (status or {}).get("memory") or {}
    rows = [
        checkup.readings_row(reading),
        checkup.swap_row(reading, told.get("swapped_out_since_mount_bytes")),
    ]
    try:
        cfg = config.load(Path(paths.config_file(env)))
    except ForgeError as error:
        return [*rows, Row("configuration", Verdict.FAIL, error.message, error.hint)]
    found = inference.found(cfg)
    try:
        memory_map = _memory_map(cfg, reading, found.mib)
    except ForgeError as error:
        return [*rows, Row("memory map", Verdict.FAIL, error.message, "`forge config show`")]
    low_water_mib = cfg["host.low_water"]
    low_water_bytes = (
        proposed_low_water_bytes(reading.total_bytes)
        if low_water_mib is None
        else low_water_mib * MIB
    )
    rows += [checkup.low_water_row(reading, low_water_bytes)]
    rows += checkup.map_rows(memory_map, reading, found.warning_beside(memory_map))
    if env.get("FORGE_PLATFORM", sys.platform) == "darwin":
        rows.append(_wired_limit_row(env, memory_map))
    return rows


def _memory_map(cfg: config.Config, reading: Reading, found_mib: Mapping[str, int]) -> MemoryMap:
    """Return the map as the daemon makes it. Raises ConfigInvalid."""
    total_mib = cfg["host.memory"] or reading.total_bytes // MIB
    return config.memory_map(cfg, total_mib, "forge.toml", found_mib)


def _wired_limit_row(env: Mapping[str, str], memory_map: MemoryMap) -> Row:
    try:
        told = run_command(["sysctl", "-n", WIRED_LIMIT], deadline_s=SYSCTL_DEADLINE_S, env=env)
        return checkup.wired_limit_row(int(told.stdout), memory_map)
    except (OSError, ValueError, ForgeError):
        return Row(WIRED_LIMIT, Verdict.UNKNOWN, "this system does not have it")


def state_rows(path: str) -> list[Row]:
    """Look at the state directory, and at the room where it is or will be."""
    try:
        found = os.stat(path)
        row = checkup.state_dir_row(path, found.st_uid, found.st_mode, os.getuid())
    except OSError:
        row = checkup.state_dir_row(path, None, 0, os.getuid())
    place = path
    while not os.path.exists(place):
        place = os.path.dirname(place)
    try:
        room = os.statvfs(place)
    except OSError as error:
        return [row, Row("disk space", Verdict.UNKNOWN, reason_of(error))]
    return [row, checkup.space_row(room.f_bavail * room.f_frsize)]


def jobserver_row(env: Mapping[str, str], status: dict[str, Any] | None) -> Row:
    """Say whose job tokens a build that is started here takes."""
    if is_inside_a_jobserver(env):
        finding = "MAKEFLAGS or CARGO_MAKEFLAGS names one, so builds started here take its tokens"
        return Row("jobserver", Verdict.WARN, finding, "unset them, or build outside of make")
    if status is None:
        return checkup.unasked("jobserver")[0]
    return Row("jobserver", Verdict.OK, f"{plural(status['cores'], 'core')}, shared by all builds")
