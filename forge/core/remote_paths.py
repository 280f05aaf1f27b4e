"""The host's paths in what cargo says there, told as the client's own.

Output comes in pieces that end anywhere, so the end of a piece is kept back while it may be the
beginning of a path. What is kept is never long, and whoever feeds asks for it (`flush`) when
nothing has followed for a moment: a prompt may end in a slash.
"""

import json
import re
from collections.abc import Mapping

_SCHEME = b"file://"
_GOES_ON = rb"(?![A-Za-z0-9_-])"
"""What follows a path that is only the beginning of another component does not."""


class PathRewriter:
    """Replaces paths in a stream of bytes: `/host/tree` is not `/host/tree-2`.

    `is_json`: the stream is JSON, where a path is written as JSON writes it.
    Invariant: what is kept may be the beginning of something that is replaced.
    """

    def __init__(self, paths: Mapping[str, str], *, is_json: bool = False) -> None:
        write = _in_json if is_json else _plain
        changed = {old: new for old, new in paths.items() if old and old != new}
        self._by_path = {write(old): (write(new), _in_url(new)) for old, new in changed.items()}
        wanted = sorted(self._by_path, key=len, reverse=True)
        urls = [_SCHEME + one for one in wanted if len(set(self._by_path[one])) > 1]
        self._beginnings = (*wanted, *urls)
        self._longest = max(map(len, self._beginnings), default=0)
        either = b"|".join(map(re.escape, wanted))
        self._pattern = re.compile(b"(%b)?(%b)%b" % (_SCHEME, either, _GOES_ON))
        self._kept = b""

    @property
    def keeps_something(self) -> bool:
        """Say whether the end of what was fed is not out yet."""
        return bool(self._kept)

    def feed(self, piece: bytes) -> bytes:
        """Return what can be told by now."""
        if not self._beginnings:
            return piece
        whole = self._kept + piece
        at = len(whole) - self._undecided(whole)
        self._kept = whole[at:]
        return self._pattern.sub(self._replace, whole[:at])

    def flush(self) -> bytes:
        """Return what was kept: nothing follows it."""
        kept, self._kept = self._kept, b""
        return self._pattern.sub(self._replace, kept) if kept else b""

    def _undecided(self, whole: bytes) -> int:
        """Count the bytes at the end that may be the beginning of a path, or a whole one."""
        for count in range(min(len(whole), self._longest), 0, -1):
            if any(one.startswith(whole[-count:]) for one in self._beginnings):
                return count
        return 0

    def _replace(self, found: "re.Match[bytes]") -> bytes:
        plain, in_url = self._by_path[found[2]]
        return _SCHEME + in_url if found[1] else plain


def _plain(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _in_json(path: str) -> bytes:
    return _plain(json.dumps(path, ensure_ascii=False)[1:-1])


def _in_url(path: str) -> bytes:
    return re.sub(rb"[^A-Za-z0-9/._~-]", lambda found: b"%%%02X" % found[0][0], _plain(path))
