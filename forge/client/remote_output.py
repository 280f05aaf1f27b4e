"""What the host's cargo says, on its way to our stdout and stderr.

A reader that takes its time (`| less`) must not keep us from hearing the host and answering it:
what it has not taken is kept, up to a limit, and written when it can take more.
"""

import os
from collections.abc import Callable

from forge.core.remote_paths import PathRewriter

FULL_BYTES = 64 << 20
_AT_ONCE_BYTES = 4096
"""A pipe or terminal that select finds writable takes as much without blocking: PIPE_BUF."""


class Output:
    """One of our streams. `hears` gets what came as the host wrote it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.hears: Callable[[bytes], None] | None = None
        self.is_shown = True
        self._rewriter: PathRewriter | None = None
        self._kept = bytearray()

    def rewrite(self, rewriter: PathRewriter | None) -> None:
        """Replace paths from now on."""
        self.flush()
        self._rewriter = rewriter

    @property
    def waits(self) -> bool:
        """Say whether there is something to be written."""
        return bool(self._kept)

    @property
    def is_full(self) -> bool:
        """Say whether its reader is far behind."""
        return len(self._kept) >= FULL_BYTES

    @property
    def keeps_something(self) -> bool:
        """Say whether the end of what came is not decided yet."""
        return self._rewriter is not None and self._rewriter.keeps_something

    def take(self, piece: bytes) -> None:
        """Take what came."""
        if self.hears:
            self.hears(piece)
        if self.is_shown:
            self._kept += self._rewriter.feed(piece) if self._rewriter else piece

    def flush(self) -> None:
        """Let go of what was undecided: nothing follows it for now."""
        if self._rewriter:
            self._kept += self._rewriter.flush()

    def write_some(self) -> None:
        """Write what the reader can take now. Raises BrokenPipeError when there is none."""
        del self._kept[: os.write(self.descriptor, self._kept[:_AT_ONCE_BYTES])]

    def write_all(self) -> None:
        """Write all that is kept, and wait for the reader."""
        self.flush()
        while self._kept:
            self.write_some()
