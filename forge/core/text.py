"""Text from elsewhere, made fit to be shown: control characters could repaint a terminal."""

import re

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Return the text with a question mark for each control character."""
    return _CONTROL.sub("?", text)


def quoted_for_systemd(word: str) -> str:
    """Quote a word for a unit file: systemd.syntax(7). `%` begins a specifier there."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
