"""Bytes of a terminal in, names of keys out.

A key such as "up" comes as several bytes, which may arrive in pieces. So the reader keeps what is
not whole yet. A lone Escape looks like the beginning of such a sequence: only time tells, and
`settle` is called when enough of it has passed.
"""

import re

ESCAPE_S = 0.1
"""How long the rest of a sequence may take; a terminal behind a slow line sends it at once too."""

_ESC = "\x1b"
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[ -~]|[^\[O\x1b])", re.DOTALL)
_BEGUN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)?")
_PASTE_BEGIN, _PASTE_END = "\x1b[200~", "\x1b[201~"

NAMES = {
    "\x1b[A": "up", "\x1bOA": "up", "\x1b[B": "down", "\x1bOB": "down",
    "\x1b[5~": "page up", "\x1b[6~": "page down",
    "\x1b[H": "home", "\x1bOH": "home", "\x1b[1~": "home", "\x1b[7~": "home",
    "\x1b[F": "end", "\x1bOF": "end", "\x1b[4~": "end", "\x1b[8~": "end",
    "\r": "enter", "\n": "enter", "\x03": "ctrl-c", "\x0c": "ctrl-l", _ESC: "escape",
}  # fmt: skip
"""Keys by what terminals send for them. A sequence that is not here is a key that means nothing."""


class KeyReader:
    """Invariant: `_rest` is empty, the beginning of a sequence, or part of a pasted text."""

    def __init__(self) -> None:
        self._rest = ""

    @property
    def is_waiting(self) -> bool:
        """Say whether the beginning of a sequence has come, and its end has not."""
        return bool(self._rest) and not self._is_pasting

    def feed(self, piece: bytes) -> list[str]:
        """Take in what has arrived; return the keys that are whole. Pasted text is no key."""
        text = self._rest + piece.decode("ascii", "replace")
        keys: list[str] = []
        at = 0
        while at < len(text):
            if text.startswith(_PASTE_BEGIN, at):
                end = text.find(_PASTE_END, at)
                if end < 0:
                    break
                at = end + len(_PASTE_END)
                continue
            sequence = _SEQUENCE.match(text, at)
            if text[at] == _ESC and not sequence and not _is_escape_alone(text, at):
                break
            word = sequence[0] if sequence else text[at]
            at += len(word)
            keys += _named(word)
        self._rest = text[at:]
        return keys

    def settle(self) -> list[str]:
        """Give up on the rest of a sequence: a lone Escape was the key of that name."""
        if self._is_pasting:
            return []
        rest, self._rest = self._rest, ""
        return ["escape"] if rest == _ESC else []

    @property
    def _is_pasting(self) -> bool:
        return self._rest.startswith(_PASTE_BEGIN)


def _is_escape_alone(text: str, at: int) -> bool:
    """Say whether what follows cannot make it a sequence, so that it stands for itself."""
    begun = _BEGUN.match(text, at)
    return begun is not None and begun.end() < len(text)


def _named(word: str) -> list[str]:
    if word in NAMES:
        return [NAMES[word]]
    return [word] if len(word) == 1 and word.isprintable() and word.isascii() else []
