"""Which version a service is: asked once for each process, since some take seconds to tell."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from forge.core.service import Service
from forge.errors import ForgeError
from forge.host.commands import run_command
from forge.host.service_doors import Found, expanded
from forge.host.whole_files import replace_json

NAME = "versions.json"
DEADLINE_S = 10.0
MOST = 40


class ServiceVersions:
    """Versions as told, kept beside what is kept of services."""

    def __init__(self, env: Mapping[str, str], own_dir: str) -> None:
        self._env = env
        self._path = os.path.join(own_dir, NAME)

    def of(self, service: Service, found: Found) -> str:
        """Return the version of a service that runs; empty when it does not tell."""
        if not service.version:
            return ""
        known = self._read()
        entry = known.get(service.name)
        process = [found.process.pid, found.process.started]
        if isinstance(entry, dict) and entry.get("process") == process:
            return str(entry.get("version", ""))
        version = self._ask(service)
        self._write({**known, service.name: {"process": process, "version": version}})
        return version

    def _ask(self, service: Service) -> str:
        argv = [expanded(service.version[0], self._env), *service.version[1:]]
        try:
            told = run_command(argv, deadline_s=DEADLINE_S, env=self._env)
        except (OSError, ForgeError):
            return ""
        return (told.text.splitlines() or [""])[0][:MOST]

    def _read(self) -> dict[str, Any]:
        try:
            with open(self._path, encoding="utf-8") as file:
                known = json.load(file)
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _write(self, known: Mapping[str, Any]) -> None:
        with suppress(OSError):  # asked again the next time
            replace_json(self._path, known)
