"""The tools of the simulated macOS that tell about the machine: sysctl, vm_stat, launchctl …"""

from __future__ import annotations

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
    for name, pages in (VM_PAGES | state["vm_pages"]).items():
        lines.append(f"{name + ':':<30}{pages:>17}.")
    return 0, "\n".join(lines) + "\n", ""


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
    """Keep a list of loaded services; nothing is started."""
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
            state["services"][f"{rest[0]}/{label}"] = rest[1]
            return 0, "", ""
        target = rest[-1]
        if target not in state["services"]:
            domain, _, label = target.rpartition("/")
            return 113, "", f'Could not find service "{label}" in domain for {domain}\n'
        if verb == "bootout":
            del state["services"][target]
            return 0, "", ""
        path = state["services"][target]
    if verb == "kickstart":
        return 0, "", ""
    return 0, (
        f"{target} = {{\n\tactive count = 0\n\tpath = {path}\n\ttype = LaunchAgent\n"
        "\tstate = not running\n\n\tlast exit code = (never exited)\n}\n"
    ), ""  # fmt: skip
