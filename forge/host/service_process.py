"""Services that Forge starts as plain processes, each leading a session of its own.

A note in the state directory says which process it is. A pid alone names nobody: after a reboot
another process may have it, so the note holds the start as well.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Mapping

from forge.core.service import Service
from forge.host.processes import Process, identify, is_alive
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
from forge.host.whole_files import replace_json


class ProcessDoor:
    """Plain processes."""

    def __init__(self, env: Mapping[str, str], own_dir: str) -> None:
        self._env = env
        self._own_dir = own_dir
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def find(self, service: Service) -> Found | None:
        """Return the process that the note tells of, if it is that very one."""
        child = self._children.get(service.name)
        if child and child.poll() is not None:
            del self._children[service.name]  # reaped
        try:
            with open(self._note(service), encoding="ascii") as file:
                note = json.load(file)
            process = Process(int(note["pid"]), float(note["started"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found(process.pid) if is_alive(process) else None

    def start(self, service: Service) -> None:
        """Start the command with its output in the log. Raises ServiceFailed."""
        child = spawn(service, list(service.command), self._env, self._own_dir)
        self._children[service.name] = child
        process = identify(child.pid)
        if process is None:
            raise ServiceFailed(f"`{service.name}` ended at once, with {child.wait()}")
        note = {"pid": process.pid, "started": process.started}
        try:
            replace_json(self._note(service), note)
        except OSError as error:
            child.terminate()
            raise ServiceFailed(f"{self._note(service)}: {error.strerror}") from None

    def stop(self, service: Service) -> None:
        """End the process."""
        running = self.find(service)
        if running:
            end_gracefully(running.process, service.stop_within_s)
        child = self._children.pop(service.name, None)
        if child:
            child.wait()  # reaped
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._note(service))

    def why(self, service: Service) -> str:
        """Return how our own child ended; nothing is known of others' children."""
        child = self._children.get(service.name)
        code = child.poll() if child else None
        return "" if code is None else ending(code)

    def _note(self, service: Service) -> str:
        return os.path.join(self._own_dir, f"{service.name}.json")


def spawn(
    service: Service, argv: list[str], env: Mapping[str, str], own_dir: str
) -> "subprocess.Popen[bytes]":
    """Start `argv` for a service, away from our terminal. Raises ServiceFailed."""
    private_dir(own_dir)
    directory = expanded(service.directory, env)
    path = log_file(service, env, own_dir)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ServiceFailed(
            f"`{service.name}`: its log {path} cannot be written: {error.strerror}",
            hint=f"set `services.{service.name}.log`",
        ) from None
    try:
        return subprocess.Popen(
            argv, cwd=directory, env=environment(service, env),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    except FileNotFoundError:
        missing = directory if not os.path.isdir(directory) else argv[0]
        raise ServiceFailed(
            f"`{service.name}`: there is no {missing}",
            hint=f"`services.{service.name}` in forge.toml names it",
        ) from None
    except OSError as error:
        raise ServiceFailed(f"`{service.name}`: {argv[0]}: {error.strerror}") from None
    finally:
        os.close(log)


def ending(code: int) -> str:
    """Say how a process ended, from the code that `Popen` gives."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"
