"""Lines on the socket: one JSON object each, at most 1 MiB, protocol version 1.

Source: docs/protocol.md. Bytes that are not UTF-8 travel as lone surrogates (PEP 383), which
`json` writes as `\\udcXX` escapes and reads back unharmed. Imported before cargo starts: it may
import nothing that is slow.
"""

import json
from collections.abc import Mapping
from typing import Any

VERSION = 1
MAX_LINE_BYTES = 1024 * 1024
PATIENCE_S = 2.0
"""How long a client waits for the daemon's next line before it goes on alone."""

ENV_SENT = (
    "CARGO",
    "CARGO_BUILD_BUILD_DIR",
    "CARGO_BUILD_JOBS",
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_HOME",
    "CARGO_LOG",
    "CARGO_MAKEFLAGS",
    "CARGO_TARGET_DIR",
    "CI",
    "CLAUDECODE",
    "FORGE_IDENTITY",
    "FORGE_PRIORITY",
    "FORGE_RERUN",
    "FORGE_RESERVATION",
    "FORGE_RUSTC_WRAPPER",
    "FORGE_TARGET_DIR",
    "FORGE_TEST",
    "FORGE_WAIT_TIMEOUT",
    "HOME",
    "MAKEFLAGS",
    "MFLAGS",
    "PATH",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTUP_TOOLCHAIN",
    "SSH_CONNECTION",
    "TERM_PROGRAM",
    "VSCODE_PID",
)
"""The variables that `begin` carries, besides runners. No others: they may hold secrets."""


def env_sent(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that `begin` carries, CARGO_TARGET_…_RUNNER among them."""
    return {name: env[name] for name in env if name in ENV_SENT or _names_a_runner(name)}


def _names_a_runner(name: str) -> bool:
    return name.startswith("CARGO_TARGET_") and name.endswith("_RUNNER")


def encode(message: dict[str, Any]) -> bytes:
    """Write one message as a line; ValueError when it is over the limit."""
    line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"message of {len(line)} bytes is over the limit of {MAX_LINE_BYTES}")
    return line


def decode(line: bytes) -> dict[str, Any]:
    """Read one line; ValueError says what is wrong with it."""
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"line is over the limit of {MAX_LINE_BYTES} bytes")
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line is not JSON: {error}") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ValueError("line is not a JSON object with a `type`")
    return message
