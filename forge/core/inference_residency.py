"""Whether what one server is to have in memory is there.

A model's file is mapped, and the kernel takes clean file pages away first. Two things show it: less
of the file is resident than is to be, and the server reads from disk while it generates. Major
faults do not: each one reads a large block.

Not all of a file is to be resident. A server that has copied layers to a GPU never reads them again
from the file. So what is missing and is not read back while many tokens are generated is *waived*,
until it comes back by itself.
"""

from dataclasses import dataclass, field

from forge.core.inference_seen import ServerProcess
from forge.core.units import MIB

LEAST_MARGIN_BYTES = 16 * MIB
MARGIN_SHARE = 0.01
"""So much may be missing: a few pages come and go, and a tokenizer's are read once."""

WAIVED_AFTER_TOKENS = 64
"""What so many tokens were generated without is not needed."""

WHOLE_AFTER_S = 2.0
"""It counts as whole again after so long without a sign, so that states do not flicker."""

LOSING_S = 5.0
"""A loss is news for so long: two looks while it lasts, one at the least."""

PAGE_BYTES = 4096


@dataclass(slots=True)
class Residency:
    """What one process is to have resident, and what it lacks.

    Invariants: 0 <= missing <= expected + swapped; waived bytes of a file are at most its size.
    """

    expected_bytes: int = 0
    resident_bytes: int = 0
    locked_bytes: int = 0
    missing_bytes: int = 0
    lowest_share: float = 1.0
    read_back_bytes: int = 0
    is_short: bool = False
    _lost_s: float = float("-inf")
    _sign_s: float = float("-inf")
    _waived: dict[str, int] = field(default_factory=dict)
    _before: ServerProcess | None = None
    _tokens_before: float = 0.0

    def look(self, process: ServerProcess, tokens: float, now_s: float, *, is_ready: bool) -> None:
        """Take a deep look in. `tokens` were generated since the server was first seen."""
        self._measure(process)
        before, decoded = self._before, tokens - self._tokens_before
        if not is_ready:
            self._before, self.missing_bytes, self.is_short = None, 0, False
            return
        was_missing = self._missing(before) if before else self.missing_bytes
        read_bytes = _read_back(before, process) if before and decoded > 0 else 0
        self._before, self._tokens_before = process, tokens
        if self.missing_bytes > self.margin_bytes and _may_waive(process, before, decoded):
            self._waive(process, read_bytes)
        is_read_back = read_bytes > self.margin_bytes
        if is_read_back or self.missing_bytes > was_missing + self.margin_bytes // 4:
            self._lost_s = now_s
        if is_read_back:
            self.read_back_bytes += read_bytes
        self._judge(now_s, is_read_back=is_read_back)

    @property
    def margin_bytes(self) -> int:
        """Return what may be missing without meaning anything."""
        return max(LEAST_MARGIN_BYTES, int(MARGIN_SHARE * self.expected_bytes))

    @property
    def share(self) -> float:
        """Return which part of what is to be resident is."""
        if not self.expected_bytes:
            return 1.0
        return max(0.0, 1.0 - self.missing_bytes / self.expected_bytes)

    @property
    def evictable_bytes(self) -> int:
        """Return what is resident, and the kernel may take although it is needed."""
        return max(0, min(self.resident_bytes, self.expected_bytes) - self.locked_bytes)

    def is_losing(self, now_s: float) -> bool:
        """Say whether it has lost something just now."""
        return now_s - self._lost_s <= LOSING_S

    def _measure(self, process: ServerProcess) -> None:
        known = [one for one in process.models if one.resident_bytes is not None]
        for one in known:
            waived = self._waived.get(one.path, 0)
            self._waived[one.path] = min(waived, one.size_bytes - (one.resident_bytes or 0))
        self.expected_bytes = sum(self._expected(one.path, one.size_bytes) for one in known)
        self.resident_bytes = sum(one.resident_bytes or 0 for one in known)
        self.locked_bytes = process.locked_bytes or 0
        self.missing_bytes = self._missing(process)

    def _missing(self, process: ServerProcess) -> int:
        files = sum(
            max(0, self._expected(one.path, one.size_bytes) - one.resident_bytes)
            for one in process.models
            if one.resident_bytes is not None
        )
        return files + (process.swapped_bytes or 0)

    def _expected(self, path: str, size_bytes: int) -> int:
        return max(0, size_bytes - self._waived.get(path, 0))

    def _waive(self, process: ServerProcess, read_bytes: int) -> None:
        if read_bytes > self.margin_bytes:
            return
        for one in process.models:
            if one.resident_bytes is not None:
                self._waived[one.path] = max(0, one.size_bytes - one.resident_bytes)
        self._measure(process)

    def _judge(self, now_s: float, *, is_read_back: bool) -> None:
        limit_bytes = self.margin_bytes // 2 if self.is_short else self.margin_bytes
        self.lowest_share = min(self.lowest_share, self.share)
        if is_read_back or self.missing_bytes > limit_bytes:
            self._sign_s, self.is_short = now_s, True
        elif now_s - self._sign_s >= WHOLE_AFTER_S:
            self.is_short = False


def _read_back(before: ServerProcess, after: ServerProcess) -> int:
    """Return what was read from disk between two looks at one process.

    Refaults are those of its whole cgroup, so they count where reads cannot be had.
    """
    if before.read_bytes is not None and after.read_bytes is not None:
        return max(0, after.read_bytes - before.read_bytes)
    if before.refaults is not None and after.refaults is not None:
        return max(0, after.refaults - before.refaults) * PAGE_BYTES
    return 0


def _may_waive(process: ServerProcess, before: ServerProcess | None, decoded: float) -> bool:
    """Say whether enough was generated, between looks that tell what was read."""
    can_tell = before is not None and before.read_bytes is not None
    return can_tell and process.read_bytes is not None and decoded >= WAIVED_AFTER_TOKENS
