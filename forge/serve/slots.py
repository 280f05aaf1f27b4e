"""How many builds of one key run at once: each holds one of its slots, a lock that dies with it."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from forge.core.remote_messages import Notice
from forge.core.remote_policy import KeyRules
from forge.errors import ConnectionLost
from forge.host.state_dir import private_dir
from forge.serve.channel import Channel

_POLL_S = 0.2


@contextlib.contextmanager
def build_slot(channel: Channel, key_dir: str, rules: KeyRules) -> Iterator[None]:
    """Hold a slot of the key's; waits for one and says so. Raises ConnectionLost."""
    told = False
    while (held := take_slot(key_dir, rules.max_builds)) is None:
        if not told:
            told = True
            line = f"waiting: {rules.max_builds} of `{rules.name}` run already, as many as it may"
            channel.send(Notice(line=line))
        channel.wait((), time.monotonic() + _POLL_S)
        if channel.is_at_end:
            raise ConnectionLost("the client is gone")
    try:
        yield
    finally:
        os.close(held)


def take_slot(key_dir: str, count: int) -> int | None:
    """Return the descriptor of a slot that is held now; None when none is free."""
    directory = os.path.join(key_dir, ".slots")
    private_dir(directory)
    for number in range(count):
        path = os.path.join(directory, str(number))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        return descriptor
    return None
