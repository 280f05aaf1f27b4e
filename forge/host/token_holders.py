"""The most tokens that the living processes of a build can hold, from the process table."""

import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from forge.core.lost_tokens import most_held
from forge.core.process_tree import Member, below
from forge.host.process_table import read_table


def token_holders(cargos: Iterable[int], proc: Path = Path("/proc")) -> dict[int, int]:
    """Return the bound for each of `cargos` that is alive, by its pid.

    Processes that vanish meanwhile hold nothing. `proc` exists so that tests can point it at a
    recording.
    """
    table = read_table(proc)
    alive = {one.pid for one in table}
    return {
        cargo: most_held(cargo, [_named(one, proc) for one in below(cargo, table)])
        for cargo in cargos
        if cargo in alive
    }


def _named(member: Member, proc: Path) -> Member:
    """Return a process under its program's name: the linker gate is called as the linker is."""
    try:
        program = _program(member.pid, proc)
    except OSError:  # gone, or not ours to see
        return member
    return replace(member, name=os.path.basename(program.removesuffix(" (deleted)")))


def _program(pid: int, proc: Path) -> str:
    if sys.platform == "linux":
        return os.readlink(f"{proc}/{pid}/exe")
    import psutil

    try:
        return psutil.Process(pid).exe()
    except psutil.Error as error:
        raise OSError(str(error)) from None
