"""Whether a build goes to another machine, and with which rules: options, variables, forge.toml.

Asked before every build, so forge.toml is parsed only when it speaks of remote builds at all.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from forge import paths
from forge.core.own_options import HERE
from forge.core.verbs import has_toolchain, is_passed, verb_index

if TYPE_CHECKING:
    from forge.client.remote_files import Rules

_TABLE = b"remote"
_STAYS = ("metadata", "install", "fix", "package", "publish")
"""Verbs about this machine's own files, and what others ask of cargo all the time."""


def host_of(argv: list[str], given: Mapping[str, str], env: Mapping[str, str]) -> str | None:
    """Return the host that a command line goes to; None for this machine.

    Raises ConfigInvalid. What starts inside a build stays where the build is.
    """
    named = given.get("FORGE_ON")
    if named is None and env.get("FORGE_BUILD"):
        return None
    if is_passed(argv) or argv[verb_index(argv)] in _STAYS:
        return None
    if named is None:
        named = env.get("FORGE_ON")
    if named is None:
        named = _from_settings(env, _directory(argv))
    return None if named in (None, "", HERE) else named


def rules(env: Mapping[str, str]) -> "Rules":
    """Return what the user adds to what is sent, and takes out. Raises ConfigInvalid."""
    from forge.client.remote_files import Rules

    values = _settings(env)
    if values is None:
        return Rules()
    return Rules(tuple(values["remote.exclude"]), tuple(values["remote.include"]))


def _from_settings(env: Mapping[str, str], directory: str) -> str | None:
    values = _settings(env)
    if values is None:
        return None
    projects: Mapping[str, str] = values["remote.projects"]
    around = [one for one in projects if _is_in(directory, os.path.realpath(one))]
    if around:
        return projects[max(around, key=len)]
    named: str | None = values["remote.on"]
    return named


def _settings(env: Mapping[str, str]) -> Any:
    """Return the settings; None when none of them is of remote builds."""
    try:
        with open(paths.config_file(env), "rb") as file:
            if _TABLE not in file.read():
                return None
    except OSError:
        return None  # the daemon says so where it matters
    from pathlib import Path

    from forge import config

    return config.load(Path(paths.config_file(env)))


def _directory(argv: list[str]) -> str:
    """Return where cargo will run, as far as the words before the verb say."""
    try:
        here = os.path.realpath(os.getcwd())
    except OSError:
        return "/"
    words = argv[int(has_toolchain(argv)) : verb_index(argv)]
    if "-C" in words[:-1]:
        return os.path.realpath(os.path.join(here, words[words.index("-C") + 1]))
    return here


def _is_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
