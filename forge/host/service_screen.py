"""Services in detached sessions of screen(1): people attach to them with `screen -r NAME`.

The session's name is the service's, and the window's only process is the service. Output goes to
the screen and to a log; `-Logfile` is newer than the screen that macOS ships (4.00.03), so the log
is named in a configuration file that reads the user's own first. A session is private to its user.
"""

import os
import re
import time
from collections.abc import Mapping

import psutil

from forge.core.service import Service
from forge.errors import DeadlineExceeded
from forge.host.commands import CommandResult, run_command
from forge.host.service_doors import (
    Found,
    ServiceFailed,
    end_gracefully,
    environment,
    expanded,
    found,
    log_file,
)
from forge.host.state_dir import private_dir

DEADLINE_S = 10.0
APPEARS_WITHIN_S = 2.0
_SESSION = re.compile(r"^\s+(\d+)\.(\S+)\s+.*\((?!Dead)", re.MULTILINE)


class ScreenDoor:
    """Sessions of screen."""

    def __init__(self, env: Mapping[str, str], own_dir: str) -> None:
        self._env = env
        self._own_dir = own_dir

    def find(self, service: Service) -> Found | None:
        """Return the process in the session's window, or the session where it has none yet."""
        for session in self._sessions(service):
            try:
                children = psutil.Process(session).children()
            except psutil.Error:
                continue  # the session has just ended
            alive = [one for one in children if one.status() != psutil.STATUS_ZOMBIE]
            return found(alive[0].pid if alive else session)
        return None

    def start(self, service: Service) -> None:
        """Start a session with the service in it. Raises ServiceFailed."""
        rc = self._configuration(service)
        argv = ["screen", "-c", rc, "-dmS", service.unit, "-L", *service.command]
        directory = expanded(service.directory, self._env)
        if not os.path.isdir(directory):
            raise ServiceFailed(f"`{service.name}`: there is no directory {directory}")
        told = self._screen(service, argv, directory)
        if told.exit_code:
            raise ServiceFailed(f"`{service.name}`: screen says: {told.text or told.exit_code}")
        until = time.monotonic() + APPEARS_WITHIN_S
        while not self.find(service) and time.monotonic() < until:
            time.sleep(0.05)

    def stop(self, service: Service) -> None:
        """End the process in the window, which ends the session."""
        running = self.find(service)
        if running:
            end_gracefully(running.process, service.stop_within_s)
        for session in self._sessions(service):  # other windows that a person has opened in it
            self._screen(service, ["screen", "-S", f"{session}.{service.unit}", "-X", "quit"], "/")

    def why(self, service: Service) -> str:
        """Return nothing: screen does not tell how a window's process ended."""
        return ""

    def _sessions(self, service: Service) -> list[int]:
        told = self._screen(service, ["screen", "-ls", service.unit], "/")
        return [int(pid) for pid, name in _SESSION.findall(told.stdout) if name == service.unit]

    def _screen(self, service: Service, argv: list[str], directory: str) -> CommandResult:
        env = environment(service, self._env)
        try:
            return run_command(argv, deadline_s=DEADLINE_S, env=env, directory=directory)
        except FileNotFoundError:
            raise ServiceFailed(
                "there is no screen", hint="install it, or set `runs` of the service to process"
            ) from None
        except DeadlineExceeded as error:
            raise ServiceFailed(f"`{service.name}`: {error.message}") from None

    def _configuration(self, service: Service) -> str:
        private_dir(self._own_dir)
        log = log_file(service, self._env, self._own_dir)
        path = os.path.join(self._own_dir, f"{service.name}.screenrc")
        theirs = expanded("~/.screenrc", self._env)
        lines = [f"source {theirs}"] if os.path.exists(theirs) else []
        lines += [f"logfile {log}", "logfile flush 1"]
        try:
            os.makedirs(os.path.dirname(log), exist_ok=True)
            with open(log, "a", encoding="utf-8"):
                pass
            with open(path, "w", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
        except OSError as error:
            raise ServiceFailed(
                f"`{service.name}`: its log {log} cannot be written: {error.strerror}",
                hint=f"set `services.{service.name}.log`",
            ) from None
        return path
