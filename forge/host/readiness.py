"""Is a service ready? Asked over HTTP, by connecting, or by a command; always with a deadline."""

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from forge.core.service import Ready, Service
from forge.errors import ForgeError
from forge.host.commands import run_command
from forge.host.service_doors import expanded

DEADLINE_S = 3.0
MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Told:
    """Whether it is ready, and what it said."""

    is_ready: bool
    said: str = ""


def ask_ready(service: Service, env: Mapping[str, str], deadline_s: float = DEADLINE_S) -> Told:
    """Ask once. A service of which nothing is declared is ready when its process is there."""
    ready = service.ready
    if ready.url:
        return ask_url(ready, deadline_s)
    if ready.command:
        return _ask_command(ready.command, env, deadline_s)
    if ready.tcp and service.port:
        return ask_port(service.port, deadline_s)
    return Told(True)


def ask_port(port: int, deadline_s: float = DEADLINE_S) -> Told:
    """Say whether somebody listens on a port of this machine."""
    for host in ("127.0.0.1", "::1"):
        try:
            socket.create_connection((host, port), deadline_s).close()
        except OSError as error:
            said = error.strerror or str(error)
        else:
            return Told(True)
    return Told(False, f"port {port}: {said}")


def ask_url(ready: Ready, deadline_s: float) -> Told:
    """Ask an address, and compare status and JSON. Redirects are not followed."""
    assert ready.url, "there is an address"
    try:
        status, body = get(ready.url, deadline_s)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Told(False, str(error) or type(error).__name__)
    if status != ready.status:
        return Told(False, f"HTTP {status}{_message_of(body)}")
    if not ready.expects:
        return Told(True)
    try:
        document = json.loads(body)
    except ValueError:
        return Told(False, "its answer is no JSON")
    for key, wanted in ready.expects:
        value = document.get(key) if isinstance(document, dict) else None
        if value != wanted:
            return Told(False, f"`{key}` is {value!r}, not {wanted!r}")
    return Told(True)


def get(url: str, deadline_s: float, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """GET an address: status and at most 64 KiB of the body. Raises OSError, HTTPException."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=deadline_s)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"Connection": "close", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read(MAX_BODY_BYTES)
    finally:
        connection.close()


def _message_of(body: bytes) -> str:
    try:
        document: Any = json.loads(body)
        return f": {document['error']['message']}"
    except (ValueError, KeyError, TypeError):
        return ""


def _ask_command(command: tuple[str, ...], env: Mapping[str, str], deadline_s: float) -> Told:
    argv = [expanded(command[0], env), *command[1:]]
    try:
        told = run_command(argv, deadline_s=deadline_s, env=env)
    except (OSError, ForgeError) as error:
        return Told(False, str(error))
    said = (told.text.splitlines() or [f"exit code {told.exit_code}"])[-1]
    return Told(told.exit_code == 0, "" if told.exit_code == 0 else said)
