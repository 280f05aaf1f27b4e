"""What SSH_ORIGINAL_COMMAND selects: the mode of `forge serve`, and nothing else.

The text comes from the other machine. It is compared with the few command lines that we know, word
by word; there are no quotes, variables, globs or substitutions here, so none can be meant.
"""

import re
from enum import StrEnum


class Mode(StrEnum):
    """What `forge serve` does."""

    SERVE = "serve"
    VERSION = "version"
    PING = "ping"


MAX_CHARACTERS = 64
_WORD = re.compile(r"[a-z]{1,16}", re.ASCII)
_COMMANDS = {
    (): Mode.SERVE,
    ("forge", "serve"): Mode.SERVE,
    ("forge", "serve", "version"): Mode.VERSION,
    ("forge", "serve", "ping"): Mode.PING,
}


def mode_of(command: str | None) -> Mode | None:
    """Return the mode that a client has asked for; None when it asked for something else."""
    text = command or ""
    if len(text) > MAX_CHARACTERS:
        return None
    words = tuple(word for word in text.split(" ") if word)
    if not all(_WORD.fullmatch(word) for word in words):
        return None
    return _COMMANDS.get(words)
