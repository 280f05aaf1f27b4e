"""The most tokens that the living processes of a build can hold, from the process table.

On Linux the table is read once, for all builds (proc_pid_stat(5)): psutil needs 13 ms for a tree of
100 processes, this 3 ms. On macOS psutil asks the kernel for the whole table at once.
"""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from forge.core.lost_tokens import Member, below, most_held

if TYPE_CHECKING:
    import psutil

UNKNOWN_THREADS = 1024
"""What a process that we may not look at counts for: more than any jobserver has."""


def token_holders(cargos: Iterable[int], proc: Path = Path("/proc")) -> dict[int, int]:
    """Return the bound for each `cargos` that is alive, by its pid.

    Processes that vanish meanwhile hold nothing. `proc` exists so that tests can point it at a
    recording.
    """
    if sys.platform != "linux":
        return holders_by_psutil(cargos)
    members = list(_members(proc))
    alive = {one.pid for one in members}
    return {
        cargo: most_held(cargo, [_named(one, proc) for one in below(cargo, members)])
        for cargo in cargos
        if cargo in alive
    }


def holders_by_psutil(cargos: Iterable[int]) -> dict[int, int]:
    """Return the same where there is no /proc."""
    import psutil

    found = {}
    for cargo in cargos:
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(cargo)
            if root.status() != psutil.STATUS_ZOMBIE:
                found[cargo] = most_held(cargo, list(_tree_by_psutil(root)))
    return found


def _members(proc: Path) -> Iterator[Member]:
    """Return all processes but zombies, under the names that the kernel gives them."""
    for pid in filter(str.isdigit, os.listdir(proc)):
        try:
            with open(f"{proc}/{pid}/stat", "rb") as stat:
                head, _, tail = stat.read().rpartition(b")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = tail.split()  # from the third on, the state
        if fields[0] not in (b"Z", b"X"):
            name = head.partition(b"(")[2].decode("utf-8", "replace")
            yield Member(int(pid), int(fields[1]), name, int(fields[17]))


def _named(member: Member, proc: Path) -> Member:
    """Return a process under its program's name: the linker gate is called as the linker is."""
    try:
        program = os.readlink(f"{proc}/{member.pid}/exe")
    except OSError:  # gone, or not ours to see
        return member
    return replace(member, name=os.path.basename(program.removesuffix(" (deleted)")))


def _tree_by_psutil(root: "psutil.Process") -> Iterator[Member]:
    import psutil

    for process in root.children(recursive=True):
        try:
            with process.oneshot():
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                threads, parent = process.num_threads(), process.ppid()
                program = ""
                with contextlib.suppress(psutil.AccessDenied):
                    program = process.exe()
                name = os.path.basename(program) or process.name()
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:  # another user's: it may hold as many as it likes
            threads, parent, name = UNKNOWN_THREADS, root.pid, ""
        yield Member(process.pid, parent, name, threads)
