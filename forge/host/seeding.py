"""A new checkout's first target dir, from that of a sibling: another checkout of the repository.

What a registry crate was compiled to is the same in both. The workspace's own crates are another
matter: cargo names their units alike in all checkouts and goes by times alone, and the files of the
new checkout may be older than the sibling's build. Cargo would take the sibling's code for ours and
not compile at all. So nothing of theirs is taken along, and the two checkouts must agree which
crates these are: those in Cargo.lock that come from no `source`.

Files that rustc replaces and never changes in place may be shared under a second name; all others
are copied, because cargo writes into fingerprints, `.d` files and outputs of build scripts where
they are. Incremental data is of no use: rustc drops it when the working directory is another one.
Measured: docs/design/snapshots.md.
"""

import os
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from forge.core.build_lock import LOCK_NAME
from forge.core.disk import Disk
from forge.errors import TreeRefused
from forge.host.build_locks import held_still
from forge.host.repositories import place_of
from forge.host.target_dirs import draft_on, take_place
from forge.host.toolchains import NOTE
from forge.host.tree_copies import OnBytes, copy_tree
from forge.host.trees import Entry, Kind, remove_tree, walk

SHARED_ENDINGS = (".rlib", ".rmeta")
_FINGERPRINTS, _DEPS = ".fingerprint", "deps"
_OF_UNITS = (_FINGERPRINTS, _DEPS, "build")
_CONFIGS = (".cargo/config.toml", ".cargo/config")


@dataclass(frozen=True, slots=True)
class Sibling:
    """A target dir that a new one may be made from, and the checkout that it belongs to."""

    path: str
    root: str


def sibling_of(root: str, candidates: Iterable[Sibling]) -> Sibling | None:
    """Return the first target dir that belongs to another checkout of the same repository."""
    place = place_of(root)
    if place is None:
        return None
    return next((one for one in candidates if one.root != root and place_of(one.root) == place),
                None)  # fmt: skip


def seed(
    disk: Disk,
    sibling: Sibling,
    root: str,
    path: str,
    most_bytes: int,
    on_bytes: OnBytes = lambda _done, _of: None,
) -> int:
    """Make `path` on the disk from a sibling's target dir; return how many bytes that has.

    Raises TreeRefused, TargetDirBusy, DiskUnavailable, OSError; then nothing is left behind.
    """
    names = own_packages(root) | own_packages(sibling.root)
    draft = draft_on(disk)
    try:
        with held_still(sibling.path):
            entries = _taken(walk(sibling.path).entries, names)
            if not any(entry.kind is Kind.FILE for entry in entries):
                raise TreeRefused(f"{sibling.path} has nothing that {root} could use")
            size_bytes = sum(entry.size_bytes for entry in entries)
            if size_bytes > most_bytes:
                raise TreeRefused(f"{sibling.path} is too large to start from")
            copy_tree(sibling.path, entries, draft, on_bytes, _may_be_shared)
        take_place(disk, draft, path)
    finally:
        if os.path.lexists(draft):
            remove_tree(draft)
    return size_bytes


def own_packages(root: str) -> set[str]:
    """Return the names of the packages that are no registry's: their sources are in the checkout.

    Raises TreeRefused where nobody can tell.
    """
    for place in _above(root):
        if any("paths" in _read(place / name) for name in _CONFIGS):
            raise TreeRefused(f"a cargo configuration above {root} overrides `paths`")
    packages = _read(Path(root) / "Cargo.lock").get("package")
    if not isinstance(packages, list):
        raise TreeRefused(f"{root} has no Cargo.lock that tells whose its packages are")
    return {str(one.get("name")) for one in packages if "source" not in one}


def _taken(entries: Sequence[Entry], names: set[str]) -> list[Entry]:
    """Return what of a target dir is worth taking along, and harmless.

    A profile's directory is known by its fingerprints. Programs lie right in it, and examples,
    documentation and the like beside those: all of them are the workspace's own.
    """
    profiles = {e.path.rpartition("/")[0] for e in entries if _name(e.path) == _FINGERPRINTS}
    crates = names | {name.replace("-", "_") for name in names}
    taken = []
    for entry in entries:
        parts = entry.path.split("/")
        depth = next((n for n in (1, 2) if "/".join(parts[:n]) in profiles), None)
        if depth is None:
            is_wanted = "/".join(parts) == NOTE or f"{entry.path}/" in _beginnings(profiles)
        elif len(parts) > depth + 1:
            unit = parts[depth + 1].rpartition("-")[0]
            is_wanted = parts[depth] in _OF_UNITS and unit.removeprefix("lib") not in crates
        else:
            is_wanted = len(parts) == depth or parts[depth] in (*_OF_UNITS, LOCK_NAME)
        if is_wanted:
            taken.append(entry)
    return taken


def _beginnings(profiles: set[str]) -> set[str]:
    return {profile.rpartition("/")[0] + "/" for profile in profiles}


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _may_be_shared(entry: Entry) -> bool:
    parent = os.path.basename(os.path.dirname(entry.path))
    return entry.kind is Kind.FILE and parent == _DEPS and entry.path.endswith(SHARED_ENDINGS)


def _above(root: str) -> Sequence[Path]:
    return [Path(root), *Path(root).parents]


def _read(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise TreeRefused(f"{path} cannot be read: {error}") from None
