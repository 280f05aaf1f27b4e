"""The journal of a RAM disk that is half made or half taken away, and the lock around both.

A new ram:// device carries nothing of ours until its marker is written, so what we are about to do
is written down first. `lost` counts attaches whose end nobody has seen: we were killed, or gave up
waiting, and the device may still turn up. `before` are the devices that were there when the first
of those began: none of them can be ours. The file is there only while something is unsettled.
"""

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from forge.errors import DeadlineExceeded, StateDirUnsafe

INTENT_NAME = "disk-intent.json"
LOCK_NAME = "disk.lock"
LOCK_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Intent:
    """What is under way: `node` is the device in work, once it is known."""

    boot: str
    token: str
    sectors: int
    staging: str
    before: tuple[str, ...]
    began_at: float
    node: str | None = None
    lost: int = 0


def write_intent(state_dir: Path, intent: Intent) -> None:
    """Put `intent` in the place of the one before, in one step and safe from a power cut."""
    path = state_dir / INTENT_NAME
    draft = state_dir / f"{INTENT_NAME}.{secrets.token_hex(4)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(intent), file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def read_intent(state_dir: Path) -> Intent | None:
    """Return the journal's entry; None when nothing is unsettled or the file proves nothing."""
    try:
        data = json.loads((state_dir / INTENT_NAME).read_text(encoding="utf-8"))
        return Intent(
            boot=str(data["boot"]),
            token=str(data["token"]),
            sectors=int(data["sectors"]),
            staging=str(data["staging"]),
            before=tuple(str(node) for node in data["before"]),
            began_at=float(data["began_at"]),
            node=None if data["node"] is None else str(data["node"]),
            lost=int(data["lost"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return None


def clear_intent(state_dir: Path) -> None:
    """Say that nothing is unsettled."""
    (state_dir / INTENT_NAME).unlink(missing_ok=True)


@contextlib.contextmanager
def disk_lock(state_dir: Path, wait_s: float) -> Iterator[None]:
    """Hold the one right to change the RAM disk, among threads and processes.

    It is an flock, so it ends with its holder; the tools that we start do not inherit it.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(state_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateDirUnsafe(f"cannot write to {state_dir}: {error.strerror}") from error
    try:
        _acquire(descriptor, wait_s)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, wait_s: float) -> None:
    give_up_at = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up_at:
                raise DeadlineExceeded(
                    f"another process has been changing the RAM disk for {wait_s:.0f} s",
                    hint="see `forge status`",
                ) from None
            time.sleep(LOCK_POLL_S)
        else:
            return
