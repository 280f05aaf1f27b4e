"""What a build has made and its caller wants back, read from cargo's messages.

Finals are programs and libraries that others than cargo use: of packages in the tree, and where
cargo puts them for people, not in `deps`. Source: "External tools" in the cargo book.
"""

import json
import os
from dataclasses import dataclass, field

_KINDS = frozenset(("bin", "cdylib", "dylib", "example", "staticlib"))
_NOT_FINAL = frozenset(("build", "deps", "incremental", ".fingerprint"))
MAX_LINE_BYTES = 16 << 20


@dataclass(slots=True)
class Finals:
    """Collects finals from cargo's messages as they come.

    `found` has the paths below the target dir, and whether cargo found them fresh.
    """

    root: str
    target_dir: str
    found: dict[str, bool] = field(default_factory=dict)
    _kept: bytearray = field(default_factory=bytearray)

    def feed(self, piece: bytes) -> None:
        """Read what came on cargo's stdout."""
        self._kept += piece
        *lines, rest = self._kept.split(b"\n")
        self._kept = bytearray(rest if len(rest) < MAX_LINE_BYTES else b"")
        for line in lines:
            if line.startswith(b"{"):
                self._read(bytes(line))

    def _read(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return  # a build's own output
        if not isinstance(message, dict) or message.get("reason") != "compiler-artifact":
            return
        target = message.get("target")
        kinds = target.get("kind") if isinstance(target, dict) else None
        names = message.get("filenames")
        if not isinstance(kinds, list) or not isinstance(names, list):
            return
        if _KINDS.isdisjoint(one for one in kinds if isinstance(one, str)):
            return
        if f"{self.root}/" not in f"{message.get('manifest_path')}":
            return
        for name in names:
            path = self._below(name)
            if path:
                self.found[path] = message.get("fresh") is True

    def _below(self, name: object) -> str:
        """Return a final's path below the target dir; empty for what is none."""
        if not isinstance(name, str) or not name.startswith(f"{self.target_dir}/"):
            return ""
        path = name[len(self.target_dir) + 1 :]
        components = path.split("/")
        if any(one in ("", ".", "..") or one in _NOT_FINAL for one in components):
            return ""
        return "" if os.path.splitext(path)[1] in (".rlib", ".rmeta", ".d") else path
