"""Who listens on a TCP port of this machine.

On Linux the kernel names a listening socket by its inode (proc_net(5)), and the process is the one
that has it open. Where that is somebody else's, only the user is told. Elsewhere psutil is asked,
which sees the processes of our user.
"""

import ipaddress
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket: its address, its inode, and the user who has opened it."""

    address: str
    inode: str
    uid: int


def is_here(host: str) -> bool:
    """Say whether an address is one of this machine's: only then can a socket be bound to it."""
    for family, *_, address in _resolved(host):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((address[0], 0, *address[2:]))
            return True
    return False


def listeners(port: int, proc: Path = Path("/proc")) -> list[Listener]:
    """Return the sockets that listen on a port, of either family."""
    found = []
    for name, wanted in (("tcp", 4), ("tcp6", 16)):
        with suppress(OSError):
            lines = (proc / "net" / name).read_text().splitlines()[1:]
            found += [one for line in lines if (one := _listener(line, port, wanted))]
    return found


def listening_at(host: str, port: int, proc: Path = Path("/proc")) -> Listener | None:
    """Return who answers at an address: the socket bound to it, or to all of them."""
    wanted = {ipaddress.ip_address(str(at[0]).partition("%")[0]) for *_, at in _resolved(host)}
    found = [(ipaddress.ip_address(one.address), one) for one in listeners(port, proc)]
    exact = [one for address, one in found if address in wanted]
    wide = [one for address, one in found if address.is_unspecified]
    return next(iter([*exact, *wide]), None)


def holder_of(inode: str, proc: Path = Path("/proc")) -> tuple[int, str] | None:
    """Return the process that has a socket open, and its link to it; None: none that we may see."""
    wanted = f"socket:[{inode}]"
    for pid in filter(str.isdigit, os.listdir(proc)):
        with suppress(OSError):
            for fd in os.listdir(f"{proc}/{pid}/fd"):
                with suppress(OSError):
                    if os.readlink(f"{proc}/{pid}/fd/{fd}") == wanted:
                        return int(pid), f"{proc}/{pid}/fd/{fd}"
    return None


def pid_by_psutil(port: int) -> int | None:
    """Return the process of ours that listens on a port."""
    import psutil

    for process in psutil.process_iter():
        with suppress(psutil.Error):
            for one in process.net_connections("tcp"):
                if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port:
                    return int(process.pid)
    return None


def _resolved(host: str) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
    with suppress(OSError, UnicodeError):
        return [*socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    return []


def _listener(line: str, port: int, wanted: int) -> Listener | None:
    fields = line.split()
    if len(fields) < 10 or fields[3] != _LISTEN:
        return None
    written, _, number = fields[1].partition(":")
    if int(number, 16) != port or len(written) != 2 * wanted:
        return None
    words = [int(written[at : at + 8], 16) for at in range(0, len(written), 8)]
    address = ipaddress.ip_address(struct.pack(f"={len(words)}I", *words))
    mapped = getattr(address, "ipv4_mapped", None)
    return Listener(str(mapped or address), fields[9], int(fields[7]))
