"""Runs one tool of the simulated macOS, with the fault that this call is to meet."""

from __future__ import annotations

import os
import sys

from tests.macos import disk_programs, diskutil_program, host_programs
from tests.macos.world import World, load, save

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROGRAMS = {
    "hdiutil": disk_programs.hdiutil,
    "diskutil": diskutil_program.diskutil,
    "newfs_apfs": disk_programs.newfs_apfs,
    "mdutil": disk_programs.mdutil,
    "sysctl": host_programs.sysctl,
    "vm_stat": host_programs.vm_stat,
    "memory_pressure": host_programs.memory_pressure,
    "sw_vers": host_programs.sw_vers,
    "launchctl": host_programs.launchctl,
    "pmset": host_programs.pmset,
    "tmutil": host_programs.tmutil,
}
Answer = tuple[int, str, str]


def main(program: str) -> int:
    world = World(os.environ["FORGE_SIM_MACOS"])
    argv = sys.argv[1:]
    name = ".".join([program, *_verb(argv)])
    world.log_call(name, argv)
    fault = world.take_fault(name)
    code, out, err = _run(world, program, argv, fault)
    sys.stdout.write(out)
    sys.stderr.write(err)
    sys.stdout.flush()
    if fault.get("holds_pipe_s"):
        _hold_pipe(world, fault["holds_pipe_s"])
    return code


def _verb(argv: list[str]) -> list[str]:
    return [word for word in argv if word not in ("apfs", "quiet") and word[:1].isalpha()][:1]


def _run(world: World, program: str, argv: list[str], fault: dict[str, Any]) -> Answer:
    if fault.get("late_s") is not None:
        return _run_in_helper(world, program, argv, fault)
    if program != "diskutil":
        return _perform(world, program, argv, fault)
    with world.locked("storagekitd"):  # one service serialises all verbs of diskutil
        return _perform(world, program, argv, fault)


def _perform(world: World, program: str, argv: list[str], fault: dict[str, Any]) -> Answer:
    world.sleep(fault.get("delay_s", 0))
    if fault.get("fails"):
        verb = argv[0] if argv else ""
        return fault["exit_code"], "", f"{program}: {verb} failed - {fault['fails']}\n"
    if fault.get("says") is not None:
        return fault["exit_code"], fault["says"], ""
    answer = PROGRAMS[program](world, argv, fault)
    world.sleep(fault.get("delay_after_s", 0))
    return answer


def _run_in_helper(world: World, program: str, argv: list[str], fault: dict[str, Any]) -> Answer:
    """Let a detached process do the work, late, whatever becomes of us, who wait for it."""
    answer_path = f"{world.home}/answer-{os.getpid()}"
    if _fork_detached():
        while not os.path.exists(answer_path) and not world.is_closed:
            world.sleep(0.02)
        if world.is_closed:
            return 1, "", ""
        code, out, err = load(answer_path)
        return code, out, err
    _close_streams()
    fault = fault | {"late_s": None, "delay_s": fault["late_s"]}
    answer = _run(world, program, argv, fault)
    save(answer_path, answer)
    os._exit(0)


def _hold_pipe(world: World, duration_s: float) -> None:
    if not _fork_detached():
        world.sleep(duration_s)
        os._exit(0)


def _fork_detached() -> bool:
    """Return True in the caller and False in a process that nobody waits for."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return True
    os.setsid()
    if os.fork():
        os._exit(0)
    return False


def _close_streams() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
