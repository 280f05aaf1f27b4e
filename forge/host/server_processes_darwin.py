"""The process of an inference server on macOS.

RSS is wrong there by an order of magnitude: memory of the GPU is not in it. The footprint counts
what the process owns, compressed and swapped pages as well, and the wired pages of the whole system
hold what Metal keeps resident; when they fall while a server is up, its model is being let go. Only
deep looks ask for them: the kernel answers all programs together a few times a second.

What a process has mapped nobody tells us cheaply, so its model's files are looked at as a whole,
unless it was told not to map them.
"""

import os
from typing import Any, Protocol

from forge.core.inference_seen import MappedModel, ServerProcess
from forge.core.llama_args import read_args, shown_args
from forge.host.http_get import Address
from forge.host.listeners import is_here, pid_by_psutil
from forge.host.mach import Kernel, MachKernel, VmStatistics
from forge.host.page_cache import resident_bytes
from forge.host.processes import Process
from forge.host.rusage import LibprocRusage, Rusage, RusageInfo
from forge.host.server_processes import ENVIRONMENT, Holder
from forge.host.small_files import reason_of

_UNMAPPED = ("none", "mlock", "dio")


class Table(Protocol):
    """The processes of this machine, as psutil shows them."""

    def listener(self, port: int) -> int | None:
        """Return the process of ours that listens on a port."""
        ...

    def process(self, pid: int) -> Any:
        """Return a psutil.Process. Raises psutil.Error."""
        ...


class PsutilTable:
    """The processes of the machine that we run on."""

    def listener(self, port: int) -> int | None:
        """Look at the sockets of all processes that we may look at."""
        return pid_by_psutil(port)

    def process(self, pid: int) -> Any:
        """Return a psutil.Process. Raises psutil.Error."""
        import psutil

        return psutil.Process(pid)


class DarwinServerProcesses:
    """The door. `rusage`, `kernel` and `table` are recordings in tests."""

    def __init__(
        self,
        rusage: Rusage | None = None,
        kernel: Kernel | None = None,
        table: Table | None = None,
        page_bytes: int | None = None,
    ) -> None:
        self._rusage = rusage or LibprocRusage()
        self._kernel = kernel or MachKernel()
        self._table = table or PsutilTable()
        self._page_bytes = page_bytes or os.sysconf("SC_PAGE_SIZE")

    def find(self, address: Address) -> Holder | str:
        """Find it among the processes of our user: of others' sockets only root is told."""
        import psutil

        if not is_here(address.host):
            return f"{address.host} is not this machine"
        pid = self._table.listener(address.port)
        if pid is None:
            return f"no process of ours listens on port {address.port}"
        try:
            process = self._table.process(pid)
            started_s, argv = process.create_time(), tuple(process.cmdline())
            return Holder(
                Process(pid, started_s), started_s, argv, process.cwd(), _environment(process)
            )
        except psutil.Error as error:
            return f"process {pid}: {error}"

    def still_holds(self, holder: Holder) -> bool:
        """Look at its start: a llama-server holds its port for as long as it lives."""
        import psutil

        try:
            started_s: float = self._table.process(holder.process.pid).create_time()
        except psutil.Error:
            return False
        return started_s == holder.process.started

    def measure(self, holder: Holder, models: tuple[str, ...], *, deep: bool) -> ServerProcess:
        """Ask what is counted of it; look at the models' files, if `deep`."""
        missing: list[str] = []
        info = self._info(holder.process.pid, missing)
        argv = holder.argv or ()
        found = self._models(models, missing) if deep and _maps(argv) else ()
        return ServerProcess(
            pid=holder.process.pid,
            started_s=holder.started_s,
            argv=tuple(shown_args(argv)),
            resident_bytes=info.resident_size if info else None,
            locked_bytes=info.wired_size if info else None,
            footprint_bytes=info.phys_footprint if info else None,
            major_faults=info.pageins if info else None,
            read_bytes=info.diskio_bytesread if info else None,
            models=found,
            is_deep=deep,
            system_wired_bytes=self._wired(missing) if deep else None,
            missing=tuple(missing),
        )

    def _info(self, pid: int, missing: list[str]) -> RusageInfo | None:
        try:
            return RusageInfo.from_buffer_copy(self._rusage.ask(pid))
        except OSError as error:
            missing.append(f"footprint: {reason_of(error)}")
            return None

    def _wired(self, missing: list[str]) -> int | None:
        try:
            told = VmStatistics.from_buffer_copy(self._kernel.vm_statistics())
        except OSError as error:
            missing.append(f"wired pages: {reason_of(error)}")
            return None
        return int(told.wire_count) * self._page_bytes

    def _models(self, paths: tuple[str, ...], missing: list[str]) -> tuple[MappedModel, ...]:
        found = []
        for path in paths:
            try:
                found.append(MappedModel(path, os.stat(path).st_size, resident_bytes(path)))
            except OSError as error:
                missing.append(f"{path}: {reason_of(error)}")
        return tuple(found)


def _environment(process: Any) -> dict[str, str]:
    import psutil

    try:
        told = process.environ()
    except psutil.Error:  # as of a program that the system protects
        return {}
    return {name: value for name, value in told.items() if name.startswith(ENVIRONMENT)}


def _maps(argv: tuple[str, ...]) -> bool:
    return "--no-mmap" not in argv and read_args(argv).load_mode not in _UNMAPPED
