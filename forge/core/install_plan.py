"""What an installation consists of: folders, files and commands, each with the reason for it.

An uninstallation is the same list backwards. What was written is known by its hash: a file that
somebody has changed since is theirs.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that must be there."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class File:
    """A file of ours."""

    path: str
    text: str
    why: str

    @property
    def digest(self) -> str:
        """Return the hash by which it is known again."""
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()


@dataclass(frozen=True, slots=True)
class Run:
    """A command that is run, and the one that takes it back; either may be empty.

    `may_fail`: a failure is told, and no more.
    """

    argv: tuple[str, ...]
    why: str
    undo: tuple[str, ...] = ()
    may_fail: bool = False


Step = Folder | File | Run


@dataclass(frozen=True, slots=True)
class Done:
    """One thing to be taken back: a file with its hash, or what is to be run."""

    path: str = ""
    digest: str = ""
    undo: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """What was done, in order. To take it back is to go through it from the end."""

    done: tuple[Done, ...] = ()

    @property
    def files(self) -> Mapping[str, str]:
        """Return the hashes of the files by path."""
        return {one.path: one.digest for one in self.done if one.path}


def recorded(steps: Iterable[Step]) -> Record:
    """Return what is to be remembered of steps that were taken."""
    done = []
    for step in steps:
        if isinstance(step, File):
            done.append(Done(step.path, step.digest))
        elif isinstance(step, Run) and step.undo:
            done.append(Done(undo=step.undo))
    return Record(tuple(done))


def is_ours(record: Record | None, path: str, digest: str) -> bool:
    """Say whether a file with that hash is one that an installation has written there."""
    return record is not None and record.files.get(path) == digest
