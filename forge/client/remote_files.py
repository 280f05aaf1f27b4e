"""Which files go to the host: what git tracks or would track, and what the user adds or takes out.

Where there is no git, it is all files but target dirs and directories of version control. What
looks like a secret stays unless a pattern names it (`!PATTERN` in .forgeignore, remote.include).
"""

import glob
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from forge.core.remote_choice import REPOSITORIES, is_secret, without_targets
from forge.core.text import printable
from forge.errors import ForgeError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILE = ".forgeignore"
_GITS_OWN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")
_GIT = (
    "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ".",
)  # fmt: skip


class TreeUnreadable(ForgeError):
    """The sources cannot be read, or listed."""

    slug = "tree-unreadable"
    exit_code = os.EX_NOINPUT


@dataclass(frozen=True, slots=True)
class Rules:
    """What the user adds and takes out: patterns as in gitignore(5), and globs."""

    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()


@dataclass(slots=True)
class Choice:
    """The files that go: paths below the directory that was asked about, as bytes.

    One that is a directory is a repository inside: git names it and tells nothing of what is in it.
    `secrets` are those that stay because they look like secrets.
    """

    paths: list[bytes] = field(default_factory=list)
    secrets: list[bytes] = field(default_factory=list)


def choose(directory: bytes, rules: Rules, env: Mapping[str, str]) -> Choice:
    """Choose the files of one directory. Raises TreeUnreadable."""
    spec = _spec(directory, rules)
    choice = Choice()
    listed = {path.rstrip(b"/") for path in _listed(directory, env)}
    for path in without_targets(sorted(listed)):
        verdict = spec.check_file(os.fsdecode(path)).include if spec else None
        if verdict:
            continue
        if verdict is None and is_secret(path):
            choice.secrets.append(path)
        else:
            choice.paths.append(path)
    added = {one for pattern in rules.include for one in _included(directory, pattern)}
    if added:
        choice.paths = sorted(added.union(choice.paths))
        choice.secrets = [one for one in choice.secrets if one not in added]
    return choice


def _listed(directory: bytes, env: Mapping[str, str]) -> Iterable[bytes]:
    return _by_git(directory, env) or _by_walking(directory)


def _by_git(directory: bytes, env: Mapping[str, str]) -> list[bytes]:
    if not _is_in_repository(directory):
        return []
    clean = {name: value for name, value in env.items() if name not in _GITS_OWN}
    try:
        done = subprocess.run(
            _GIT,
            cwd=directory,
            env={**clean, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        return []
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[:1]
        raise TreeUnreadable(
            f"git does not list {printable(os.fsdecode(directory))}: {printable(' '.join(said))}"
        )
    return [path for path in done.stdout.split(b"\0") if path]


def _is_in_repository(directory: bytes) -> bool:
    while not os.path.lexists(os.path.join(directory, b".git")):
        parent = os.path.dirname(directory)
        if parent == directory:
            return False
        directory = parent
    return True


def _by_walking(top: bytes, below: bytes = b"") -> Iterator[bytes]:
    try:
        entries = list(os.scandir(os.path.join(top, below)))
    except OSError as error:
        place = printable(os.fsdecode(os.path.join(top, below)))
        raise TreeUnreadable(f"{place} cannot be read: {error.strerror}") from None
    names = {entry.name for entry in entries}
    if b"CACHEDIR.TAG" in names:
        return
    for entry in entries:
        path = below + b"/" + entry.name if below else entry.name
        if entry.is_dir(follow_symlinks=False):
            is_target = entry.name == b"target" and b"Cargo.toml" in names
            if entry.name not in REPOSITORIES and not is_target:
                yield from _by_walking(top, path)
        else:
            yield path


def _spec(directory: bytes, rules: Rules) -> "GitIgnoreSpec | None":
    """Return the patterns that take files out; the last one that fits a path decides."""
    lines = list(rules.exclude)
    try:
        with open(os.path.join(directory, os.fsencode(IGNORE_FILE)), encoding="utf-8") as file:
            lines += file.read().splitlines()
    except FileNotFoundError:
        pass  # nothing more is left out
    except (OSError, UnicodeDecodeError) as error:
        raise TreeUnreadable(f"{IGNORE_FILE} cannot be read: {error}") from None
    if not lines:
        return None
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise TreeUnreadable(f"{IGNORE_FILE}: {error}") from None


def _included(directory: bytes, pattern: str) -> Iterator[bytes]:
    """Yield the files that a glob names; a directory stands for all that is in it."""
    found = glob.iglob(
        os.fsencode(pattern), root_dir=directory, recursive=True, include_hidden=True
    )
    for path in found:
        place = os.path.join(directory, path)
        if b".." in path.split(b"/") or os.path.isabs(path):
            continue
        if os.path.isdir(place) and not os.path.islink(place):
            inner = os.path.normpath(path)
            yield from (os.path.normpath(inner + b"/" + one) for one in _by_walking(place))
        elif os.path.lexists(place):
            yield os.path.normpath(path)
