"""The door to the cgroup that builds run in. macOS has no such thing."""

import sys
from pathlib import Path
from typing import Protocol

from forge.core.build_cgroup import BuildCgroup
from forge.core.memory import Missing


class BuildCgroups(Protocol):
    """Makes the cgroup, and takes it away."""

    def open(self) -> BuildCgroup | Missing:
        """Make the cgroup and turn swapping off in it, or say why that cannot be."""
        ...

    def limit(self, directory: str, version: int, ceiling_bytes: int) -> int:
        """Set the most memory that all builds together may have; return what was set.

        It is never below what they have. Raises OSError.
        """
        ...

    def limit_left(self, pid: int) -> str | None:
        """Name a limit that `pid` would leave by entering; None when there is none."""
        ...

    def weigh(self, file: str, value: int) -> None:
        """Set how much builds get of cores that others want as well. Raises OSError."""
        ...

    def place_of(self, pid: int) -> str | None:
        """Name the memory cgroup that a process is in; None where there is none."""
        ...

    def close(self) -> None:
        """Remove the cgroup, unless builds are still in it."""
        ...


class NoBuildCgroups:
    """A system without cgroups."""

    def open(self) -> BuildCgroup | Missing:
        """Say why there is none."""
        return Missing("cgroup of builds", "this system can keep no single process out of swap")

    def limit(self, directory: str, version: int, ceiling_bytes: int) -> int:
        """Never called: there is none."""
        raise AssertionError("there is no cgroup to limit")

    def limit_left(self, pid: int) -> str | None:
        """Nobody can leave one."""
        return None

    def weigh(self, file: str, value: int) -> None:
        """Never called: there is none."""
        raise AssertionError("there is no cgroup to weigh")

    def place_of(self, pid: int) -> str | None:
        """Nobody is in one."""
        return None

    def close(self) -> None:
        """There is nothing to remove."""


def open_build_cgroups(state_dir: Path) -> BuildCgroups:
    """Return this platform's door."""
    if sys.platform != "linux":
        return NoBuildCgroups()
    from forge.host.build_cgroup_linux import LinuxBuildCgroups

    return LinuxBuildCgroups(state_dir)
