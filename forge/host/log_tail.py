"""The last lines of a log, however long the log is."""

import os

TAIL_BYTES = 64 * 1024


def last_lines(path: str, count: int) -> list[str]:
    """Return the last lines that are not blank; none when the file cannot be read."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read(TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return []
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-count:]
