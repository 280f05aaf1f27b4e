"""How services of each kind are found, started and stopped: one Protocol, a door for each kind."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from forge.core.service import Runs, Service
from forge.errors import ForgeError
from forge.host.processes import Process, end, identify, is_alive
from forge.paths import home

POLL_S = 0.1
KILL_AFTER_S = 5.0
"""A process that has had SIGTERM twice gets SIGKILL so much later."""


class ServiceFailed(ForgeError):
    """A service cannot be started or stopped, or is not ready in time."""

    slug = "service-failed"
    exit_code = os.EX_UNAVAILABLE


@dataclass(frozen=True, slots=True)
class Found:
    """The process of a service that runs. `started_at` is seconds since the epoch."""

    process: Process
    started_at: float | None = None

    @property
    def pid(self) -> int:
        """Return its pid."""
        return self.process.pid


class ServiceDoor(Protocol):
    """The door to services of one kind. All raise ServiceFailed."""

    def find(self, service: Service) -> Found | None:
        """Return the process of the service, if it runs."""

    def start(self, service: Service) -> None:
        """Start it. Returns as soon as it is started, not when it is ready."""

    def stop(self, service: Service) -> None:
        """Stop it: ask, wait `stop_within_s`, then make sure."""

    def why(self, service: Service) -> str:
        """Return what its manager says of its last end; empty when that is not known."""


def open_doors(env: Mapping[str, str], state_dir: str) -> Mapping[Runs, ServiceDoor]:
    """Return the door of each kind, but for the RAM disk, which is the daemon's."""
    from forge.host.service_launchd import LaunchdDoor
    from forge.host.service_process import ProcessDoor
    from forge.host.service_screen import ScreenDoor
    from forge.host.service_systemd import SystemdDoor

    own_dir = os.path.join(state_dir, "services")
    return {
        Runs.SCREEN: ScreenDoor(env, own_dir),
        Runs.PROCESS: ProcessDoor(env, own_dir),
        Runs.LAUNCHD: LaunchdDoor(env),
        Runs.SYSTEMD: SystemdDoor(env, user=True),
        Runs.SYSTEM: SystemdDoor(env, user=False),
    }


def environment(service: Service, env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that a service is started in."""
    return {**env, **dict(service.env)}


def log_file(service: Service, env: Mapping[str, str], own_dir: str) -> str:
    """Return where the output of a service goes that Forge starts."""
    named = service.log
    return expanded(named, env) if named else os.path.join(own_dir, f"{service.name}.log")


def expanded(path: str, env: Mapping[str, str]) -> str:
    """Return a path that may begin with `~`, which is the home of that environment."""
    return home(env) + path[1:] if path == "~" or path.startswith("~/") else path


def end_gracefully(process: Process, patience_s: float) -> None:
    """End a process: SIGTERM, after `patience_s` once more, then SIGKILL.

    A llama-server with a request in flight stays until its client leaves; the second SIGTERM ends
    it at once (measured).
    """
    import signal

    for number, wait_s in (
        (signal.SIGTERM, patience_s),
        (signal.SIGTERM, KILL_AFTER_S),
        (signal.SIGKILL, KILL_AFTER_S),
    ):
        if not end(process, number) or _gone_within(process, wait_s):
            return
    raise ServiceFailed(f"process {process.pid} does not end, not even by SIGKILL")


def _gone_within(process: Process, wait_s: float) -> bool:
    until = time.monotonic() + wait_s
    while is_alive(process):
        if time.monotonic() >= until:
            return False
        time.sleep(POLL_S)
    return True


def found(pid: int) -> Found | None:
    """Return the process that has this pid, with its start."""
    import psutil

    process = identify(pid)
    if process is None:
        return None
    try:
        return Found(process, psutil.Process(pid).create_time())
    except psutil.Error:
        return Found(process)
