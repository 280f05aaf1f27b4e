"""What there is to know of a host before anything is built there, and of what it would be sent."""

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import forge
from forge import config, paths
from forge.client import remote_settings
from forge.client.remote_checkout import Checkouts, checkout_of
from forge.client.remote_jobs import connected
from forge.core.own_options import HERE
from forge.core.remote_frames import FrameType, encode
from forge.core.remote_messages import InfoIs
from forge.core.units import show_bytes
from forge.errors import UsageMistake
from forge.host.workspaces import Workspaces

LITTLE_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class Pings:
    """How long answers took: the connection itself, then one round trip after the other."""

    host: str
    forge: str
    key: str
    connected_ms: float
    round_trips_ms: list[float] = field(default_factory=list)

    @property
    def median_ms(self) -> float:
        """The round trip that half of them took at most."""
        return median(self.round_trips_ms)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: `level` is ok, warning or failure."""

    level: str
    what: str
    says: str


@dataclass(frozen=True, slots=True)
class Sending:
    """What a host would be sent of the checkout where we stand."""

    root: str
    top: str
    project: str
    files: list[str]
    size_bytes: int
    secrets: list[str]
    outside: list[str]


def ping(host: str, env: Mapping[str, str], count: int) -> Pings:
    """Connect to a host and measure some round trips."""
    began_s = time.monotonic()
    with connected(host, env) as (link, welcome):
        found = Pings(host, welcome.forge, welcome.key, _since_ms(began_s))
        for number in range(count):
            began_s = time.monotonic()
            link.send_bytes(encode(FrameType.PING, b"%d" % number))
            while link.next().type is not FrameType.HOST_PONG:
                continue
            found.round_trips_ms.append(_since_ms(began_s))
    return found


def check(host: str, env: Mapping[str, str]) -> tuple[list[Finding], dict[str, Any]]:
    """Look at a host; return what was found, and what it says of itself."""
    began_s = time.monotonic()
    with connected(host, env) as (link, welcome):
        latency_ms = _since_ms(began_s)
        skew_s = (welcome.now_ns - time.time_ns()) / 1e9
        link.send_bytes(encode(FrameType.INFO))
        answer = link.expect(InfoIs)
        assert isinstance(answer, InfoIs)
    info = answer.info
    is_same = welcome.forge == forge.__version__
    findings = [
        Finding("ok", "connection", f"as key `{welcome.key}`, in {latency_ms:.0f} ms"),
        Finding(
            "ok" if is_same else "warning", "version",
            f"Forge {welcome.forge} there, {forge.__version__} here",
        ),
        _clock(skew_s),
        Finding("ok", "machine", f"{welcome.system} {welcome.machine}, {info.get('cores')} cores"),
        _tool("cargo", info),
        _tool("rustc", info),
        Finding(
            "ok" if info.get("daemon") else "warning", "daemon",
            "it answers" if info.get("daemon") else "none answers: the next build starts it",
        ),
        _room(info),
    ]  # fmt: skip
    return findings, info


def hosts(env: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the hosts that builds go to, and who says so."""
    found = []
    if env.get("FORGE_ON") not in (None, "", HERE):
        found.append({"host": env["FORGE_ON"], "for": "all projects", "from": "FORGE_ON"})
    values = config.load(Path(paths.config_file(env)))
    projects: dict[str, str] = values["remote.projects"]
    for directory, host in sorted(projects.items()):
        found.append({"host": host, "for": directory, "from": "remote.projects"})
    if values["remote.on"] != HERE:
        found.append(
            {"host": values["remote.on"], "for": "all other projects", "from": "remote.on"}
        )
    return found


def sending(env: Mapping[str, str]) -> Sending:
    """Return what would be sent of the checkout where we stand. Raises UsageMistake."""
    workspace = Workspaces().find(os.path.realpath(os.getcwd()), [], env)
    if workspace.root is None:
        raise UsageMistake(f"nothing can be sent: {workspace.outside}")
    checkout = checkout_of(workspace.root, env)
    checkouts = Checkouts(checkout, env)
    tree = checkouts.look(remote_settings.rules(env))
    os.close(tree.top)
    lines = checkouts.lines(tree)
    return Sending(
        root=checkout.root,
        top=checkout.top,
        project=checkout.project,
        files=[os.fsdecode(path) for path in sorted(lines) if lines[path].head[:1] != b"d"],
        size_bytes=sum(line.size for line in lines.values()),
        secrets=[os.fsdecode(path) for path in sorted(tree.choice.secrets)],
        outside=[os.fsdecode(path) for path in tree.outside],
    )


def as_json(found: Pings | Finding | Sending) -> dict[str, Any]:
    """Return a finding as JSON has it."""
    return asdict(found)


def _clock(skew_s: float) -> Finding:
    if abs(skew_s) < 2:
        return Finding("ok", "clock", "as ours")
    return Finding("warning", "clock", f"{skew_s:+.0f} s from ours; builds bear with it")


def _tool(name: str, info: Mapping[str, Any]) -> Finding:
    said = info.get(name)
    if not isinstance(said, str) or not said:
        return Finding("failure", name, "there is none that builds would find")
    return Finding("ok", name, said.splitlines()[0])


def _room(info: Mapping[str, Any]) -> Finding:
    free = info.get("free_bytes")
    if not isinstance(free, int):
        return Finding("warning", "room", "not told")
    level = "ok" if free >= LITTLE_BYTES else "warning"
    return Finding(level, "room", f"{show_bytes(free)} free for sources")


def _since_ms(began_s: float) -> float:
    return (time.monotonic() - began_s) * 1000
