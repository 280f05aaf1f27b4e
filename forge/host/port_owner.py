"""Who listens on a port of this machine?"""

from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class PortOwner:
    """A process that listens; pid None: one of another user, of which nothing more is told."""

    pid: int | None
    name: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})" if self.pid else self.name


def owner_of(port: int) -> PortOwner | None:
    """Return who listens on a TCP port, or None when nobody does."""
    somebody = None
    for pid in _owners(port):
        if pid is None:
            somebody = PortOwner(None, "a process of another user")
            continue
        try:
            return PortOwner(pid, psutil.Process(pid).name())
        except psutil.Error:
            continue  # it has just ended
    return somebody


def _owners(port: int) -> list[int | None]:
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:  # macOS lets root alone see all; our own processes are told
        return _own_owners(port)
    return [
        one.pid
        for one in connections
        if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port
    ]


def _own_owners(port: int) -> list[int | None]:
    found: list[int | None] = []
    for process in psutil.process_iter():
        try:
            listening = [
                one
                for one in process.net_connections("tcp")
                if one.status == psutil.CONN_LISTEN and one.laddr.port == port
            ]
        except psutil.Error:
            continue  # it has ended, or is another user's
        if listening:
            found.append(process.pid)
    return found
