"""Takes in the tree that a client has: what has changed, and nothing else.

The client says which tree it has. If that is what is here, that was all. If it knows what is here,
it sends a patch with it; otherwise it is asked for the manifest, then for the contents that are
lacking. Nothing in the tree is touched before all contents are there and are what they should be.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from forge.core import remote_tree
from forge.core.remote_frames import FrameType
from forge.core.remote_messages import Need, Open, Ready
from forge.core.remote_tree import Entry, Kind, TreeInvalid
from forge.core.remote_values import to_bytes
from forge.errors import ConnectionLost, ProtocolMismatch, SourcesRefused
from forge.host.tree_files import TreeFiles
from forge.serve.area import Area, as_placed
from forge.serve.channel import Channel
from forge.serve.staging import Staging
from forge.serve.streams import inflated, opened_stream


def take_tree(channel: Channel, area: Area, asked: Open) -> None:
    """Make the area's tree the one that was asked for, and say READY. Raises ForgeError."""
    with area.locked():
        written = _Sync(channel, area, asked).run()
    channel.send(Ready(tree=asked.tree, root=area.root, written=written))


class _Sync:
    """One exchange, with the area locked."""

    def __init__(self, channel: Channel, area: Area, asked: Open) -> None:
        self._channel, self._area, self._asked = channel, area, asked
        self._tree = area.tree()
        self._drift = area.drifted() if self._tree else set()

    def run(self) -> int:
        asked = self._asked
        if asked.base is None and self._tree == asked.tree and not self._drift:
            return 0
        self._base = remote_tree.decode(self._area.manifest())
        self._told = {one.path: one for one in self._base}
        self._placed = self._area.placed()
        with Staging(self._area) as staging:
            new = self._new_entries(staging)
            self._fill(staging, new)
            return self._place(staging, new)

    def _new_entries(self, staging: Staging) -> list[Entry]:
        """Return the entries of the tree that was asked for; contents of a patch are staged."""
        asked = self._asked
        if asked.base is not None:
            if asked.base == self._tree:
                return self._take_patch(staging)
            self._pass_over()
        if self._tree == asked.tree:
            return self._base
        self._channel.send(Need(manifest=True))
        encoded = inflated(self._channel, FrameType.MANIFEST, remote_tree.MAX_MANIFEST_BYTES)
        self._expect_end()
        if remote_tree.digest_of(encoded) != asked.tree:
            raise SourcesRefused("the manifest is not that of the tree that was named")
        entries = _checked(lambda: remote_tree.decode(encoded))
        self._area.check_room(entries)
        return entries

    def _take_patch(self, staging: Staging) -> list[Entry]:
        encoded = inflated(self._channel, FrameType.PATCH, remote_tree.MAX_MANIFEST_BYTES)
        patch = _checked(lambda: remote_tree.decode_patch(encoded))
        new = _checked(lambda: remote_tree.patched(self._base, patch))
        if remote_tree.digest_of(remote_tree.encode(new)) != self._asked.tree:
            raise SourcesRefused("the patch does not make the tree that was named")
        self._area.check_room(new)
        self._take_pack(staging, remote_tree.packed_with(patch, self._base))
        return new

    def _fill(self, staging: Staging, new: Sequence[Entry]) -> None:
        """Stage all contents that will be written: from the tree itself, or from the client."""
        staging.uses = Counter(one.digest for one in new if self._rewrites(one))
        wanted = set(staging.uses) - staging.digests
        for one in self._base:
            is_here = one.digest in wanted and not self._drifted(one)
            if is_here and staging.copy(self._area, one):
                wanted.discard(one.digest)
        if not wanted:
            return
        lacking = [(n, one) for n, one in enumerate(new) if one.digest in wanted]
        first = {id(one) for one in remote_tree.first_of_each(one for _, one in lacking)}
        asked = [(n, one) for n, one in lacking if id(one) in first]
        self._channel.send(Need(blobs=remote_tree.to_spans(n for n, _ in asked)))
        self._take_pack(staging, [one for _, one in asked])

    def _take_pack(self, staging: Staging, files: Sequence[Entry]) -> None:
        self._area.check_disk(sum(one.size for one in files))
        with opened_stream(self._channel, FrameType.PACK) as stream:
            for one in files:
                staging.take(stream, one)
            if stream.read(1):
                raise SourcesRefused("there is more in the pack than was asked for")
        self._expect_end()

    def _place(self, staging: Staging, new: Sequence[Entry]) -> int:
        """Change the tree; return how many entries were changed."""
        placed = self._as_placed(new)
        changed = [one for one in new if self._told.get(one.path) != one or self._drifted(one)]
        gone = [one.path for one in self._base if one.path not in placed]
        files = TreeFiles(self._area.root)
        try:
            with self._area.changing(remote_tree.encode(new), placed):
                if not self._tree:
                    files.clear()  # what an interrupted change has left behind
                for path in reversed(gone):
                    files.remove(to_bytes(path))
                for one in changed:
                    self._place_one(files, staging, placed[one.path], rewrites=self._rewrites(one))
                for path in _directories(changed, gone, placed):
                    here = placed[path]
                    files.set_mode(to_bytes(path), here.mode, here.mtime_ns)
        finally:
            files.close()
        return len(changed) + len(gone)

    def _as_placed(self, new: Sequence[Entry]) -> dict[str, Entry]:
        now_ns, has_run = time.time_ns(), self._area.has_run
        return {
            one.path: as_placed(
                one,
                self._placed.get(one.path),
                None if self._drifted(one) else self._told.get(one.path),
                now_ns,
                has_run=has_run,
            )
            for one in new
        }

    @staticmethod
    def _place_one(files: TreeFiles, staging: Staging, one: Entry, *, rewrites: bool) -> None:
        path = to_bytes(one.path)
        if one.kind is Kind.DIRECTORY:
            files.make_directory(path)
        elif one.kind is Kind.SYMLINK:
            files.put_symlink(path, to_bytes(one.target), one.mtime_ns)
        elif rewrites:
            staging.place(files, one)
        else:
            files.set_mode(path, one.mode, one.mtime_ns)

    def _drifted(self, one: Entry) -> bool:
        return to_bytes(one.path) in self._drift

    def _rewrites(self, one: Entry) -> bool:
        """Say whether an entry is a file whose content is not in its place."""
        if one.kind is not Kind.FILE:
            return False
        told = self._told.get(one.path)
        return self._drifted(one) or told is None or told.digest != one.digest

    def _pass_over(self) -> None:
        """Let a patch go by that was made for another tree."""
        while (frame := self._channel.next_frame()) is not None:
            if frame.type is FrameType.SYNC_END:
                return
            if frame.type not in (FrameType.PATCH, FrameType.PACK):
                raise ProtocolMismatch(f"{frame.type.name} came in the middle of a patch")
        raise ConnectionLost("the client went away in the middle of a patch")

    def _expect_end(self) -> None:
        frame = self._channel.next_frame()
        if frame is None or frame.type is not FrameType.SYNC_END:
            raise ProtocolMismatch("SYNC_END should have come here")


def _directories(
    changed: Sequence[Entry], gone: Sequence[str], placed: Mapping[str, Entry]
) -> list[str]:
    """Return the directories whose mode or time is to be set, those below others first."""
    found = {one.path for one in changed if one.kind is Kind.DIRECTORY}
    found |= {path.rpartition("/")[0] for path in (*gone, *(one.path for one in changed))}
    return sorted(found & placed.keys(), key=lambda path: -path.count("/"))


def _checked(read: Callable[[], list[Entry]]) -> list[Entry]:
    try:
        return read()
    except TreeInvalid as error:
        raise SourcesRefused(str(error)) from None
