"""The environment of what a client runs, made anew: nothing that sshd was told gets into it."""

import contextlib
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass

from forge.core.own_options import HERE
from forge.core.remote_messages import Run
from forge.core.remote_policy import KeyRules
from forge.core.shares import Priority
from forge.core.units import parse_duration_s

STANDARD_PATH = (
    "/opt/homebrew/bin",
    "/usr/local/bin",
    "/usr/bin",
    "/bin",
    "/usr/sbin",
    "/sbin",
)
FORGE_PLACES = ("FORGE_STATE_DIR", "FORGE_CACHE_DIR", "FORGE_CONFIG")
"""Variables that say where this Forge keeps things; `forge serve` has them from its own line."""


@dataclass(frozen=True, slots=True)
class HostPlaces:
    """Where things are on this host, as the key's line says. None: where they usually are."""

    state_dir: str | None = None
    cache_dir: str | None = None
    config: str | None = None
    path: str | None = None
    cargo_home: str | None = None


def host_environment(places: HostPlaces) -> dict[str, str]:
    """Return the environment of the user who has authorised the key, as far as builds need it."""
    user = pwd.getpwuid(os.getuid())
    cargo_home = places.cargo_home or os.path.join(user.pw_dir, ".cargo")
    own = dict(zip(FORGE_PLACES, (places.state_dir, places.cache_dir, places.config), strict=True))
    env = {
        "HOME": user.pw_dir,
        "LOGNAME": user.pw_name,
        "USER": user.pw_name,
        "PATH": places.path or os.pathsep.join((os.path.join(cargo_home, "bin"), *STANDARD_PATH)),
        **{name: value for name, value in own.items() if value},
    }
    if places.cargo_home:
        env["CARGO_HOME"] = places.cargo_home
    return env


def build_environment(
    host: Mapping[str, str], rules: KeyRules, run: Run, connection: str
) -> dict[str, str]:
    """Return the environment of one build: the host's, what the client may send, and who it is."""
    is_interactive = run.interactive and rules.priority is Priority.INTERACTIVE
    env = {
        **run.env,
        **host,
        "FORGE_PRIORITY": Priority.INTERACTIVE if is_interactive else Priority.BATCH,
        "FORGE_IDENTITY": rules.name,
        "FORGE_ON": HERE,  # whatever forge.toml says: it came to be built here
    }
    if connection:
        env["SSH_CONNECTION"] = connection
    if run.wait_timeout:
        with contextlib.suppress(ValueError):
            parse_duration_s(run.wait_timeout)
            env["FORGE_WAIT_TIMEOUT"] = run.wait_timeout
    if run.columns and not run.pty:
        env["CARGO_TERM_PROGRESS_WHEN"] = "always"
        env["CARGO_TERM_PROGRESS_WIDTH"] = str(run.columns)
    return env
