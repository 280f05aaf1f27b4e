"""What `forge doctor --fix` may do by itself: nothing that could lose anything or needs root."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from forge import paths
from forge.client import wrapper
from forge.client.checks_host import said
from forge.core.checkup import Row
from forge.errors import ForgeError

Remedy = Callable[[Mapping[str, str], str], bool]


def mend(rows: list[Row], env: Mapping[str, str], status: Mapping[str, Any] | None) -> list[str]:
    """Apply the remedies that rows name; return what was done, and what could not be."""
    place = str(((status or {}).get("disk") or {}).get("mount_point") or "")
    told = []
    for row in rows:
        remedy = REMEDIES.get(row.fix or "")
        if remedy is None:
            continue
        try:
            done = remedy(env, place)
            told.append(f"{row.name}: {'mended' if done else 'could not be mended'}")
        except (OSError, ForgeError) as error:
            told.append(f"{row.name}: could not be mended: {error}")
    return told


def _private_state_dir(env: Mapping[str, str], _place: str) -> bool:
    os.chmod(paths.state_dir(env), 0o700)
    return True


def _private_keys(env: Mapping[str, str], _place: str) -> bool:
    os.chmod(os.path.join(paths.home(env), ".ssh", "authorized_keys"), 0o600)
    return True


def _compile_shim(env: Mapping[str, str], _place: str) -> bool:
    wrapper.build(env)
    return True


def _no_indexing(env: Mapping[str, str], place: str) -> bool:
    return said(["mdutil", "-i", "off", place], env) is not None


def _no_backup(env: Mapping[str, str], place: str) -> bool:
    return said(["tmutil", "addexclusion", place], env) is not None


REMEDIES: Mapping[str, Remedy] = {
    "state directory": _private_state_dir,
    "keys": _private_keys,
    "shim": _compile_shim,
    "spotlight": _no_indexing,
    "time machine": _no_backup,
}
