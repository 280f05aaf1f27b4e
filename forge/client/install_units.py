"""The units by which launchd or systemd start the daemon, filled in for this machine."""

import os
import plistlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import forge
from forge import paths
from forge.core.text import quoted_for_systemd
from forge.errors import ForgeError

LABEL = "com.opta.forge"
UNIT = "forged.service"
KEPT = ("FORGE_STATE_DIR", "FORGE_CACHE_DIR", "FORGE_CONFIG", "CARGO_HOME", "RUSTUP_HOME")
"""Variables of whoever installs that the daemon must have as well."""

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
DAEMON = ("-P", "-m", "forge.daemon.main")


class HooksMissing(ForgeError):
    """The files that Forge installs are not part of this copy of it."""

    slug = "hooks-missing"
    exit_code = os.EX_UNAVAILABLE


def hook(name: str) -> Path:
    """Return a file of hooks/, of a checkout or of an installed Forge. Raises HooksMissing."""
    package = Path(forge.__file__).parent
    for candidate in (package / "_hooks" / name, package.parent / "hooks" / name):
        if candidate.is_file():
            return candidate
    raise HooksMissing(f"there is no {name} in this Forge", hint="install it anew")


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that the daemon gets: managers give next to none.

    PATH has the tools that it was installed with (cargo, Homebrew) first, and the system's at the
    end; entries that are not absolute are left out.
    """
    known = [*env.get("PATH", "").split(":"), *SYSTEM_PATH.split(":")]
    cargo = os.path.join(env.get("CARGO_HOME") or os.path.join(paths.home(env), ".cargo"), "bin")
    order = dict.fromkeys([cargo, *(one for one in known if one.startswith("/"))])
    return {
        "PATH": ":".join(order),
        "HOME": paths.home(env),
        **{name: env[name] for name in KEPT if env.get(name)},
    }


def systemd_unit(env: Mapping[str, str], user: str | None) -> str:
    """Return the unit; with `user`, one of the machine's manager that runs as that user."""
    variables = (f"{name}={value}" for name, value in environment(env).items())
    lines = [f"Environment={quoted_for_systemd(one)}" for one in variables]
    words = (quoted_for_systemd(word) for word in (sys.executable, *DAEMON))
    values = {
        "@COMMAND@": " ".join(word.replace("$", "$$") for word in words),  # systemd.service(5)
        "@ENVIRONMENT@": "\n".join(lines),
        "@LOCKED@": "yes" if user else "no",
        "@SYSTEM@": f"User={user}\nOOMScoreAdjust=-500" if user else "",
        "@TARGET@": "multi-user.target" if user else "default.target",
    }
    text = hook(f"systemd/{UNIT}").read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(name, value)
    return text.replace("\n\n\n", "\n\n")


def launchd_plist(env: Mapping[str, str], user: str | None, logs: str) -> str:
    """Return the property list; with `user`, that of a LaunchDaemon which runs as that user."""
    with hook(f"launchd/{LABEL}.plist").open("rb") as file:
        job: dict[str, Any] = plistlib.load(file)
    job["ProgramArguments"] = [sys.executable, *DAEMON]
    job["EnvironmentVariables"] = environment(env)
    job["StandardOutPath"] = job["StandardErrorPath"] = f"{logs}/forged.log"
    if user:
        job["UserName"] = user
    return plistlib.dumps(job, sort_keys=False).decode("utf-8")
