"""Which rustc a target dir was built with, as cargo's own note in it tells."""

import json
import os
from typing import Any

NOTE = ".rustc_info.json"
_MAX_BYTES = 16 * 1024 * 1024


def toolchain_of(target_dir: str) -> str | None:
    """Return a line such as `rustc 1.95.0 (59807616e 2026-04-14)`; None where none is noted."""
    try:
        with open(os.path.join(target_dir, NOTE), "rb") as file:
            note: Any = json.loads(file.read(_MAX_BYTES))
        outputs = [str(one["stdout"]) for one in note["outputs"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    lines = (text.partition("\n")[0] for text in outputs)
    return next((line[:100] for line in lines if line.startswith("rustc ")), None)
