"""How the addresses and the key of inference servers are read from forge.toml."""

import os
import re
from typing import Any

MOST_SERVERS = 16


def read_urls(value: Any) -> tuple[str, ...]:
    """Read one address or a list of them, each once. Raises ValueError."""
    found = value if isinstance(value, list) else [value]
    if not 0 < len(found) <= MOST_SERVERS:
        raise ValueError
    return tuple(dict.fromkeys(_url(one) for one in found))


def read_key_file(value: Any) -> str | None:
    """Read the path of a file; empty: there is none. Raises ValueError."""
    if value == "":
        return None
    if not isinstance(value, str) or not os.path.isabs(os.path.expanduser(value)):
        raise ValueError
    return os.path.normpath(os.path.expanduser(value))


def _url(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
        raise ValueError
    return value.rstrip("/")
