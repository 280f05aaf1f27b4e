"""Finds the real cargo: the first on PATH that is not Forge's own wrapper."""

import os
from collections.abc import Mapping

from forge.errors import CargoMissing

WRAPPER_MARK = ".opta-forge-shim"
"""A directory that holds a file of this name holds wrappers of Forge, not tools."""


def find_cargo(env: Mapping[str, str]) -> str:
    """Return the absolute path of cargo. FORGE_REAL_CARGO wins. Raises CargoMissing.

    Empty and relative entries of PATH are passed over: what they name depends on where one stands.
    """
    named = env.get("FORGE_REAL_CARGO")
    if named:
        return named
    for directory in env.get("PATH", os.defpath).split(os.pathsep):
        if not os.path.isabs(directory):
            continue
        if os.path.lexists(os.path.join(directory, WRAPPER_MARK)):
            continue
        candidate = os.path.join(directory, "cargo")
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise CargoMissing("there is no cargo on PATH", hint="install Rust, for instance with rustup")
