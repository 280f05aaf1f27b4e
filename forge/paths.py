"""Where Forge keeps things. All paths depend on the environment handed in, and on nothing else.

Imported before cargo starts: `os` only.
"""

import os
from collections.abc import Mapping

SOCKET_NAME = "forged.sock"
START_LOCK_NAME = "start.lock"
DAEMON_LOCK_NAME = "forged.lock"
COMMAND_NAME = "forged.command"
FORGE_COMMAND_NAME = "forge.command"
LOG_NAME = "forged.log"
STORE_NAME = "forge.db"
GATES_LINK_NAME = "gates"


def home(env: Mapping[str, str]) -> str:
    """Return HOME, or the home directory of the user database when it is not set."""
    return env.get("HOME") or os.path.expanduser("~")


def state_dir(env: Mapping[str, str]) -> str:
    """Return the private directory of socket, log and database.

    It is one and the same from a terminal, over ssh and from launchd, so it hangs on HOME and not
    on XDG_RUNTIME_DIR or TMPDIR, which differ between these. FORGE_STATE_DIR overrides it.
    """
    named = env.get("FORGE_STATE_DIR")
    if named:
        return os.path.abspath(named)
    return os.path.join(home(env), ".local", "state", "opta-forge")


def cache_dir(env: Mapping[str, str]) -> str:
    """Return the directory of what can be made again: FORGE_CACHE_DIR or ~/.cache/opta-forge."""
    return env.get("FORGE_CACHE_DIR") or os.path.join(home(env), ".cache", "opta-forge")


def snapshots_dir(env: Mapping[str, str]) -> str:
    """Return where snapshots of target dirs are, unless forge.toml names another place."""
    return os.path.join(state_dir(env), "snapshots")


def spill_dir(env: Mapping[str, str]) -> str:
    """Return where target dirs go for which the RAM disk has no room."""
    return os.path.join(cache_dir(env), "spilled")


def config_file(env: Mapping[str, str]) -> str:
    """Return where forge.toml is looked for: FORGE_CONFIG or ~/.config/opta-forge/forge.toml."""
    return env.get("FORGE_CONFIG") or os.path.join(home(env), ".config", "opta-forge", "forge.toml")


SOCKET_PATH_LIMIT = 100
"""sun_path has 104 bytes on macOS, 108 on Linux: unix(7)."""


def socket_path(env: Mapping[str, str]) -> str:
    """Return the daemon's socket."""
    return os.path.join(state_dir(env), SOCKET_NAME)


def native_launcher(env: Mapping[str, str]) -> str:
    """Return where the native launcher is, once the shim was compiled."""
    return os.path.join(cache_dir(env), GATES_LINK_NAME, "gate", "forge")
