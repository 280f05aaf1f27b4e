"""What people have asked of services: which are to run, and whether they are watched.

A small file, since the daemon and the commands both change it and either may not be there. It is
written under the lock that keeps two `opta-start`s apart.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

from forge.host.state_dir import private_dir
from forge.host.whole_files import replace_json

NAME = "state.json"


@dataclass(frozen=True, slots=True)
class Wishes:
    """Services that are to run, and whether they are started again when they die."""

    wanted: frozenset[str] = frozenset()
    watched: bool = True


def read_wishes(own_dir: str) -> Wishes:
    """Read the file; one that is missing or broken says that nothing was asked."""
    try:
        with open(os.path.join(own_dir, NAME), encoding="utf-8") as file:
            document = json.load(file)
        names = [name for name in document["wanted"] if isinstance(name, str)]
        return Wishes(frozenset(names), document["watched"] is not False)
    except (OSError, ValueError, KeyError, TypeError):
        return Wishes()


def write_wishes(own_dir: str, wishes: Wishes) -> None:
    """Write the file in one step. Raises OSError, StateDirUnsafe."""
    private_dir(own_dir)
    document = {"wanted": sorted(wishes.wanted), "watched": wishes.watched}
    replace_json(os.path.join(own_dir, NAME), document)


def is_busy(own_dir: str) -> bool:
    """Say whether somebody starts or stops services now."""
    try:
        lock = os.open(os.path.join(own_dir, "lock"), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False  # nobody ever has
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


@contextlib.contextmanager
def alone(own_dir: str) -> Iterator[bool]:
    """Hold the lock of services; yields whether somebody else had it, for whom we waited."""
    private_dir(own_dir)
    lock = os.open(os.path.join(own_dir, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        waited = False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield waited
    finally:
        os.close(lock)
