"""Puts the cargo of an untrusted key behind the OS's walls, or refuses to run it.

The launcher stays outside, with the daemon, the line and the jobserver; the cargo that it starts is
a program of ours that goes behind the walls and becomes the real one. The gates are there, and are
open: what is behind the walls cannot speak to the daemon, nor learn where it would be.
"""

import json
import os
import sys
from collections.abc import Mapping

from forge import paths
from forge.client.cargo_path import find_cargo
from forge.core.remote_policy import KeyRules
from forge.errors import SandboxUnavailable
from forge.host.sandbox import Walls, command_behind, real_paths, sandbox_refusal, verified
from forge.host.state_dir import private_dir
from forge.host.tree_files import is_within
from forge.host.whole_files import replace_file
from forge.serve.area import Area

_PROGRAM = """#!{python} -EP
from forge.serve.sandbox import become_cargo
become_cargo({plan!r})
"""
_KEPT_OUT = ("FORGE_", "RUSTC_W", "SSH_")
"""Variables whose names begin so stay outside: what they name cannot be reached from inside."""


def sandboxed(
    env: Mapping[str, str], rules: KeyRules, area: Area, target_dir: str | None
) -> dict[str, str]:
    """Return an environment whose cargo runs behind walls. Raises SandboxUnavailable."""
    refusal = sandbox_refusal(env["PATH"])
    if refusal:
        raise SandboxUnavailable(
            f"key `{rules.name}` builds only in a sandbox, and there is none: {refusal}",
            hint="`forge remote sandbox` on the host says more",
        )
    cargo = find_cargo(env)
    home = os.path.join(area.key_dir, ".cargo-home")
    private_dir(home)
    walls = _walls(env, rules, area, target_dir, home)
    place = os.path.join(area.directory, ".sandbox")
    private_dir(place)
    plan = {
        "command": [*command_behind(walls, env["PATH"]), cargo],
        "env": {"CARGO_HOME": home, "RUSTUP_HOME": _rustup_home(env)}
        | ({} if walls.has_network else {"CARGO_NET_OFFLINE": "true"}),
    }
    plan_file, program = os.path.join(place, "plan.json"), os.path.join(place, "cargo")
    replace_file(plan_file, json.dumps(plan), mode=0o600)
    replace_file(program, _PROGRAM.format(python=sys.executable, plan=plan_file), mode=0o700)
    return {**env, "FORGE_REAL_CARGO": program}


def _walls(
    env: Mapping[str, str], rules: KeyRules, area: Area, target_dir: str | None, home: str
) -> Walls:
    cargo_home = env.get("CARGO_HOME") or os.path.join(env["HOME"], ".cargo")
    has_network = "network" in rules.allowances
    written = [area.root, home]
    if target_dir and not is_within(target_dir, area.root):
        os.makedirs(target_dir, mode=0o700, exist_ok=True)
        written.append(target_dir)
    gates = os.path.join(paths.cache_dir(env), paths.GATES_LINK_NAME)
    read = [os.path.join(cargo_home, "bin"), _rustup_home(env), gates]
    if not has_network:
        _link_caches(cargo_home, home)
        read += [os.path.join(cargo_home, one) for one in ("registry", "git")]
    return Walls(
        written=real_paths(tuple(written)),
        read=(*real_paths(tuple(read)), *([gates] if os.path.islink(gates) else [])),
        home=env["HOME"],
        has_network=has_network,
    )


def _link_caches(cargo_home: str, home: str) -> None:
    """Let the key's cargo home show what the host has downloaded, which it can only read."""
    for name in ("registry", "git"):
        source, link = os.path.realpath(os.path.join(cargo_home, name)), os.path.join(home, name)
        if os.path.isdir(source) and not os.path.lexists(link):
            os.symlink(source, link)


def _rustup_home(env: Mapping[str, str]) -> str:
    return env.get("RUSTUP_HOME") or os.path.join(env["HOME"], ".rustup")


def become_cargo(plan_file: str) -> None:
    """Go behind the walls that a plan names, and become cargo there."""
    with open(plan_file, encoding="utf-8") as file:
        plan = json.load(file)
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_KEPT_OUT) and not name.endswith("_RUNNER")
    }
    command = plan["command"]
    os.execve(command[0], [*command, *sys.argv[1:]], env | plan["env"])  # noqa: S606  # no shell


def promises(path: str) -> dict[str, bool]:
    """Try the sandbox; say of each promise whether it holds."""
    try:
        return verified(path)
    except OSError as error:
        raise SandboxUnavailable(f"the sandbox cannot be tried: {error.strerror}") from None
