"""The process of an inference server on Linux, by /proc (proc_pid_status(5) and its neighbours).

Its status and its faults are anybody's to read; what it has read from disk, what it has mapped and
its environment are not (ptrace(2), PTRACE_MODE_READ). Refaults are those of its whole cgroup: pages
that were read again after they had been taken away.
"""

import os
import pwd
from dataclasses import dataclass, field
from pathlib import Path

from forge.core.inference_seen import MappedModel, ServerProcess
from forge.core.llama_args import shown_args
from forge.host import cgroups
from forge.host.http_get import Address
from forge.host.listeners import holder_of, is_here, listening_at
from forge.host.mapped_models import mapped_models
from forge.host.processes import Process
from forge.host.processes_linux import start_time
from forge.host.server_processes import ENVIRONMENT, Holder
from forge.host.small_files import figure, read_text, reason_of

_TICKS = os.sysconf("SC_CLK_TCK")


class LinuxServerProcesses:
    """The door. `proc` is a recorded tree in tests."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    def find(self, address: Address) -> Holder | str:
        """Find it by the socket that listens."""
        if not is_here(address.host):
            return f"{address.host} is not this machine"
        listener = listening_at(address.host, address.port, self._proc)
        if listener is None:
            return f"nothing here listens on port {address.port}"
        found = holder_of(listener.inode, self._proc)
        started = start_time(found[0], self._proc) if found else None
        if found is None or started is None:
            owner = _user(listener.uid)
            return f"port {address.port} belongs to a process of {owner}, not ours to inspect"
        pid, link = found
        return Holder(
            Process(pid, started),
            self._boot_s() + started / _TICKS,
            _words(f"{self._proc}/{pid}/cmdline"),
            _link(f"{self._proc}/{pid}/cwd"),
            _environment(f"{self._proc}/{pid}/environ"),
            (link, f"socket:[{listener.inode}]"),
        )

    def still_holds(self, holder: Holder) -> bool:
        """Look at its start, and at its link to the socket."""
        if start_time(holder.process.pid, self._proc) != holder.process.started:
            return False
        return holder.link is None or _link(holder.link[0]) == holder.link[1]

    def measure(self, holder: Holder, models: tuple[str, ...], *, deep: bool) -> ServerProcess:
        """Read its status, faults and reads; the page cache and its cgroup, if `deep`."""
        reading = _Reading(str(self._proc), holder.process.pid)
        status = reading.text("status").replace("\t", " ")
        faults = reading.text("stat").rpartition(")")[2].split()
        found = reading.models(models) if deep else ()
        return ServerProcess(
            pid=holder.process.pid,
            started_s=holder.started_s,
            argv=tuple(shown_args(holder.argv)) if holder.argv is not None else None,
            resident_bytes=_kib(status, "VmRSS"),
            anonymous_bytes=_kib(status, "RssAnon"),
            locked_bytes=_kib(status, "VmLck"),
            swapped_bytes=_kib(status, "VmSwap"),
            major_faults=int(faults[9]) if len(faults) > 9 else None,
            read_bytes=figure(reading.text("io"), "read_bytes:"),
            refaults=reading.refaults() if deep else None,
            models=found,
            is_deep=deep,
            missing=tuple(reading.missing),
        )

    def _boot_s(self) -> float:
        return float(figure(read_text(f"{self._proc}/stat"), "btime") or 0)


@dataclass(slots=True)
class _Reading:
    """One look at the files of a process; what cannot be read is noted."""

    proc: str
    pid: int
    missing: list[str] = field(default_factory=list)

    @property
    def place(self) -> str:
        """Where its files are."""
        return f"{self.proc}/{self.pid}"

    def text(self, name: str) -> str:
        """Read a file of the process."""
        try:
            return read_text(f"{self.place}/{name}")
        except OSError as error:
            self.missing.append(f"{name}: {(error.strerror or str(error)).lower()}")
            return ""

    def models(self, paths: tuple[str, ...]) -> tuple[MappedModel, ...]:
        """Look how much of the models that it has mapped is resident."""
        models, missing = mapped_models(self.place, self.text("maps"), paths)
        self.missing += missing
        return models

    def refaults(self) -> int | None:
        """Read the refaults of its cgroup. The root is everybody's, and says nothing of one."""
        try:
            membership = read_text(f"{self.place}/cgroup")
            found = cgroups.find(membership, read_text(f"{self.proc}/self/mountinfo"))
            if found.memory is None or found.memory.places[0] == "/":
                self.missing.append(f"refaults: {found.reason or 'it is in no cgroup of its own'}")
                return None
            stat = read_text(f"{found.memory.directories[0]}/memory.stat")
        except OSError as error:
            self.missing.append(f"refaults: {reason_of(error)}")
            return None
        prefix = "total_" if "\ntotal_workingset_refault" in stat else ""
        kinds = ("workingset_refault_file", "workingset_refault_anon", "workingset_refault")
        told = [count for kind in kinds if (count := figure(stat, prefix + kind)) is not None]
        return sum(told) if told else None


def _kib(status: str, name: str) -> int | None:
    count = figure(status, f"{name}:")
    return None if count is None else count * 1024


def _words(path: str) -> tuple[str, ...] | None:
    try:
        return tuple(read_text(path).split("\0")[:-1])
    except OSError:
        return None


def _environment(path: str) -> dict[str, str]:
    pairs = (word.partition("=") for word in _words(path) or ())
    return {name: value for name, _, value in pairs if name.startswith(ENVIRONMENT)}


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
