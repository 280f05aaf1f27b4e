"""Writes small files whole or not at all: who reads meanwhile finds the old one or the new one."""

import json
import os
from typing import Any


def replace_file(path: str, content: bytes | str, *, mode: int = 0o600) -> None:
    """Put a file in place in one step; its directory must be there. Raises OSError.

    What is left of a writer that was killed has its pid in its name, and is in nobody's way.
    """
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
    draft = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(draft, flags, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(descriptor, mode)  # whatever the umask is, or a file of that name had
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def replace_json(path: str, document: Any) -> None:
    """Put a document in place in one step. Raises OSError."""
    replace_file(path, json.dumps(document))
