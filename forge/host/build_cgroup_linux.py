"""The builds' cgroup on Linux: made as near to the daemon as the kernel lets us.

A cgroup of version 1 may have processes and children both, so there it is a child of our own. In
version 2 a cgroup with processes has no controllers to give to children, so it becomes a sibling,
or a child of whoever further out was given the memory controller to hand on (systemd's delegation).
Either way every limit above us holds for builds too, and what we read of them holds.

Its name has our user and pid in it: an empty one of a daemon that is gone is removed by the next.

Source: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst.
"""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from forge.core.build_cgroup import BUILD_OOM_SCORE_ADJ, BuildCgroup
from forge.core.memory import Missing
from forge.core.units import MIB
from forge.host import cgroups
from forge.host.cgroup_memory import read_limits
from forge.host.cgroups import V1, Hierarchy
from forge.host.processes import identify
from forge.host.small_files import figure, read_text, reason_of, write_kernel_file

NOTE_NAME = "builds.cgroups"
"""In the state directory: the cgroups that we have made and not yet removed, one a line."""

V1_CAVEAT = (
    "it is of cgroup version 1: when the whole machine has neither free memory nor page cache left,"
    " the kernel swaps builds all the same"
)
UNCOUNTED_CAVEAT = "builds can be swapped: this kernel does not count swap for each cgroup"

_NAME = re.compile(r"opta-forge-(\d+)-(\d+)")
_SWAP_SWITCH = {V1: "memory.swappiness", cgroups.V2: "memory.swap.max"}
_CEILING = {V1: "memory.limit_in_bytes", cgroups.V2: "memory.max"}
V1_SHARES = 1024
"""What one process of the usual priority weighs in version 1."""

_USED = {V1: "memory.usage_in_bytes", cgroups.V2: "memory.current"}
HEADROOM_BYTES = 64 * MIB
"""A ceiling is so far above what builds have at least: they go on, and give way by the ladder."""

_MEMSW = "memory.memsw.limit_in_bytes"


class LinuxBuildCgroups:
    """The door. `root` is the root of a recorded tree in tests.

    There `mkdir` and `rmdir` stand in for the kernel, which fills and empties a cgroup's directory.
    """

    def __init__(
        self,
        state_dir: Path,
        root: Path = Path("/"),
        *,
        mkdir: Callable[[str], None] = os.mkdir,
        rmdir: Callable[[str], None] = os.rmdir,
    ) -> None:
        self._mkdir, self._rmdir = mkdir, rmdir
        self._root = str(root).rstrip("/")
        self._note = state_dir / NOTE_NAME
        self._made: str | None = None
        self._made_for_cpu: str | None = None
        self._above: frozenset[str] = frozenset()

    def open(self) -> BuildCgroup | Missing:
        """Make the cgroup. See BuildCgroups.open."""
        self._sweep_noted()
        try:
            hierarchy = self._hierarchy("self")
        except OSError as error:
            return _missing(reason_of(error))
        if isinstance(hierarchy, Missing):
            return hierarchy
        hierarchy = self._left_of_builds(hierarchy)
        refusal = "no cgroup above us has a memory controller to hand on"
        for depth, directory in enumerate(hierarchy.directories):
            try:
                cgroup = self._make_below(f"{self._root}{directory}", hierarchy.version)
            except OSError as error:
                refusal = reason_of(error) if depth == 0 else refusal
                continue
            cgroup = self._weighed(cgroup)
            self._above = frozenset((*hierarchy.places[depth:], self._place(hierarchy, depth)))
            return cgroup
        return _missing(refusal)

    def limit(self, directory: str, version: int, ceiling_bytes: int) -> int:
        """Set the ceiling, or the least above what builds have; return which.

        Below that, version 2 would end them at once, and version 1 refuses. Version 1 wants memory
        and swap together never below memory alone.
        """
        kept_bytes = _kept_bytes(directory, version)
        if kept_bytes:
            ceiling_bytes = max(ceiling_bytes, kept_bytes + HEADROOM_BYTES)
        names = [_CEILING[version]]
        together = f"{directory}/{_MEMSW}"
        if version == V1 and os.path.exists(together):
            is_raised = ceiling_bytes > int(read_text(together))
            names = [_MEMSW, *names] if is_raised else [*names, _MEMSW]
        for name in names:
            write_kernel_file(f"{directory}/{name}", str(ceiling_bytes))
        return ceiling_bytes

    def limit_left(self, pid: int) -> str | None:
        """Name a limit of the cgroups that `pid` is in and the builds' cgroup is not."""
        with suppress(OSError):
            hierarchy = self._hierarchy(str(pid))
            if isinstance(hierarchy, Hierarchy):
                limits, _ = read_limits(hierarchy, self._root)
                left = (one for one in limits if one.place not in self._above)
                return next((f"{one.name} of {one.place}" for one in left), None)
        return None

    def close(self) -> None:
        """Remove the cgroup; one that builds are still in is left to the next daemon."""
        for directory in filter(None, (self._made, self._made_for_cpu)):
            self._remove(directory)
        if self._made:
            self._sweep_noted()

    def weigh(self, file: str, value: int) -> None:
        """Set how much builds get of cores that others want as well."""
        write_kernel_file(file, str(value))

    def place_of(self, pid: int) -> str | None:
        """Name the memory cgroup that a process is in."""
        with suppress(OSError):
            hierarchy = self._hierarchy(str(pid))
            if isinstance(hierarchy, Hierarchy):
                return hierarchy.places[0]
        return None

    def _hierarchy(self, process: str) -> Hierarchy | Missing:
        membership = read_text(f"{self._root}/proc/{process}/cgroup")
        found = cgroups.find(membership, read_text(f"{self._root}/proc/self/mountinfo"))
        return found.memory or _missing(str(found.reason))

    def _left_of_builds(self, hierarchy: Hierarchy) -> Hierarchy:
        """Leave the cgroup of builds, where a build has started us, and what it offers itself with.

        Version 2 may refuse to have us further out; then we stay, below the ceiling of builds.
        """
        if not _NAME.fullmatch(os.path.basename(hierarchy.places[0])):
            return hierarchy
        outer = Hierarchy(hierarchy.version, hierarchy.places[1:], hierarchy.directories[1:])
        with suppress(OSError):
            write_kernel_file(f"{self._root}{outer.directories[0]}/cgroup.procs", "0")
        with suppress(OSError, ValueError):
            offered = f"{self._root}/proc/self/oom_score_adj"
            if int(read_text(offered)) == BUILD_OOM_SCORE_ADJ:
                write_kernel_file(offered, "0")
        return outer

    def _make_below(self, parent: str, version: int) -> BuildCgroup:
        """Make the cgroup there, with a memory controller and without swap. Raises OSError."""
        self._sweep_dead(parent)
        directory = f"{parent}/opta-forge-{os.getuid()}-{os.getpid()}"
        self._mkdir(directory)
        try:
            if not os.path.exists(f"{directory}/{_CEILING[version]}"):
                write_kernel_file(f"{parent}/cgroup.subtree_control", "+memory")
            is_swap_off = _turn_swap_off(f"{directory}/{_SWAP_SWITCH[version]}")
        except OSError:
            self._remove(directory)
            raise
        self._made = directory
        self._keep_note([*self._noted(), directory])
        caveat = (V1_CAVEAT if version == V1 else None) if is_swap_off else UNCOUNTED_CAVEAT
        return BuildCgroup(directory, version, is_swap_off, (caveat,) if caveat else ())

    def _weighed(self, cgroup: BuildCgroup) -> BuildCgroup:
        """Let the cores of builds be weighed, where that can be had."""
        with suppress(OSError):
            if cgroup.version == V1:
                return self._weighed_beside(cgroup)
            file = f"{cgroup.directory}/cpu.weight"
            if not os.path.exists(file):
                parent = os.path.dirname(cgroup.directory)
                write_kernel_file(f"{parent}/cgroup.subtree_control", "+cpu")
            if os.path.exists(file):
                return replace(cgroup, cpu_file=file, cpu_usual=int(read_text(file)))
        return cgroup

    def _weighed_beside(self, cgroup: BuildCgroup) -> BuildCgroup:
        """Make a second cgroup in version 1, where each controller has a tree of its own.

        Processes of its parent compete with it one by one, so it weighs as much as all cores' worth
        of them.
        """
        membership = read_text(f"{self._root}/proc/self/cgroup")
        mounts = read_text(f"{self._root}/proc/self/mountinfo")
        found = cgroups.find_v1("cpu", membership, mounts)
        if found is None:
            return cgroup
        parent = f"{self._root}{self._left_of_builds(found).directories[0]}"
        self._sweep_dead(parent)
        directory = f"{parent}/{os.path.basename(cgroup.directory)}"
        self._mkdir(directory)
        self._made_for_cpu = directory
        self._keep_note([*self._noted(), directory])
        usual = V1_SHARES * (os.cpu_count() or 1)
        write_kernel_file(f"{directory}/cpu.shares", str(usual))
        return replace(
            cgroup, cpu_file=f"{directory}/cpu.shares", cpu_usual=usual,
            cpu_procs=f"{directory}/cgroup.procs",
        )  # fmt: skip

    def _place(self, hierarchy: Hierarchy, depth: int) -> str:
        return f"{hierarchy.places[depth].rstrip('/')}/{os.path.basename(str(self._made))}"

    def _noted(self) -> list[str]:
        try:
            return self._note.read_text("utf-8", "surrogateescape").splitlines()
        except OSError:
            return []

    def _sweep_noted(self) -> None:
        """Remove what we or an earlier daemon of ours has made, as far as nothing is in it."""
        noted = self._noted()
        left = [one for one in noted if _NAME.search(one) and not self._remove(one)]
        if left != noted:
            self._keep_note(left)

    def _keep_note(self, directories: list[str]) -> None:
        with suppress(OSError):  # a full disk: the next daemon below the same parent sweeps by name
            text = "".join(f"{one}\n" for one in directories)
            self._note.write_text(text, "utf-8", "surrogateescape")

    def _sweep_dead(self, parent: str) -> None:
        """Remove the empty cgroups of our daemons that are gone: SIGKILL left them."""
        for name in os.listdir(parent):
            found = _NAME.fullmatch(name)
            if found and int(found[1]) == os.getuid() and identify(int(found[2])) is None:
                self._remove(f"{parent}/{name}")

    def _remove(self, directory: str) -> bool:
        """Say whether it is gone; one with processes in it stays."""
        try:
            self._rmdir(directory)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True


def _kept_bytes(directory: str, version: int) -> int:
    """Return what is charged to a cgroup and is no page cache that can be dropped."""
    try:
        used_bytes = int(read_text(f"{directory}/{_USED[version]}"))
        stat = read_text(f"{directory}/memory.stat")
    except (OSError, ValueError):
        return 0
    prefix = "total_" if version == V1 else ""
    files = (figure(stat, f"{prefix}{name}") or 0 for name in ("inactive_file", "active_file"))
    return max(0, used_bytes - sum(files))


def _turn_swap_off(switch: str) -> bool:
    try:
        write_kernel_file(switch, "0")
    except FileNotFoundError:
        return False
    return True


def _missing(reason: str) -> Missing:
    return Missing("cgroup of builds", reason)
