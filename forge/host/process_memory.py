"""How much memory a process and all below it hold."""

import psutil


def tree_bytes(pid: int) -> int | None:
    """Return the resident bytes of a process tree; None when it is not ours to ask."""
    try:
        root = psutil.Process(pid)
        total = root.memory_info().rss
        for child in root.children(recursive=True):
            try:
                total += child.memory_info().rss
            except psutil.Error:
                continue
    except psutil.Error:
        return None
    return int(total)
