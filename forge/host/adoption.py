"""Moving a project's own `target/` onto the RAM disk, and back.

Nothing outside the RAM disk is ever deleted; this is the one exception, for exactly the directory
that its user has said yes to. It must be a real directory that cargo has marked as its own, beside
a Cargo.toml, with nothing mounted in it and no cargo at work; and it goes only when every byte of
it was read back from the copy.
"""

import os
import secrets
import stat

from forge.core.disk import Disk
from forge.core.snapshots import Snapshot
from forge.core.units import show_bytes
from forge.errors import SnapshotFailed, TreeRefused
from forge.host.build_locks import held_still
from forge.host.saving import Source, save
from forge.host.snapshots import SnapshotStore
from forge.host.target_dirs import draft_on, take_place
from forge.host.tree_copies import OnBytes, copy_tree, verify_copy
from forge.host.trees import Tree, remove_tree, walk

TAG = "CACHEDIR.TAG"
SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
ASIDE = ".forge-moved-"


def check_target(path: str) -> None:
    """See that a directory is a target dir of cargo's that may be moved. Raises TreeRefused."""
    parent = os.path.dirname(path)
    try:
        seen = os.lstat(path)
        if not stat.S_ISDIR(seen.st_mode):
            raise TreeRefused(f"{path} is no directory")
        if seen.st_uid != os.getuid():
            raise TreeRefused(f"{path} belongs to user {seen.st_uid}")
        if seen.st_dev != os.lstat(parent).st_dev:
            raise TreeRefused(f"{path} is a mount point")
        with open(os.path.join(path, TAG), "rb", opener=_open_plainly) as file:
            is_tagged = file.read(len(SIGNATURE)) == SIGNATURE
    except OSError as error:
        raise TreeRefused(f"{path} is no target dir of cargo's: {error.strerror}") from None
    if not is_tagged or not os.path.isfile(os.path.join(parent, "Cargo.toml")):
        raise TreeRefused(f"{path} is no target dir of cargo's")


def adopt(
    disk: Disk,
    source: str,
    path: str,
    room_bytes: int,
    on_bytes: OnBytes = lambda _done, _of: None,
) -> int:
    """Move a project's target directory to `path` on the disk; return how many bytes it has.

    Raises TreeRefused, TargetDirBusy, SnapshotFailed, DiskUnavailable, and what `on_bytes` raises;
    then the source is as it was.
    """
    check_target(source)
    if os.path.lexists(path) and set(os.listdir(path)) - {TAG}:
        raise TreeRefused(f"{path} is there already", hint="`forge target evict` makes room for it")
    with held_still(source):
        tree = _movable(source)
        if tree.size_bytes > room_bytes:
            raise SnapshotFailed(
                f"{source} has {show_bytes(tree.size_bytes)}, and the RAM disk only"
                f" {show_bytes(room_bytes)} free",
                hint="`--snapshot` keeps it on the SSD",
            )
        draft = draft_on(disk)
        try:
            _copy(source, tree, draft, on_bytes)
            take_place(disk, draft, path)
        finally:
            if os.path.lexists(draft):
                remove_tree(draft)
        remove_source(source)
    return tree.size_bytes


def keep(
    store: SnapshotStore,
    source: str,
    path: str,
    root: str,
    most_bytes: int,
    on_bytes: OnBytes = lambda _done, _of: None,
) -> Snapshot:
    """Move a project's target directory into a snapshot of the target dir `path`.

    The source goes when the whole snapshot was read back. Raises as `adopt`.
    """
    check_target(source)
    with held_still(source):
        tree = _movable(source)
        saved = Source(source, root, token="", name=os.path.basename(path))
        snapshot = save(store, saved, most_bytes, on_bytes)
        if snapshot is None:
            raise SnapshotFailed(f"{source} is not what a snapshot says it is")
        store.check(snapshot)
        if walk(source).entries != tree.entries:
            raise TreeRefused(f"{source} changed while it was saved")
        remove_source(source)
    return snapshot


def disown(source: str, target: str, on_bytes: OnBytes = lambda _done, _of: None) -> int:
    """Move a target dir from the disk to `target` in its project; return its bytes.

    A link of ours may be at `target`. Raises as `adopt`; then the source is as it was.
    """
    is_link = os.path.islink(target) and os.readlink(target) == source
    if os.path.lexists(target) and not is_link:
        raise TreeRefused(f"{target} is there already", hint="move it away first")
    if not os.path.isfile(os.path.join(os.path.dirname(target), "Cargo.toml")):
        raise TreeRefused(f"there is no project at {os.path.dirname(target)}")
    draft = f"{target}{ASIDE}{secrets.token_hex(8)}"
    with held_still(source):
        tree = _movable(source)
        try:
            os.mkdir(draft, 0o755)
            _copy(source, tree, draft, on_bytes)
            if is_link:
                os.unlink(target)
            os.rename(draft, target)
        except OSError as error:
            raise SnapshotFailed(f"{target} cannot be made: {error.strerror or error}") from None
        finally:
            if os.path.lexists(draft):
                remove_tree(draft)
        remove_source(source)
    return tree.size_bytes


def remove_source(source: str) -> None:
    """Delete what was copied and verified: first its name, so that none sees half of it."""
    aside = f"{source}{ASIDE}{secrets.token_hex(8)}"
    os.rename(source, aside)
    remove_tree(aside)


def _movable(source: str) -> Tree:
    """Walk a tree of which nothing may be lost. Raises TreeRefused where something would be."""
    tree = walk(source)
    if tree.left_out:
        path, why = tree.left_out[0]
        raise TreeRefused(f"{source}/{path} cannot be moved: it is {why}")
    return tree


def _copy(source: str, tree: Tree, draft: str, on_bytes: OnBytes) -> None:
    copy_tree(source, tree.entries, draft, lambda done, of: on_bytes(done, 2 * of))
    verify_copy(source, tree.entries, draft, lambda done, of: on_bytes(of + done, 2 * of))


def _open_plainly(path: str, _flags: int) -> int:
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
