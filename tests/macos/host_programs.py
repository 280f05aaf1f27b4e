"""The tools of the simulated macOS that tell about the machine: sysctl, vm_stat, launchctl …"""

from __future__ import annotations

import os

from tests.macos.world import World

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Answer = tuple[int, str, str]
VM_PAGES = {
    "Pages free": 4518,
    "Pages active": 194947,
    "Pages inactive": 191193,
    "Pages speculative": 3014,
    "Pages throttled": 0,
    "Pages wired down": 159117,
    "Pages purgeable": 630,
    '"Translation faults"': 574921966,
    "Pages copy-on-write": 38671927,
    "Pages zero filled": 320571840,
    "Pages reactivated": 75978152,
    "Pages purged": 16666917,
    "File-backed pages": 141843,
    "Anonymous pages": 247311,
    "Pages stored in compressor": 1022243,
    "Pages occupied by compressor": 454496,
    "Decompressions": 73011127,
    "Compressions": 92304380,
    "Pageins": 7854456,
    "Pageouts": 320741,
    "Swapins": 470789,
    "Swapouts": 929703,
}


def sysctl(world: World, argv: list[str], fault: dict[str, Any]) -> Answer:
    bare = "-n" in argv
    known = world.read()["sysctls"]
    out, err = "", ""
    for name in (word for word in argv if not word.startswith("-")):
        if name not in known:
            err += f"sysctl: unknown oid '{name}'\n"
        else:
            out += f"{known[name]}\n" if bare else f"{name}: {known[name]}\n"
    return (1 if err else 0), out, err


def vm_stat(world: World, argv: list[str], fault: dict[str, Any]) -> Answer:
    state = world.read()
    size = state["sysctls"]["hw.pagesize"]
    lines = [f"Mach Virtual Memory Statistics: (page size of {size} bytes)"]
    counts = VM_PAGES | state["vm_pages"]
    counts["Pages wired down"] += _wired_bytes(state) // int(size)
    for name, pages in counts.items():
        lines.append(f"{name + ':':<30}{pages:>17}.")
    return 0, "\n".join(lines) + "\n", ""


def _wired_bytes(state: dict[str, Any]) -> int:
    """What was written to RAM disks that are in the kernel."""
    places = [
        volume["mount_point"]
        for image in state["images"]
        if image["wired"]
        for volume in image["volumes"]
        if volume["mount_point"]
    ]
    return sum(_used_bytes(place) for place in places)


def _used_bytes(place: str) -> int:
    files = [os.path.join(at, name) for at, _, names in os.walk(place) for name in names]
    return sum(os.lstat(file).st_blocks * 512 for file in files)


def memory_pressure(world: World, argv: list[str], fault: dict[str, Any]) -> Answer:
    known = world.read()["sysctls"]
    size, page = int(known["hw.memsize"]), int(known["hw.pagesize"])
    return 0, (
        f"The system has {size} ({size // page} pages with a page size of {page}).\n"
        f"System-wide memory free percentage: {known['kern.memorystatus_level']}%\n"
    ), ""  # fmt: skip


def sw_vers(world: World, argv: list[str], fault: dict[str, Any]) -> Answer:
    rows = {"ProductName": "macOS", "ProductVersion": "26.6", "BuildVersion": "25G72"}
    for key, value in rows.items():
        if argv and argv[0].lstrip("-").lower() == key.lower():
            return 0, f"{value}\n", ""
    return 0, "".join(f"{key + ':':<24}{value}\n" for key, value in rows.items()), ""


def launchctl(world: World, argv: list[str], fault: dict[str, Any]) -> Answer:
    """Keep a list of loaded services. A kickstart starts a program, unless the fault is `pends`."""
    verb, rest = (argv[0] if argv else "help"), argv[1:]
    if verb == "managername":
        return 0, "Aqua\n", ""
    if verb not in ("bootstrap", "bootout", "kickstart", "print", "list"):
        return 64, "", f"Unrecognized subcommand: {verb}\n"
    if verb == "list":
        return 0, "PID\tStatus\tLabel\n" + "".join(
            f"-\t0\t{one.rpartition('/')[2]}\n" for one in world.read()["services"]
        ), ""  # fmt: skip
    with world.changing() as state:
        if verb == "bootstrap":
            label = rest[1].rpartition("/")[2].removesuffix(".plist")
            state["services"][f"{rest[0]}/{label}"] = {"path": rest[1], "pid": 0}
            return 0, "", ""
        target = rest[-1]
        if target not in state["services"]:
            domain, _, label = target.rpartition("/")
            return 113, "", f'Could not find service "{label}" in domain for {domain}\n'
        job = state["services"][target]
        if verb == "bootout":
            del state["services"][target]
            _end(job["pid"])
            return 0, "", ""
        if verb == "kickstart":
            if not fault.get("pends") and not _is_alive(job["pid"]):
                job["pid"] = _start(job["path"])
            return 0, "", ""
    return 0, _printed(target, job), ""


def _printed(target: str, job: dict[str, Any]) -> str:
    pid, pends = job["pid"], "pended nondemand spawn = semaphore"
    runs = _is_alive(pid)
    end = "(never exited)" if runs or not pid else "1"
    return (
        f"{target} = {{\n\tactive count = {int(runs)}\n\tpath = {job['path']}\n"
        f"\ttype = LaunchAgent\n\tstate = {'running' if runs else 'not running'}\n\n"
        + (f"\tpid = {pid}\n" if runs else f"\t{pends}\n")
        + f"\tlast exit code = {end}\n\n"
        "\tresource coalition = {\n\t\tID = 33304\n\t\tstate = active\n\t\tpid = 1\n\t}\n}\n"
    )


def _start(plist: str) -> int:
    import os
    import plistlib

    with open(plist, "rb") as file:
        argv = plistlib.load(file)["ProgramArguments"]
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    try:
        os.execvp(argv[0], argv)
    finally:
        os._exit(78)


def _is_alive(pid: int) -> bool:
    import os

    try:
        os.kill(pid, 0) if pid else None
    except ProcessLookupError:
        return False
    return bool(pid)


def _end(pid: int) -> None:
    import os
    import signal

    if _is_alive(pid):
        os.kill(pid, signal.SIGTERM)


def pmset(world: World, argv: list[str], fault: dict[str, Any]) -> Answer:
    """Tell the power settings of a machine that was set up to run without a screen."""
    if argv != ["-g"]:
        return 1, "", "'pmset' must be run as root...\n"
    return 0, (
        "System-wide power settings:\nCurrently in use:\n standby              0\n"
        " Sleep On Power Button 1\n autorestart          1\n powernap             1\n"
        " networkoversleep     0\n disksleep            0\n sleep                0\n"
        " ttyskeepawake        1\n displaysleep         10\n tcpkeepalive         1\n"
        " womp                 1\n"
    ), ""  # fmt: skip


def tmutil(world: World, argv: list[str], fault: dict[str, Any]) -> Answer:
    """Keep a list of what is left out of backups."""
    verb, places = argv[0], argv[1:]
    if verb == "addexclusion":
        with world.changing() as state:
            state["excluded"] = [*state.get("excluded", []), *places]
        return 0, "", ""
    out = state_lines(world.read().get("excluded", []), places)
    return 0, out, ""


def state_lines(excluded: list[str], places: list[str]) -> str:
    return "".join(
        f"[{'Excluded' if one in excluded else 'Included'}]    {one}\n" for one in places
    )
