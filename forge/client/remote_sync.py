"""Bringing a tree to the host: its name where nothing changed, else a patch and what is new in it.

All that can be said without an answer is said at once (`opening`), so that a build costs no round
trip more than the connection. What the host lacks all the same it asks for.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator

import zstandard

from forge.client.remote_checkout import Checkouts, Tree
from forge.client.remote_index import SourceChanged, open_file
from forge.client.remote_link import Link
from forge.core import remote_lines
from forge.core.remote_frames import DATA_BYTES, FrameType, encode, encode_data
from forge.core.remote_lines import Content
from forge.core.remote_messages import Need, Open, Ready, to_frame
from forge.core.text import printable
from forge.errors import ProtocolMismatch

_LEVEL = 3
_READ_BYTES = 1 << 20
_MOST_QUESTIONS = 4
Progress = Callable[[int, int], None]


class Sync:
    """One tree on its way to one host. `progress` hears how many bytes of how many are sent."""

    def __init__(
        self, link: Link, checkouts: Checkouts, tree: Tree, host: str, progress: Progress
    ) -> None:
        self._link, self._checkouts, self._tree, self._host = link, checkouts, tree, host
        self._progress = progress

    def opening(self) -> Iterator[bytes]:
        """Yield the frames with which it begins."""
        base = None
        if self._checkouts.known_digest(self._host) != self._tree.digest:
            base = self._checkouts.known(self._host)
        checkout = self._checkouts.checkout
        yield to_frame(
            Open(
                project=checkout.project,
                checkout=checkout.name,
                tree=self._tree.digest,
                base=base[0] if base else None,
            )
        )
        if base:
            patch = remote_lines.patch_between(base[1], self._lines())
            yield from _compressed(FrameType.PATCH, [remote_lines.encode(patch)])
            yield from self._pack(list(remote_lines.packed_with(patch, base[1])))
            yield encode(FrameType.SYNC_END)

    def finish(self) -> Ready:
        """Answer what the host asks, until it has the tree."""
        for _ in range(_MOST_QUESTIONS):
            answer = self._link.expect(Need, Ready)
            if isinstance(answer, Ready):
                if answer.tree != self._tree.digest:
                    raise ProtocolMismatch("the host has another tree than the one it was sent")
                self._checkouts.note(self._host, self._tree, answer.root)
                return answer
            assert isinstance(answer, Need)
            self._link.send_all(self._answer(answer))
        raise ProtocolMismatch("the host asks again and again")

    def _answer(self, need: Need) -> Iterator[bytes]:
        lines = self._lines()
        if need.manifest:
            yield from _compressed(FrameType.MANIFEST, [remote_lines.encode(lines)])
        else:
            try:
                contents = list(remote_lines.contents_at(lines, need.blobs))
            except IndexError as error:
                raise ProtocolMismatch(f"the host needs what is not there: {error}") from None
            yield from self._pack(contents)
        yield encode(FrameType.SYNC_END)

    def _lines(self) -> dict[bytes, remote_lines.Line]:
        return self._checkouts.lines(self._tree)

    def _pack(self, contents: list[Content]) -> Iterator[bytes]:
        return _compressed(FrameType.PACK, self._pieces(contents))

    def _pieces(self, contents: list[Content]) -> Iterator[bytes]:
        total = sum(one.size for one in contents)
        sent = 0
        for one in contents:
            yield from content_of(self._tree.top, one)
            sent += one.size
            self._progress(sent, total)


def content_of(top: int, content: Content) -> Iterator[bytes]:
    """Yield what a file has in it. Raises SourceChanged when that is not what it had."""
    descriptor = open_file(top, content.path)
    found, left = hashlib.sha256(), content.size
    try:
        while left and (piece := os.read(descriptor, min(left, _READ_BYTES))):
            left -= len(piece)
            found.update(piece)
            yield piece
    finally:
        os.close(descriptor)
    if left or found.hexdigest().encode() != content.digest:
        name = printable(os.fsdecode(content.path))
        raise SourceChanged(f"{name} changes while it is sent", hint="try again when it is written")


def _compressed(kind: FrameType, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield frames of one zstd stream; none where there is nothing in it."""
    stream = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
    ready = bytearray()
    is_empty = True
    for piece in pieces:
        is_empty = is_empty and not piece
        ready += stream.compress(piece)
        while len(ready) >= DATA_BYTES:
            yield encode(kind, bytes(ready[:DATA_BYTES]))
            del ready[:DATA_BYTES]
    if not is_empty:
        yield from encode_data(kind, bytes(ready) + stream.flush())
