"""Services that are jobs of launchd, in the user's domain or in the system's.

The user's is gui/UID, or user/UID without a GUI. LaunchDaemons, which need nobody to log in, are in
`system`: anybody may look at them, and only root starts and stops them.

Of `launchctl print`, only lines with a single tab are the job's own: nested blocks repeat `state`
and `pid`. A job that is bootstrapped over SSH while nobody is logged in at the screen is loaded and
never started ("pended nondemand spawn"), so a start looks whether a process came of it.
"""

import os
import re
import time
from collections.abc import Mapping

from forge.core.service import Service
from forge.errors import DeadlineExceeded
from forge.host.commands import CommandResult, run_command
from forge.host.service_doors import Found, ServiceFailed, end_gracefully, expanded, found

DEADLINE_S = 15.0
APPEARS_WITHIN_S = 5.0
AGENTS = "~/Library/LaunchAgents"
SYSTEM = "system"
DAEMONS = "/Library/LaunchDaemons"
ENDING = (3, 36, 113)
"""Codes by which bootout says that the job ends (EINPROGRESS), or is gone already."""

_OWN_LINE = re.compile(r"^\t([a-z][a-z ]*) = (.*)$", re.MULTILINE)


def read_job(text: str) -> dict[str, str]:
    """Return the job's own lines of `launchctl print`, the first of each name."""
    job: dict[str, str] = {}
    for name, value in _OWN_LINE.findall(text):
        job.setdefault(name, value)
    return job


class LaunchdDoor:
    """Jobs of launchd."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def find(self, service: Service) -> Found | None:
        """Return the process of the job, if it has one."""
        job = self._job(service)
        pid = job[1].get("pid", "") if job else ""
        return found(int(pid)) if pid.isdigit() else None

    def start(self, service: Service) -> None:
        """Load the job if it is not, and start it. Raises ServiceFailed."""
        job = self._job(service)
        if job is None:
            domain, plist = self._declared(service)
            self._must(service, ["launchctl", "bootstrap", domain, plist])
        else:
            domain = job[0]
        self._must(service, ["launchctl", "kickstart", f"{domain}/{service.unit}"])
        until = time.monotonic() + APPEARS_WITHIN_S
        while not self.find(service):
            if time.monotonic() >= until:
                raise ServiceFailed(
                    f"`{service.name}`: {self._why_not(service)}", hint=_PENDED_HINT
                )
            time.sleep(0.1)

    def stop(self, service: Service) -> None:
        """Take the job out of launchd, which would start it again otherwise."""
        running, job = self.find(service), self._job(service)
        if job:
            self._must(service, ["launchctl", "bootout", f"{job[0]}/{service.unit}"], ENDING)
        if running:
            end_gracefully(running.process, service.stop_within_s)

    def why(self, service: Service) -> str:
        """Return how the job ended the last time, as launchd tells it."""
        job = self._job(service)
        if job is None:
            return "launchd does not know it"
        code = job[1].get("last exit code", "")
        reason = job[1].get("last exit reason") or (f"exit code {code}" if code else "")
        return "" if code in ("0", "(never exited)") else reason

    def _declared(self, service: Service) -> tuple[str, str]:
        """Return the domain and the plist of a job that is not loaded. Raises ServiceFailed."""
        agent = os.path.join(expanded(AGENTS, self._env), f"{service.unit}.plist")
        if os.path.exists(agent):
            return self._domains()[0], agent
        daemon = os.path.join(DAEMONS, f"{service.unit}.plist")
        if os.path.exists(daemon):
            return SYSTEM, daemon
        raise ServiceFailed(
            f"`{service.name}`: launchd does not know {service.unit}, and there is no {agent}",
            hint=f"install it, or set `services.{service.name}.unit` to its label",
        )

    def _why_not(self, service: Service) -> str:
        job = self._job(service)
        state = job[1].get("state", "not loaded") if job else "not loaded"
        return (
            f"launchd has not started {service.unit} ({state}; {self.why(service) or 'no reason'})"
        )

    def _job(self, service: Service) -> tuple[str, dict[str, str]] | None:
        for domain in self._domains():
            told = self._launchctl(["launchctl", "print", f"{domain}/{service.unit}"])
            if told.exit_code == 0:
                return domain, read_job(told.stdout)
        return None

    def _domains(self) -> tuple[str, ...]:
        return f"gui/{os.getuid()}", f"user/{os.getuid()}", SYSTEM

    def _must(self, service: Service, argv: list[str], also: tuple[int, ...] = ()) -> None:
        told = self._launchctl(argv)
        if told.exit_code and told.exit_code not in also:
            said = (told.text.splitlines() or [f"exit code {told.exit_code}"])[-1]
            needs_root = any(word.startswith(f"{SYSTEM}/") or word == SYSTEM for word in argv)
            hint = f"`sudo {' '.join(argv)}`" if needs_root and os.geteuid() else None
            raise ServiceFailed(f"`{service.name}`: `{' '.join(argv[:2])}` says: {said}", hint=hint)

    def _launchctl(self, argv: list[str]) -> CommandResult:
        try:
            return run_command(argv, deadline_s=DEADLINE_S, env=self._env)
        except FileNotFoundError:
            raise ServiceFailed(
                "there is no launchctl", hint='`runs = "launchd"` is for macOS'
            ) from None
        except DeadlineExceeded as error:
            raise ServiceFailed(error.message) from None


_PENDED_HINT = (
    "over SSH, with nobody logged in at the screen, launchd keeps agents waiting:"
    " log in once, or install it as a LaunchDaemon"
)
