"""Where the cgroups above us are: /proc/self/cgroup names them, /proc/self/mountinfo says where.

Source: cgroups(7), cgroup_namespaces(7), proc_pid_mountinfo(5). A mount may show a part of the
hierarchy only (a container sees its own cgroup as the root), and within a cgroup namespace what
lies above shows as `..`, whose names nobody tells us. So a directory is the mount point and what is
left of the cgroup's path below the mount's root, and where that cannot be said there is none.
"""

import re
from dataclasses import dataclass

V1, V2 = 1, 2


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The cgroups of one mounted hierarchy that we are in: ours first, the outermost last.

    `places` are their names as the mount shows them, `directories` where their files are.
    """

    version: int
    places: tuple[str, ...]
    directories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """The hierarchy that limits memory and the one that counts stalls (v2); each may be none.

    `reason` says why nothing limits memory as far as we can see.
    """

    memory: Hierarchy | None
    stalls: Hierarchy | None
    reason: str | None = None


def find(membership: str, mountinfo: str) -> Found:
    """Find both from the text of /proc/self/cgroup and /proc/self/mountinfo.

    A controller belongs to one version: where v1 has memory, v2 (hybrid) has none to give.
    """
    v1, v2 = _paths(membership)
    mounts = _mounts(mountinfo)
    stalls = _hierarchy(V2, v2, mounts)
    if v1 is not None:
        memory = _hierarchy(V1, v1, mounts)
        return Found(memory, stalls, None if memory else f"cgroup {v1} is on no mount that we see")
    if v2 is not None:
        return Found(stalls, stalls, None if stalls else f"cgroup {v2} is on no mount that we see")
    return Found(None, None, "we are in no cgroup that could limit memory")


def find_v1(controller: str, membership: str, mountinfo: str) -> Hierarchy | None:
    """Find the hierarchy of another controller of version 1, if it is mounted."""
    path, _ = _paths(membership, controller)
    return _hierarchy(V1, path, _mounts(mountinfo, controller))


def _paths(membership: str, controller: str = "memory") -> tuple[str | None, str | None]:
    v1 = v2 = None
    for line in membership.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            v2 = path
        elif controller in controllers.split(","):
            v1 = path
    return v1, v2


def _mounts(mountinfo: str, controller: str = "memory") -> list[tuple[int, str, str]]:
    """List version, root and mount point of what may hold a controller."""
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if len(fields) < 5 or not kind:
            continue
        if kind[0] == "cgroup2":
            found.append((V2, _unescaped(fields[3]), _unescaped(fields[4])))
        elif kind[0] == "cgroup" and controller in kind[-1].split(","):
            found.append((V1, _unescaped(fields[3]), _unescaped(fields[4])))
    return found


def _hierarchy(
    version: int, path: str | None, mounts: list[tuple[int, str, str]]
) -> Hierarchy | None:
    """Take the mount that shows most of what is above `path`."""
    if path is None:
        return None
    shown = [
        (root, mount_point, below)
        for one, root, mount_point in mounts
        if one == version and (below := _below(path, root)) is not None
    ]
    if not shown:
        return None
    _, mount_point, below = min(shown, key=lambda one: len(one[0]))
    parts = [part for part in below.split("/") if part]
    upwards = [parts[:depth] for depth in range(len(parts), -1, -1)]
    return Hierarchy(
        version,
        tuple("/" + "/".join(some) for some in upwards),
        tuple("/".join([mount_point.rstrip("/"), *some]) for some in upwards),
    )


def _below(path: str, root: str) -> str | None:
    """Return what is left of `path` below `root`; None when it is not below, or has no name."""
    root = root.rstrip("/")
    if path != root and not path.startswith(f"{root}/"):
        return None
    below = path[len(root) :]
    return None if ".." in below.split("/") else below


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
