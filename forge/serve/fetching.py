"""Sends files back to the client: below the target dir or the tree, and never through a symlink."""

import hashlib
import os
import stat

import zstandard

from forge.core.remote_frames import FrameType, encode_data
from forge.core.remote_messages import Fetch, File, FileEnd
from forge.core.remote_tree import path_refusal
from forge.core.remote_values import to_bytes, to_text
from forge.errors import ConnectionLost, NotAllowed
from forge.host.tree_files import TreeFiles, chunks_of, is_within
from forge.serve.channel import Channel

LEVEL = 3


def send_files(channel: Channel, root: str, target_dir: str | None, asked: Fetch) -> None:
    """Send what is asked for, one file after the other. Raises ForgeError."""
    base = root if asked.base == "tree" else target_dir
    try:
        files = _opened(root, base)
    except OSError:
        raise NotAllowed("there is no target dir of its own: nothing was built in one") from None
    try:
        for path in asked.paths:
            why = path_refusal(to_bytes(path))
            if why:
                raise NotAllowed(f"{path[:200]!a} {why}")
            _send(channel, files, path)
    finally:
        files.close()
    channel.send(FileEnd())


def _opened(root: str, base: str | None) -> TreeFiles:
    """Open what is asked for; what is in the tree through no symlink. Raises OSError."""
    if base is None:
        raise FileNotFoundError
    if base != root and is_within(base, root):
        return TreeFiles(root, to_bytes(os.path.relpath(base, root)))
    return TreeFiles(base)


def _send(channel: Channel, files: TreeFiles, path: str) -> None:
    name = to_bytes(path)
    try:
        found = files.look(name)
        if found is not None and stat.S_ISLNK(found.st_mode):
            channel.send(File(path=path, mode=0o777, target=to_text(files.read_link(name))))
            return
        descriptor = files.open_file(name)
    except OSError as error:
        channel.send(File(path=path, why=(error.strerror or "cannot be read").lower()))
        return
    try:
        _send_content(channel, path, descriptor)
    finally:
        os.close(descriptor)


def _send_content(channel: Channel, path: str, descriptor: int) -> None:
    found = os.fstat(descriptor)
    channel.send(
        File(
            path=path,
            mode=stat.S_IMODE(found.st_mode) & 0o777,
            mtime_ns=max(0, found.st_mtime_ns),
            size=found.st_size,
        )
    )
    digest, sent = hashlib.sha256(), 0
    deflater = zstandard.ZstdCompressor(level=LEVEL).compressobj()
    for chunk in chunks_of(descriptor):
        sent += len(chunk)
        if sent > found.st_size:
            break  # it grows while we read it
        digest.update(chunk)
        _send_data(channel, deflater.compress(chunk))
    if found.st_size:
        _send_data(channel, deflater.flush())
    is_whole = sent == found.st_size and os.fstat(descriptor).st_mtime_ns == found.st_mtime_ns
    channel.send(FileEnd(digest=digest.hexdigest() if is_whole else ""))


def _send_data(channel: Channel, data: bytes) -> None:
    for frame in encode_data(FrameType.FILE_DATA, data):
        channel.send_bytes(frame)
        channel.flush_some()
        if channel.is_at_end:
            raise ConnectionLost("the client is gone")
