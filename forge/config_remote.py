"""Settings that say which machine builds go to, and what is sent there."""

from typing import Any

from forge.config_values import Setting, read_absolute_path
from forge.core.own_options import is_host


def read_host(value: Any) -> str:
    """Read a host as ssh takes it."""
    if not isinstance(value, str) or not is_host(value):
        raise ValueError
    return value


def read_hosts(value: Any) -> dict[str, str]:
    """Read a table of directories and the host for each."""
    if value == "{}":
        return {}
    if not isinstance(value, dict):
        raise ValueError
    found = {}
    for directory, host in value.items():
        place = read_absolute_path(directory)
        if place is None:
            raise ValueError(f"{directory!r} is no absolute path")
        found[place] = read_host(host)
    return found


def read_texts(value: Any) -> list[str]:
    """Read a list of texts."""
    if value == "[]":
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError
    return value


REMOTE_SETTINGS: tuple[Setting, ...] = (
    Setting(
        "remote.on", 'a host that ssh knows, or "here"', "here",
        "The machine that builds go to when neither `--on` nor FORGE_ON nor remote.projects names"
        " one.",
        read_host,
    ),
    Setting(
        "remote.projects", "a table of directories and hosts", "{}",
        "The machine that builds below a directory go to, as in"
        ' `"~/src/ripgrep" = "studio"`; the longest directory counts.',
        read_hosts,
    ),
    Setting(
        "remote.include", "a list of globs", "[]",
        "Files that are sent although git ignores them, or although they look like secrets;"
        " relative to the workspace root. A directory stands for all that is in it.",
        read_texts,
    ),
    Setting(
        "remote.exclude", "a list of patterns as in .gitignore", "[]",
        "Files that are not sent; `.forgeignore` in the workspace root says the same for one"
        " project, and `!PATTERN` there takes one back.",
        read_texts,
    ),
)  # fmt: skip
