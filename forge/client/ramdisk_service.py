"""The RAM disk as a service among others: the daemon is asked for it."""

from collections.abc import Mapping
from typing import Any

import forge
from forge.client.connection import connect, connect_or_start
from forge.core.service import Service
from forge.errors import DaemonUnreachable, ForgeError
from forge.host.service_doors import Found, ServiceFailed, found


class RamDiskDoor:
    """The RAM disk; its process is the daemon."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def find(self, service: Service) -> Found | None:
        """Return the daemon while the disk is mounted."""
        try:
            status = self._status()
        except DaemonUnreachable:
            return None
        if status["disk"]["phase"] not in ("mounted", "resizing", "off"):
            return None  # "off": none is wanted, which is as well as can be
        return found(int(status["pid"]))

    def start(self, service: Service) -> None:
        """Mount the disk, with a daemon that is started for it. Raises ServiceFailed."""
        self._ask({"type": "disk", "verb": "mount"})

    def stop(self, service: Service) -> None:
        """Unmount the disk; refused while builds use it. Raises ServiceFailed."""
        if self.find(service):
            self._ask({"type": "disk", "verb": "unmount"})

    def why(self, service: Service) -> str:
        """Return why there is no disk."""
        try:
            return str(self._status()["disk"]["failure"] or "")
        except ForgeError as error:
            return error.message

    def _status(self) -> dict[str, Any]:
        connection = connect(self._env)
        try:
            reply = connection.ask({"type": "status", "client": forge.__version__})
        finally:
            connection.close()
        return dict(reply["status"])

    def _ask(self, request: dict[str, Any]) -> None:
        try:
            connection = connect_or_start(self._env)
            try:
                connection.ask({"client": forge.__version__, **request})
            finally:
                connection.close()
        except ForgeError as error:
            raise ServiceFailed(f"RAM disk: {error.message}", hint=error.hint) from None
