"""What is done for the services of the host, and what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from forge.core.service import Service
from forge.core.service_watch import Look


@dataclass(frozen=True, slots=True)
class LookAtServices:
    """Look whether the services that are to run do."""

    services: tuple[Service, ...]


@dataclass(frozen=True, slots=True)
class StartService:
    """Start a service again that died."""

    service: Service


@dataclass(frozen=True, slots=True)
class KeepLastError:
    """Remember what went wrong with a service last; `at` is seconds since the epoch."""

    name: str
    at: float
    what: str


ServiceAction = LookAtServices | StartService | KeepLastError


@dataclass(frozen=True, slots=True)
class ServicesSeen:
    """What was seen of the services that are to run, by name; `watched`: they may be restarted."""

    looks: Mapping[str, Look]
    watched: bool


@dataclass(frozen=True, slots=True)
class ServiceNotStarted:
    """A service could not be started."""

    name: str
    reason: str


ServiceEvent = ServicesSeen | ServiceNotStarted
