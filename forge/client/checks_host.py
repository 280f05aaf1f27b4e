"""Looks at the host for `forge doctor`: limits, clock, power, indexing, what is installed."""

import hashlib
import os
import resource
import sys
import time
from collections.abc import Mapping
from typing import Any

from forge import paths
from forge.client import wrapper
from forge.client.install import read_record
from forge.client.services import NoServices, Services
from forge.core import checkup_host
from forge.core.checkup import Row, Verdict
from forge.core.units import MIB
from forge.errors import ForgeError
from forge.host.commands import run_command
from forge.host.small_files import read_text

DEADLINE_S = 10.0
INOTIFY = "/proc/sys/fs/inotify/"
LEVELS = {"ok": Verdict.OK, "warning": Verdict.WARN, "failure": Verdict.FAIL}


def host_rows(env: Mapping[str, str], status: Mapping[str, Any] | None) -> list[Row]:
    """Look at the host, one row for each thing."""
    is_mac = env.get("FORGE_PLATFORM", sys.platform) == "darwin"
    rows = [
        *wrapper_rows(env),
        checkup_host.files_row(*resource.getrlimit(resource.RLIMIT_NOFILE)),
        _clock_row(env, is_mac=is_mac),
        _installed_row(env),
        _services_row(env),
        _keys_row(env),
    ]
    return rows + (_mac_rows(env, status) if is_mac else _linux_rows(status))


def wrapper_rows(env: Mapping[str, str]) -> list[Row]:
    """Look at `cargo` in PATH and at the user's own wrapper, as `forge shim check` does."""
    try:
        found = wrapper.check(env)
    except ForgeError as error:
        return [Row("wrapper", Verdict.FAIL, error.message, error.hint)]
    return [
        Row(
            one.what,
            LEVELS[one.level],
            one.says,
            "`forge shim check`" if one.level != "ok" else None,
        )
        for one in found
        if one.what in ("wrapper", "PATH", "RUSTC_WRAPPER", "cache")
    ]


def _clock_row(env: Mapping[str, str], *, is_mac: bool) -> Row:
    try:
        written_at = os.stat(os.path.join(paths.state_dir(env), paths.LOG_NAME)).st_mtime
        ahead_s = written_at - time.time()
    except OSError:
        ahead_s = None
    told = None if is_mac else said(["timedatectl", "show", "-p", "NTPSynchronized"], env)
    is_kept = told.strip().endswith("=yes") if told and "NTPSynchronized=" in told else None
    return checkup_host.clock_row(ahead_s, is_kept)


def _installed_row(env: Mapping[str, str]) -> Row:
    record = read_record(env)
    files = record.files if record else {}
    return checkup_host.installed_row({path: _is_as(path, one) for path, one in files.items()})


def _is_as(path: str, digest: str) -> bool | None:
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest() == digest
    except OSError:
        return None


def _services_row(env: Mapping[str, str]) -> Row:
    try:
        standings = Services(env).look_at_all()
    except NoServices:
        return checkup_host.services_row(())
    except (ForgeError, OSError) as error:
        return Row("services", Verdict.FAIL, str(error), "`forge config check`")
    return checkup_host.services_row([(one.service.name, one.state) for one in standings])


def _keys_row(env: Mapping[str, str]) -> Row:
    path = os.path.join(paths.home(env), ".ssh", "authorized_keys")
    try:
        lines, mode = read_text(path).splitlines(), os.stat(path).st_mode
    except OSError:
        lines, mode = [], None
    return checkup_host.keys_row(path, lines, mode)


def _linux_rows(status: Mapping[str, Any] | None) -> list[Row]:
    limit_bytes, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return [
        checkup_host.watches_row(_number("max_user_watches"), _number("max_user_instances")),
        checkup_host.lock_row(limit_bytes, _models_bytes(status), is_privileged=os.geteuid() == 0),
    ]


def _models_bytes(status: Mapping[str, Any] | None) -> int:
    rows = ((status or {}).get("memory_map") or {}).get("rows") or ()
    models = ("model", "draft_model")
    return MIB * sum(int(row["size_mib"]) for row in rows if row["key"] in models)


def _number(name: str) -> int | None:
    try:
        return int(read_text(INOTIFY + name))
    except (OSError, ValueError):
        return None


def _mac_rows(env: Mapping[str, str], status: Mapping[str, Any] | None) -> list[Row]:
    rows = [checkup_host.power_row(said(["pmset", "-g"], env))]
    disk = (status or {}).get("disk") or {}
    place = disk.get("mount_point")
    if place and disk.get("phase") == "mounted":
        rows.append(checkup_host.indexing_row(place, said(["mdutil", "-s", place], env)))
        rows.append(checkup_host.backup_row(place, said(["tmutil", "isexcluded", place], env)))
    return rows


def said(argv: list[str], env: Mapping[str, str]) -> str | None:
    """Return what a tool prints; None when it is not there or does not end well."""
    try:
        told = run_command(argv, deadline_s=DEADLINE_S, env=env)
    except (OSError, ForgeError):
        return None
    return told.stdout if told.exit_code == 0 else None
