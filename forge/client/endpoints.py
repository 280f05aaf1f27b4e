"""Addresses at which clients reach this host's services, and what a client needs for them."""

from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from forge.core.service import Runs, Service
from forge.host.readiness import ask_port, ask_url

DEADLINE_S = 5.0
LOOPBACK = ("127.", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One service with a port. `is_open`: it listens for other machines; None: not known.

    `kind` is what clients speak: `openai`, `anthropic` (Claude Code Router), or nothing that is
    known.
    """

    service: str
    title: str
    port: int
    kind: str
    is_open: bool | None
    declared: Service

    def url(self, host: str) -> str:
        """Return the address for clients; this machine's own where nobody else can reach it."""
        name = "127.0.0.1" if self.is_open is False else host
        return f"http://{name}:{self.port}" + ("/v1" if self.kind == "openai" else "")

    def lines(self, host: str, user: str) -> list[str]:
        """Return what to paste on a client machine."""
        lines = []
        if self.is_open is False:
            forward = f"{self.port}:127.0.0.1:{self.port}"
            lines.append(f"ssh -N -L {forward} {user}@{host} &   # it listens on {host} alone")
        if self.kind == "openai":
            lines.append(f"export OPENAI_BASE_URL={self.url(host)}")
        elif self.kind == "anthropic":
            lines.append(f"export ANTHROPIC_BASE_URL={self.url(host)}")
        return lines


def endpoints_of(services: Iterable[Service]) -> list[Endpoint]:
    """Return the endpoints of services that have a port."""
    return [
        Endpoint(one.name, one.title, one.port, _kind_of(one), _is_open(one.port), one)
        for one in services
        if one.port and one.runs is not Runs.RAM_DISK
    ]


def try_endpoint(one: Endpoint) -> tuple[bool, str]:
    """Say whether a service answers, and else why not."""
    ready = one.declared.ready
    told = ask_url(ready, DEADLINE_S) if ready.url else ask_port(one.port, DEADLINE_S)
    return told.is_ready, told.said


def _kind_of(service: Service) -> str:
    words = " ".join((service.name, service.title, service.unit, *service.command)).lower()
    if "router" in words or "ccr" in words:
        return "anthropic"
    if any(one in words for one in ("llama", "litellm", "inference")):
        return "openai"
    return ""


def _is_open(port: int) -> bool | None:
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return None
    addresses = [
        one.laddr.ip
        for one in connections
        if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port
    ]
    if not addresses:
        return None
    return not all(address.startswith(LOOPBACK) for address in addresses)
