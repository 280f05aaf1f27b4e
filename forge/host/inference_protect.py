"""Sees to it that the kernel spares an inference server: Linux only, and only what it lets us.

When memory ends the kernel kills by size, and a server with locked weights is the largest. Its
score may be lowered by root alone (proc_pid_oom_score_adj(5)). In version 2 `memory.low` keeps
pages of a cgroup from being evicted as long as there are others; that is set only on a cgroup in
which there is nothing but the server, since it would protect everything in it.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from forge.host import cgroups
from forge.host.small_files import read_text, reason_of, write_kernel_file

SERVER_OOM_SCORE_ADJ = -900
"""Far behind compilers and everybody else, and not -1000: a server that takes all can be ended."""


def protect(
    pid: int,
    need_bytes: int,
    root: Path = Path("/"),
    is_same: Callable[[], bool] = lambda: True,
) -> tuple[list[str], list[str]]:
    """Protect a process as far as may be; return what was done, and what was refused and why.

    `is_same` says just before each step whether the pid still is the one that is meant. `root`
    exists so that tests can point it at a recorded tree.
    """
    done: list[str] = []
    refused: list[str] = []
    top = str(root).rstrip("/")
    for step in (_offer_last, _keep_low):
        if not is_same():
            refused.append("the process is gone")
            break
        try:
            done += step(top, pid, need_bytes)
        except (OSError, ValueError) as error:
            refused.append(reason_of(error))
    return done, refused


def _offer_last(top: str, pid: int, _need_bytes: int) -> list[str]:
    path = f"{top}/proc/{pid}/oom_score_adj"
    own = int(read_text(path))
    if own > SERVER_OOM_SCORE_ADJ:
        write_kernel_file(path, str(SERVER_OOM_SCORE_ADJ))
    return [f"oom_score_adj {min(own, SERVER_OOM_SCORE_ADJ)}"]


def _keep_low(top: str, pid: int, need_bytes: int) -> list[str]:
    if not need_bytes:
        return []
    membership = read_text(f"{top}/proc/{pid}/cgroup")
    found = cgroups.find(membership, read_text(f"{top}/proc/self/mountinfo")).memory
    if found is None or found.version == cgroups.V1:
        return []
    directory = f"{top}{found.directories[0]}"
    path = f"{directory}/memory.low"
    if set(read_text(f"{directory}/cgroup.procs").split()) != {str(pid)}:
        raise ValueError(f"{path}: others are in this cgroup as well")
    with suppress(ValueError):  # `max`
        if int(read_text(path)) < need_bytes:
            write_kernel_file(path, str(need_bytes))
    return [f"memory.low {read_text(path).strip()}"]
