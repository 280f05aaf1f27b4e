"""Services that are units of systemd, of the user's manager or of the machine's."""

import os
from collections.abc import Mapping

from forge.core.service import Service
from forge.errors import DeadlineExceeded
from forge.host.commands import CommandResult, run_command
from forge.host.service_doors import Found, ServiceFailed, found

DEADLINE_S = 10.0
_SHOWN = "LoadState,ActiveState,SubState,MainPID,Result,ExecMainStatus,ExecMainCode"


class SystemdDoor:
    """Units of systemd."""

    def __init__(self, env: Mapping[str, str], *, user: bool) -> None:
        runtime = env.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
        self._env = {**env, "XDG_RUNTIME_DIR": runtime}  # not set over SSH without a session
        self._systemctl = ["systemctl", "--user"] if user else ["systemctl"]

    def find(self, service: Service) -> Found | None:
        """Return the main process of the unit."""
        pid = self._show(service).get("MainPID", "0")
        return found(int(pid)) if pid.isdigit() and pid != "0" else None

    def start(self, service: Service) -> None:
        """Start the unit. Raises ServiceFailed."""
        if self._show(service).get("LoadState") == "not-found":
            raise ServiceFailed(
                f"`{service.name}`: systemd does not know {service.unit}",
                hint=f"install it, or set `services.{service.name}.unit`",
            )
        self._must(service, "start", service.ready_within_s)

    def stop(self, service: Service) -> None:
        """Stop the unit; systemd knows how long it may take."""
        self._must(service, "stop", service.stop_within_s + DEADLINE_S)

    def why(self, service: Service) -> str:
        """Return how the unit ended the last time, as systemd tells it."""
        told = self._show(service)
        if told.get("LoadState") == "not-found":
            return "systemd does not know it"
        result = told.get("Result", "success")
        return "" if result == "success" else f"{result}, {told.get('ExecMainStatus', '?')}"

    def _show(self, service: Service) -> dict[str, str]:
        told = self._run(["show", "-p", _SHOWN, "--", service.unit], DEADLINE_S)
        if told.exit_code:
            raise ServiceFailed(f"`{service.name}`: systemctl says: {told.text}")
        fields = (line.partition("=") for line in told.stdout.splitlines())
        return {name: value for name, _, value in fields}

    def _must(self, service: Service, verb: str, deadline_s: float) -> None:
        told = self._run([verb, "--", service.unit], deadline_s)
        if told.exit_code:
            said = (told.text.splitlines() or [f"exit code {told.exit_code}"])[0]
            raise ServiceFailed(f"`{service.name}`: `systemctl {verb}` says: {said}")

    def _run(self, words: list[str], deadline_s: float) -> CommandResult:
        try:
            return run_command([*self._systemctl, *words], deadline_s=deadline_s, env=self._env)
        except FileNotFoundError:
            raise ServiceFailed(
                "there is no systemctl", hint="set `runs` of the service to screen or process"
            ) from None
        except DeadlineExceeded as error:
            raise ServiceFailed(error.message) from None
