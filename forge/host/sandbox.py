"""The OS's own walls around what a build key runs: which there are, and how to get behind them.

Behind them are the sources, the target dir and a cargo home of the key's, to read and to write; the
toolchain and the system, to read; no other process, and no network unless that is allowed.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass

from forge.host import sandbox_darwin, sandbox_linux

_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Walls:
    """What is inside: directories to write to, and what more may be read."""

    written: tuple[str, ...]
    read: tuple[str, ...] = ()
    home: str = "/nonexistent"
    has_network: bool = False


def command_behind(walls: Walls, path: str, platform: str = sys.platform) -> list[str]:
    """Return the words that, before a command, run it behind walls; `path` is where tools are.

    None: there is no tool for that.
    """
    door = sandbox_darwin if platform == "darwin" else sandbox_linux
    tool = shutil.which(door.TOOL, path=path)
    if tool is None:
        return []
    return [tool, *door.options(walls.written, walls.read, walls.home, walls.has_network)]


def sandbox_refusal(path: str = "/usr/bin:/bin:/usr/local/bin") -> str:
    """Say why there is no sandbox here that holds; empty when there is one. Tries it."""
    try:
        failed = [what for what, holds in verified(path).items() if not holds]
    except OSError as error:
        return f"it cannot be tried: {error.strerror}"
    return f"it does not hold: {', '.join(failed)}" if failed else ""


_PROBE = """
import os, socket, sys
inside, outside, home, port = sys.argv[1:]
def holds(what):
    try:
        what()
    except OSError:
        return True
    return False
print("starts")
open(os.path.join(inside, "written"), "w").close()
print("writes inside")
holds(lambda: open(os.path.join(outside, "written"), "w").close())  # seen from outside
if holds(lambda: open(os.path.join(outside, "secret")).read()):
    print("reads no other files")
if holds(lambda: os.listdir(home)) or not set(os.listdir(home)) & {".ssh", "secret"}:
    print("reads no home")
if holds(lambda: socket.create_connection(("127.0.0.1", int(port)), timeout=5)):
    print("has no network")
"""

PROMISES = (
    "starts",
    "writes inside",
    "writes nothing outside",
    "reads no other files",
    "reads no home",
    "has no network",
)


def verified(path: str, platform: str = sys.platform) -> dict[str, bool]:
    """Try each promise of the sandbox with a program behind it. Raises OSError."""
    with (
        tempfile.TemporaryDirectory(prefix="forge-walls") as outside,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        place = os.path.realpath(outside)
        inside, home = os.path.join(place, "inside"), os.path.join(place, "home")
        os.mkdir(inside)
        os.mkdir(home)
        for directory in (place, home):
            with open(os.path.join(directory, "secret"), "w", encoding="ascii"):
                pass
        walls = Walls((inside,), read=_python_places(), home=home)
        port = server.getsockname()[1]
        command = command_behind(walls, path, platform)
        said = _said_behind(command, path, (inside, place, home, str(port)))
        if "starts" in said and not os.path.exists(os.path.join(place, "written")):
            said.add("writes nothing outside")
        return {one: one in said for one in PROMISES}


def _said_behind(command: list[str], path: str, args: tuple[str, ...]) -> set[str]:
    if not command:
        return set()
    try:
        done = subprocess.run(
            [*command, sys.executable, "-I", "-c", _PROBE, *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
            cwd="/",
            env={"PATH": path},
        )
    except subprocess.TimeoutExpired:
        return set()
    return set(done.stdout.decode("utf-8", "replace").splitlines())


def _python_places() -> tuple[str, ...]:
    """Return what a Python needs to start, for the probe."""
    places = {sys.prefix, sys.base_prefix, sys.exec_prefix}
    places.add(os.path.dirname(os.path.realpath(sys.executable)))
    return tuple(sorted(places))


def real_paths(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the directories among some that are there, by their real names."""
    found = (os.path.realpath(name) for name in names if os.path.exists(name))
    return tuple(dict.fromkeys(found))
