"""Services of the host: looked at, started in order until each is ready, stopped in reverse.

Used by `forge services` and the `opta-` commands. What is already well is left alone, and the first
that fails ends the start, with its last words: what comes after it would fail for its sake.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from forge import config, paths
from forge.client.ramdisk_service import RamDiskDoor
from forge.core.service import Runs, Service
from forge.core.service_order import in_order, in_reverse
from forge.core.units import MIB, show_bytes, show_duration
from forge.errors import ForgeError, UsageMistake
from forge.host.log_tail import last_lines
from forge.host.memory import Memory, open_memory
from forge.host.port_owner import owner_of
from forge.host.process_memory import tree_bytes
from forge.host.readiness import ask_ready
from forge.host.service_doors import Found, ServiceDoor, ServiceFailed, log_file, open_doors
from forge.host.service_errors import LastError, read_last_error, write_last_error
from forge.host.service_state import Wishes, alone, read_wishes, write_wishes
from forge.host.service_versions import ServiceVersions

ASK_EVERY_S = 0.5
LAST_LINES = 8


class NoServices(ForgeError):
    """No services are declared."""

    slug = "no-services"
    exit_code = os.EX_CONFIG


@dataclass(frozen=True, slots=True)
class Standing:
    """How one service stands. `said` is why it is not ready, `stranger` who has its port.

    `planned_bytes` is its part of the memory map, `last_error` what went wrong last, even long ago.
    """

    service: Service
    found: Found | None
    is_ready: bool
    said: str = ""
    stranger: str = ""
    memory_bytes: int | None = None
    planned_bytes: int = 0
    version: str = ""
    last_error: LastError | None = None

    @property
    def is_well(self) -> bool:
        """Say whether it runs and is ready."""
        return self.found is not None and self.is_ready

    @property
    def state(self) -> str:
        """Return its state in a word or two."""
        if self.stranger:
            return "port taken"
        if self.found is None:
            return "down"
        return "well" if self.is_ready else "not ready"


Progress = Callable[[Service, str, float], None]
"""Told of a service, what it is at, and for how long, in seconds."""


class Services:
    """The declared services of this host, and their doors. Raises ConfigInvalid, NoServices."""

    def __init__(self, env: Mapping[str, str], memory: Memory | None = None) -> None:
        file = paths.config_file(env)
        self.cfg = config.load(Path(file))
        if not self.cfg.services:
            raise NoServices(
                f"{file} declares no services",
                hint="`forge config init --reference` writes those of the reference host",
            )
        self.declared = self.cfg.services
        self.own_dir = os.path.join(paths.state_dir(env), "services")
        self._env = env
        self._memory = memory or open_memory()
        self._versions = ServiceVersions(env, self.own_dir)
        self._planned = self._planned_bytes()
        self._doors: Mapping[Runs, ServiceDoor] = {
            **open_doors(env, paths.state_dir(env)),
            Runs.RAM_DISK: RamDiskDoor(env),
        }

    def named(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return names that are declared; raises UsageMistake for one that is not."""
        names = tuple(names)
        for name in names:
            if name not in self.declared:
                known = ", ".join(self.declared)
                raise UsageMistake(f"there is no service `{name}`", hint=f"there are: {known}")
        return names

    def look(self, service: Service) -> Standing:
        """Look at one service. What cannot be asked is said, and never raises."""
        return replace(self._seen(service), last_error=read_last_error(self.own_dir, service.name))

    def look_at_all(self) -> list[Standing]:
        """Look at all services, in the order of starting."""
        return [self.look(service) for service in in_order(self.declared)]

    def start(self, names: Iterable[str], tell: Progress) -> list[Standing]:
        """Start services and what they need, each ready before the next. Raises ServiceFailed."""
        names = self.named(names)
        with alone(self.own_dir) as waited:
            services = in_order(self.declared, names)
            if waited and services:
                tell(services[0], "another start or stop has ended", 0.0)
            return [self._start_wanted(service, tell) for service in services]

    def stop(self, names: Iterable[str], tell: Progress) -> list[Standing]:
        """Stop services and what needs them, in reverse. Raises ServiceFailed."""
        names = self.named(names)
        with alone(self.own_dir):
            services = in_reverse(self.declared, names)
            self._wish(unwanted={service.name for service in services})
            return [self._stop_one(service, tell) for service in services]

    def watch(self, watched: bool) -> None:
        """Turn watching on or off."""
        with alone(self.own_dir):
            write_wishes(self.own_dir, Wishes(read_wishes(self.own_dir).wanted, watched))

    @property
    def is_watched(self) -> bool:
        """Say whether the daemon starts services again that died."""
        return bool(self.cfg["services.watch"]) and read_wishes(self.own_dir).watched

    def log_of(self, service: Service) -> str:
        """Return the file that holds a service's output."""
        return log_file(service, self._env, self.own_dir)

    def _seen(self, service: Service) -> Standing:
        planned_bytes = self._needs_bytes(service)
        try:
            found = self._doors[service.runs].find(service)
        except ServiceFailed as error:
            return Standing(service, None, False, error.message, planned_bytes=planned_bytes)
        if found is None:
            owner = owner_of(service.port) if service.port else None
            stranger, why = str(owner or ""), self._why(service)
            return Standing(service, None, False, why, stranger, planned_bytes=planned_bytes)
        told = ask_ready(service, self._env)
        return Standing(
            service, found, told.is_ready, told.said, "",
            tree_bytes(found.pid, self._env), planned_bytes, self._versions.of(service, found),
        )  # fmt: skip

    def _start_wanted(self, service: Service, tell: Progress) -> Standing:
        """Start one, and have it watched only if that went well: its person knows what failed."""
        self._wish(wanted={service.name})
        try:
            return self._start_one(service, tell)
        except BaseException as error:
            self._wish(unwanted={service.name})
            if isinstance(error, ServiceFailed):
                what = f"{error.message}: {error.hint}" if error.hint else error.message
                write_last_error(self.own_dir, service.name, LastError(time.time(), what))
            raise

    def _start_one(self, service: Service, tell: Progress) -> Standing:
        began = time.monotonic()
        standing = self.look(service)
        if standing.is_well:
            tell(service, "is well already", 0.0)
            return standing
        if standing.stranger:
            raise ServiceFailed(
                f"`{service.name}`: port {service.port} is taken by {standing.stranger}",
                hint=f"end it, or change `services.{service.name}.port`",
            )
        if standing.found is None:
            self._check_memory(service)
            tell(service, "is started", 0.0)
            self._doors[service.runs].start(service)
        return self._await_ready(service, began, tell)

    def _await_ready(self, service: Service, began: float, tell: Progress) -> Standing:
        while True:
            standing = self.look(service)
            waited_s = time.monotonic() - began
            if standing.is_well:
                tell(service, "is well", waited_s)
                return standing
            if standing.found is None:
                raise self._failed(service, f"ended after {show_duration(waited_s)}", standing)
            if waited_s >= service.ready_within_s:
                patience = show_duration(service.ready_within_s)
                raise self._failed(service, f"was not ready within {patience}", standing)
            resident = f", {show_bytes(standing.memory_bytes)}" if standing.memory_bytes else ""
            tell(service, f"is not ready yet: {standing.said}{resident}", waited_s)
            time.sleep(ASK_EVERY_S)

    def _failed(self, service: Service, what: str, standing: Standing) -> ServiceFailed:
        said = f" ({standing.said})" if standing.said else ""
        if service.runs is Runs.RAM_DISK:
            return ServiceFailed(f"`{service.name}` {what}{said}")
        lines = last_lines(self.log_of(service), LAST_LINES)
        last = (
            f"its last words: {' | '.join(lines)}"
            if lines
            else f"`forge services logs {service.name}`"
        )
        return ServiceFailed(f"`{service.name}` {what}{said}", hint=last)

    def _stop_one(self, service: Service, tell: Progress) -> Standing:
        began = time.monotonic()
        if self._doors[service.runs].find(service) is None:
            tell(service, "is down already", 0.0)
        else:
            tell(service, "is told to end", 0.0)
            self._doors[service.runs].stop(service)
            tell(service, "has ended", time.monotonic() - began)
        return self.look(service)

    def _check_memory(self, service: Service) -> None:
        """Refuse to start what does not fit: a model that swaps is worse than none."""
        needed_bytes = self._needs_bytes(service)
        if not needed_bytes:
            return
        reading = self._memory.read(time.monotonic())
        if needed_bytes > reading.available_bytes:
            raise ServiceFailed(
                f"`{service.name}` needs {show_bytes(needed_bytes)} by the memory map, and"
                f" {show_bytes(reading.available_bytes)} can be had",
                hint="`forge plan` shows who has it",
            )

    def _needs_bytes(self, service: Service) -> int:
        return service.memory_bytes + sum(self._planned[row] for row in service.rows)

    def _planned_bytes(self) -> dict[str, int]:
        reading_mib = self._memory.read(time.monotonic()).total_bytes // MIB
        total_mib = self.cfg["host.memory"] or reading_mib
        memory_map = config.memory_map(self.cfg, total_mib, str(self.cfg.path))
        return {row.key: row.size_mib * MIB for row in memory_map.rows}

    def _why(self, service: Service) -> str:
        try:
            return self._doors[service.runs].why(service)
        except ServiceFailed as error:
            return error.message

    def _wish(self, wanted: set[str] | None = None, unwanted: set[str] | None = None) -> None:
        was = read_wishes(self.own_dir)
        names = (was.wanted | (wanted or set())) - (unwanted or set())
        write_wishes(self.own_dir, Wishes(frozenset(names), was.watched))
