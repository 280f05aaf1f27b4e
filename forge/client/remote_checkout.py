"""What the host is to have of us: one tree for a workspace and all that its build needs.

Where members or path dependencies lie outside of the workspace's root, the tree's top is the
nearest directory above all of them, so that relative paths hold. Only what was chosen is in it.
"""

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass

from forge import paths
from forge.client.remote_files import Choice, Rules, choose
from forge.client.remote_index import (
    Index,
    Seen,
    SourceChanged,
    fingerprint,
    look_at,
    write_file,
)
from forge.client.remote_members import lies_in, outside_of, settings_above
from forge.core import remote_lines
from forge.core.remote_lines import Line
from forge.core.remote_tree import stays_inside
from forge.core.remote_values import to_text
from forge.host.state_dir import private_dir

_IDENTITY = "remote-client"
_NAME_CHARS = 64
_LOCK = b"Cargo.lock"


@dataclass(frozen=True, slots=True)
class Checkout:
    """Where we stand. `top` is the directory of the tree, `root` that of the workspace."""

    root: str
    top: str
    roots: tuple[str, ...]
    files: tuple[str, ...]
    project: str
    name: str

    def below_top(self, path: str) -> str:
        """Return a directory's path in the tree, `.` for its top."""
        return os.path.relpath(path, self.top)


@dataclass(slots=True)
class Tree:
    """What the files are now. `lines` are there unless nothing has changed since `digest`."""

    digest: str
    top: int
    lines: dict[bytes, Line] | None
    choice: Choice
    outside: list[bytes]


def checkout_of(root: str, env: Mapping[str, str]) -> Checkout:
    """Return the checkout of a workspace root, which is canonical."""
    roots = (root, *outside_of(root))
    files = tuple(settings_above(root))
    top = os.path.commonpath([*roots, *(_holder(one) for one in files)])
    identity = _identity(env)
    name = hashlib.sha256(f"{identity}\0{root}".encode("utf-8", "surrogateescape")).hexdigest()
    return Checkout(root, top, roots, files, project_name(root), name[:16])


def project_name(root: str) -> str:
    """Name the project of a workspace root, in the letters that names have on a host."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", os.path.basename(root)).lstrip("._-")
    return name[:_NAME_CHARS] or "project"


class Checkouts:
    """The trees of one checkout, now and as they were when they were last looked at."""

    def __init__(self, checkout: Checkout, env: Mapping[str, str]) -> None:
        self.checkout = checkout
        self.directory = os.path.join(paths.cache_dir(env), "remote", checkout.name)
        self._env = env

    def look(self, rules: Rules) -> Tree:
        """Look at all files. Raises TreeUnreadable."""
        checkout = self.checkout
        top = os.open(checkout.top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        choice = self._chosen(rules)
        seen = self._opened(top, look_at(top, choice.paths), choice, rules)
        directories = look_at(top, _parents(seen))
        more = repr((checkout, rules)).encode("utf-8", "surrogateescape")
        found = fingerprint(seen, directories, more)
        known_fingerprint, _, known_tree = self._read("seen").partition(b" ")
        if known_fingerprint == found:
            return Tree(known_tree.decode(), top, None, choice, [])
        return self._lines(top, seen, directories, choice, found)

    def lines(self, tree: Tree) -> dict[bytes, Line]:
        """Return the entries of a tree, also of one that has not changed."""
        if tree.lines is None:
            encoded = self._read("manifest")
            if remote_lines.digest_of(encoded) != tree.digest:  # another client's of this checkout
                raise SourceChanged("another build has looked at these files meanwhile")
            tree.lines = remote_lines.decode(encoded)
        return tree.lines

    def known(self, host: str) -> tuple[str, dict[bytes, Line]] | None:
        """Return the tree that a host had, by name, and its entries."""
        encoded = self._read(f"host-{self.slug(host)}")
        return (remote_lines.digest_of(encoded), remote_lines.decode(encoded)) if encoded else None

    def known_digest(self, host: str) -> str:
        """Name the tree that a host had; empty when none is known."""
        return self._read(f"host-{self.slug(host)}.digest").decode()

    def root_on(self, host: str) -> str:
        """Return where a host has the tree; empty when that is not known."""
        return os.fsdecode(self._read(f"host-{self.slug(host)}.root"))

    def note(self, host: str, tree: Tree, root: str) -> None:
        """Take note of what a host has, and where."""
        if self.root_on(host) != root:
            write_file(self.file(f"host-{self.slug(host)}.root"), os.fsencode(root))
        if self.known_digest(host) != tree.digest:
            encoded = remote_lines.encode(self.lines(tree))
            write_file(self.file(f"host-{self.slug(host)}"), encoded)
            write_file(self.file(f"host-{self.slug(host)}.digest"), tree.digest.encode())

    @staticmethod
    def slug(host: str) -> str:
        """Return what stands for a host in names of files."""
        return hashlib.sha256(host.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def file(self, name: str) -> str:
        """Return the path of a file that is kept for this checkout."""
        return os.path.join(self.directory, name)

    def _chosen(self, rules: Rules) -> Choice:
        """Choose the files of all roots, by their paths below the top."""
        whole = Choice([os.fsencode(self.checkout.below_top(one)) for one in self.checkout.files])
        for root in self.checkout.roots:
            self._add(whole, os.fsencode(root), rules)
        whole.paths = sorted(set(whole.paths))
        return whole

    def _add(self, whole: Choice, directory: bytes, rules: Rules) -> None:
        found = choose(directory, rules, self._env)
        if os.path.lexists(os.path.join(directory, _LOCK)):
            found.paths.append(_LOCK)  # also where git ignores it: what is locked here is there
        below = os.path.relpath(directory, os.fsencode(self.checkout.top))
        prefix = b"" if below == b"." else below + b"/"
        whole.paths += [prefix + path for path in found.paths]
        whole.secrets += [prefix + path for path in found.secrets]

    def _opened(self, top: int, seen: list[Seen], choice: Choice, rules: Rules) -> list[Seen]:
        """Put what is in repositories inside in their place."""
        whole: list[Seen] = []
        for one in seen:
            if not stat.S_ISDIR(one.status.st_mode):
                whole.append(one)
                continue
            inner = Choice()
            self._add(inner, os.path.join(os.fsencode(self.checkout.top), one.path), rules)
            choice.secrets += inner.secrets
            whole += self._opened(top, look_at(top, inner.paths), choice, rules)
        return whole

    def _lines(
        self, top: int, seen: list[Seen], directories: list[Seen], choice: Choice, found: bytes
    ) -> Tree:
        targets, outside = self._symlinks(top, seen)
        index = Index(self.file("index"))
        lines, is_settled = index.lines(top, seen, directories, targets)
        encoded = remote_lines.encode(lines)
        digest = remote_lines.digest_of(encoded)
        write_file(self.file("manifest"), encoded)
        write_file(self.file("seen"), b"%b %b" % (found, digest.encode()) if is_settled else b"")
        return Tree(digest, top, lines, choice, outside)

    def _symlinks(self, top: int, seen: list[Seen]) -> tuple[dict[bytes, bytes], list[bytes]]:
        """Return what symlinks say, and those that lead out of the tree: they stay."""
        targets: dict[bytes, bytes] = {}
        outside: list[bytes] = []
        for one in seen:
            if stat.S_ISLNK(one.status.st_mode):
                target = self._inside(one.path, os.readlink(one.path, dir_fd=top))
                if target:
                    targets[one.path] = target
                else:
                    outside.append(one.path)
        return targets, outside

    def _inside(self, path: bytes, target: bytes) -> bytes:
        """Return what a symlink is to say on the host; empty when it leads out of the tree."""
        if os.path.isabs(target):
            real = os.path.realpath(target)
            if not lies_in(os.fsdecode(real), self.checkout.top):
                return b""
            place = os.path.join(os.fsencode(self.checkout.top), os.path.dirname(path))
            target = os.path.relpath(real, place)
        if stays_inside(to_text(path), to_text(target)):
            return target
        plain = os.path.normpath(target)
        return plain if stays_inside(to_text(path), to_text(plain)) else b""

    def _read(self, name: str) -> bytes:
        try:
            with open(self.file(name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""


def _holder(file: str) -> str:
    """Return the directory that a file of cargo's settings steers."""
    parent = os.path.dirname(file)
    return os.path.dirname(parent) if os.path.basename(parent) == ".cargo" else parent


def _parents(seen: list[Seen]) -> list[bytes]:
    found: set[bytes] = set()
    for one in seen:
        parent = one.path.rpartition(b"/")[0]
        while parent and parent not in found:
            found.add(parent)
            parent = parent.rpartition(b"/")[0]
    return sorted(found)


def _identity(env: Mapping[str, str]) -> str:
    """Return what tells this user on this machine from all others; made once."""
    directory = paths.state_dir(env)
    file = os.path.join(directory, _IDENTITY)
    try:
        with open(file, encoding="ascii") as opened:
            return opened.read().strip()
    except FileNotFoundError:
        private_dir(directory)
        made = secrets.token_hex(16)
        write_file(file, made.encode())
        return made
