"""Tells a client what this host is."""

import os
import shutil
import subprocess
from collections.abc import Mapping

import forge
from forge.client.connection import connect
from forge.core.remote_messages import InfoIs
from forge.core.remote_policy import KeyRules
from forge.errors import ForgeError
from forge.host.sandbox import sandbox_refusal
from forge.serve.area import areas_dir

_PATIENCE_S = 20.0


def information(rules: KeyRules, host: Mapping[str, str]) -> InfoIs:
    """Return what there is to know; asks cargo and rustc for their versions."""
    place = areas_dir(host)
    usage = shutil.disk_usage(place if os.path.isdir(place) else host["HOME"])
    return InfoIs(
        info={
            "forge": forge.__version__,
            "key": rules.name,
            "verbs": sorted(rules.verbs),
            "projects": sorted(rules.projects),
            "priority": rules.priority,
            "is_untrusted": rules.is_untrusted,
            "allowances": sorted(rules.allowances),
            "max_builds": rules.max_builds,
            "max_bytes": rules.max_bytes,
            "max_files": rules.max_files,
            "system": os.uname().sysname,
            "machine": os.uname().machine,
            "cores": os.cpu_count(),
            "cargo": _version("cargo", host),
            "rustc": _version("rustc", host),
            "daemon": _has_daemon(host),
            "sandbox": sandbox_refusal() or None,
            "free_bytes": usage.free,
        }
    )


def _version(tool: str, host: Mapping[str, str]) -> str | None:
    """Return what `TOOL -vV` prints: for rustc, its host triple is in it."""
    program = shutil.which(tool, path=host["PATH"])
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "-vV"],
            env=host,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace")[:2000] if done.returncode == 0 else None


def _has_daemon(host: Mapping[str, str]) -> bool:
    try:
        connect(host).close()
    except ForgeError:
        return False
    return True
