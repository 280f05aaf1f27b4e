"""Looks at services and starts them again, in a thread of their own: some doors take seconds.

To look costs next to nothing while all is well: a process that is known is only asked whether it is
still there, and its readiness is asked for now and then.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from forge import paths
from forge.core import events, service_actions
from forge.core.service import Service
from forge.core.service_watch import Look
from forge.daemon.ports import Ports
from forge.host.log_tail import last_lines
from forge.host.port_owner import owner_of
from forge.host.processes import Process, is_alive
from forge.host.readiness import ask_ready
from forge.host.service_doors import ServiceFailed, log_file, open_doors
from forge.host.service_errors import LastError, write_last_error
from forge.host.service_state import alone, is_busy, read_wishes

READY_EVERY_S = 15.0


class ServiceDoors:
    """The doors of services, as actions. `post` takes what comes of one, from any thread."""

    def __init__(self, ports: Ports, post: Callable[[events.Event], None]) -> None:
        self._env = ports.env
        self._post = post
        state_dir = paths.state_dir(ports.env)
        self._own_dir = os.path.join(state_dir, "services")
        self._doors = open_doors(ports.env, state_dir)
        self._thread = ThreadPoolExecutor(1, "services")
        self._known: dict[str, Process] = {}
        self._ready_at: dict[str, float] = {}

    def look(self, action: service_actions.LookAtServices) -> None:
        """Look at the services that are to run."""
        self._thread.submit(self._look_at_all, action.services)

    def start(self, action: service_actions.StartService) -> None:
        """Start a service again, if it is still wanted and dead."""
        self._thread.submit(self._start, action.service)

    def keep_last_error(self, action: service_actions.KeepLastError) -> None:
        """Remember what went wrong with a service last."""
        error = LastError(action.at, action.what)
        self._thread.submit(write_last_error, self._own_dir, action.name, error)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _look_at_all(self, services: tuple[Service, ...]) -> None:
        looks: dict[str, Look] = {}
        wishes = read_wishes(self._own_dir)
        if not is_busy(self._own_dir):  # somebody starts or stops them: nothing is dead
            for service in services:
                try:
                    looks[service.name] = self._look(service, service.name in wishes.wanted)
                except ServiceFailed:
                    continue  # its manager does not answer: nothing is known
        self._post(service_actions.ServicesSeen(looks, wishes.watched))

    def _look(self, service: Service, is_wanted: bool) -> Look:
        if not is_wanted:
            self._known.pop(service.name, None)
            return Look(None, is_ready=False, is_wanted=False)
        process = self._known.get(service.name)
        if process is None or not is_alive(process):
            self._known.pop(service.name, None)
            self._ready_at.pop(service.name, None)
            found = self._doors[service.runs].find(service)
            if found is None:
                return self._dead(service, was_known=process is not None)
            process = self._known[service.name] = found.process
        return Look(process.pid, self._is_ready(service), is_wanted=True)

    def _is_ready(self, service: Service) -> bool:
        now = time.monotonic()
        if now - self._ready_at.get(service.name, float("-inf")) < READY_EVERY_S:
            return True
        is_ready = ask_ready(service, self._env).is_ready
        if is_ready:
            self._ready_at[service.name] = now
        return is_ready

    def _dead(self, service: Service, *, was_known: bool) -> Look:
        owner = owner_of(service.port) if service.port else None
        why = self._doors[service.runs].why(service)
        lines = last_lines(log_file(service, self._env, self._own_dir), 1) if was_known else []
        died_of = ", ".join([*([why] if why else []), *(f"last words: {line}" for line in lines)])
        return Look(None, False, True, died_of[:300], str(owner) if owner else "")

    def _start(self, service: Service) -> None:
        with alone(self._own_dir):
            wanted = service.name in read_wishes(self._own_dir).wanted
            door = self._doors[service.runs]
            try:
                if wanted and door.find(service) is None:
                    door.start(service)
            except ServiceFailed as error:
                self._post(service_actions.ServiceNotStarted(service.name, error.message))
