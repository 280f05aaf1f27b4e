"""The process of an inference server: who it is, and what it has in memory.

It is found by its port, looked for again when it is gone, and known by pid and start. The words of
keys on its command line are hidden before anybody sees them.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from forge.core.inference_seen import ServerProcess
from forge.host.http_get import Address
from forge.host.processes import Process

ENVIRONMENT = "LLAMA_ARG_"
"""Variables that stand for words of the command line begin so; the key's is none of them."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a port. `link` is how it holds it, where that can be seen.

    `env` has what llama-server reads of the environment. None: it is not ours to look at.
    """

    process: Process
    started_s: float
    argv: tuple[str, ...] | None = None
    directory: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    link: tuple[str, str] | None = None


class ServerProcesses(Protocol):
    """The door."""

    def find(self, address: Address) -> Holder | str:
        """Return who holds a port of this machine, or why that cannot be said."""
        ...

    def still_holds(self, holder: Holder) -> bool:
        """Say whether it is this very process, and it still has the port."""
        ...

    def measure(self, holder: Holder, models: tuple[str, ...], *, deep: bool) -> ServerProcess:
        """Read what it has; how much of its `models` is resident too, if `deep`.

        What cannot be read is `missing`.
        """
        ...


def open_server_processes() -> ServerProcesses:
    """Return this platform's door."""
    if sys.platform == "darwin":
        from forge.host.server_processes_darwin import DarwinServerProcesses

        return DarwinServerProcesses()
    from forge.host.server_processes_linux import LinuxServerProcesses

    return LinuxServerProcesses()
