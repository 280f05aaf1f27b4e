"""Contents of files that are there and are what they should be, before any is put in its place."""

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from forge.core.remote_tree import Entry
from forge.core.remote_values import to_bytes
from forge.errors import SourcesRefused
from forge.host.tree_files import TreeFiles, chunks_of
from forge.serve.area import Area
from forge.serve.streams import pieces_of

if TYPE_CHECKING:
    import zstandard

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class Staging:
    """Contents, each in a file that its digest names. `uses`: how many entries will have each."""

    def __init__(self, area: Area) -> None:
        self._directory = area.incoming
        self.digests: set[str] = set()
        self.uses: Counter[str] = Counter()

    def __enter__(self) -> "Staging":
        self.descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._clear()
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()
        os.close(self.descriptor)

    def _clear(self) -> None:
        for name in os.listdir(self.descriptor):
            os.unlink(name, dir_fd=self.descriptor)

    def take(self, stream: "zstandard.ZstdDecompressionReader", one: Entry) -> None:
        """Take a file's content out of a pack. Raises SourcesRefused."""
        self._stage(one, pieces_of(stream, one.size))

    def copy(self, area: Area, one: Entry) -> bool:
        """Take a content that is in the tree already; False when it is not there any more."""
        files = TreeFiles(area.root)
        try:
            with contextlib.suppress(OSError, SourcesRefused):
                descriptor = files.open_file(to_bytes(one.path))
                try:
                    self._stage(one, chunks_of(descriptor))
                finally:
                    os.close(descriptor)
                return True
        finally:
            files.close()
        return False

    def _stage(self, one: Entry, pieces: Iterable[bytes]) -> None:
        digest = hashlib.sha256()
        descriptor = os.open(one.digest, _NEW_FILE, 0o600, dir_fd=self.descriptor)
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                digest.update(piece)
                file.write(piece)
        if digest.hexdigest() != one.digest:
            raise SourcesRefused(f"the content of {one.path[:200]!a} is not what its digest says")
        self.digests.add(one.digest)

    def place(self, files: TreeFiles, one: Entry) -> None:
        """Put a file with a content of ours into the tree."""
        name = one.digest
        self.uses[name] -= 1
        if self.uses[name]:  # others have the same content
            name = self._one_more(name)
        files.put_file(to_bytes(one.path), name.encode(), self.descriptor, one.mode, one.mtime_ns)

    def _one_more(self, digest: str) -> str:
        source = os.open(digest, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.descriptor)
        name = f"{digest}.copy"
        try:
            with os.fdopen(os.open(name, _NEW_FILE, 0o600, dir_fd=self.descriptor), "wb") as file:
                for piece in chunks_of(source):
                    file.write(piece)
        finally:
            os.close(source)
        return name
