"""What went wrong last with each service: a small file each, so that it outlives all who saw it.

The daemon writes it when a service dies, a command when a start fails; both may at once, and the
later one is right.
"""

import contextlib
import json
import os
from dataclasses import dataclass

from forge.errors import StateDirUnsafe
from forge.host.state_dir import private_dir
from forge.host.whole_files import replace_json


@dataclass(frozen=True, slots=True)
class LastError:
    """What went wrong, and when, in seconds since the epoch."""

    at: float
    what: str


def read_last_error(own_dir: str, name: str) -> LastError | None:
    """Return it; None when nothing ever did, or the file is broken."""
    try:
        with open(_place(own_dir, name), encoding="utf-8") as file:
            document = json.load(file)
        return LastError(float(document["at"]), str(document["what"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_last_error(own_dir: str, name: str, error: LastError) -> None:
    """Keep it in one step; where that cannot be, it is lost: nothing may fail for it."""
    with contextlib.suppress(OSError, StateDirUnsafe):
        private_dir(own_dir)
        replace_json(_place(own_dir, name), {"at": error.at, "what": error.what})


def _place(own_dir: str, name: str) -> str:
    return os.path.join(own_dir, f"{name}.error")
