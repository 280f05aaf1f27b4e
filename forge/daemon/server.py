"""The socket: takes lines from clients, gives events to the loop, sends the replies.

Peers of another user are turned away. Garbage is answered and logged; it ends nothing but, when a
line is endless or the version unknown, its own connection.
"""

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from forge.core import events, message_reading, wire
from forge.host.sockets import peer_uid

BACKLOG = 1024
"""Connections that may wait to be taken: to a client a full queue looks like a hung daemon."""

WRITE_LIMIT_BYTES = 4 * wire.MAX_LINE_BYTES
"""A client that reads nothing loses its connection when so much waits for it."""


class Peer(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._buffer = bytearray()
        self._first = True
        self._transport: asyncio.Transport | None = None
        self.conn = next(server.numbers)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Check the peer's uid; refuse all but our own."""
        assert isinstance(transport, asyncio.Transport), "a stream socket has a transport"
        self._transport = transport
        uid = peer_uid(transport.get_extra_info("socket"))
        if uid != os.getuid():
            self._server.log("peer.refused", {"uid": uid})
            transport.abort()
            return
        self._server.peers[self.conn] = self

    def data_received(self, data: bytes) -> None:
        """Take in bytes, line by line."""
        self._buffer += data
        while True:
            end = self._buffer.find(b"\n")
            if end < 0:
                break
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._take(line)
        if len(self._buffer) > wire.MAX_LINE_BYTES:
            self._buffer.clear()
            self._refuse(f"a line is over the limit of {wire.MAX_LINE_BYTES} bytes", last=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the core that the lease is over."""
        if self._server.peers.pop(self.conn, None):
            self._server.post(events.Closed(self.conn))

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message, unless the client has stopped reading."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() > WRITE_LIMIT_BYTES:
            self._server.log("peer.deaf", {"conn": self.conn})
            transport.abort()
            return
        try:
            line = wire.encode(dict(message))
        except ValueError as error:
            self._server.log("peer.oversize", {"conn": self.conn, "type": message.get("type")})
            line = wire.encode(
                {"type": "error", "slug": "protocol-mismatch", "message": str(error), "hint": None}
            )
        transport.write(line)

    def close(self) -> None:
        """Close after what waits was sent."""
        if self._transport:
            self._transport.close()

    def _take(self, line: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        try:
            message = message_reading.read(line, first=self._first)
        except message_reading.UnknownVersion as error:
            self._refuse(str(error), last=True)
        except ValueError as error:
            self._refuse(str(error), last=False)
        else:
            self._first = False
            self._server.post(events.Received(self.conn, message))

    def _refuse(self, reason: str, *, last: bool) -> None:
        self._server.log("peer.garbage", {"conn": self.conn, "reason": reason})
        hint = "restart the daemon after an upgrade: `forge daemon restart`" if last else None
        self.send({"type": "error", "slug": "protocol-mismatch", "message": reason, "hint": hint})
        if last:
            self.close()


class Server:
    """Listens on the socket. `post` takes events, `log` decisions."""

    def __init__(
        self, post: Callable[[events.Event], None], log: Callable[[str, Mapping[str, Any]], None]
    ) -> None:
        self.post = post
        self.log = log
        self.peers: dict[int, Peer] = {}
        self.numbers = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._identity: tuple[int, ...] = ()

    async def listen(self, path: str) -> None:
        """Bind the socket, mode 0600. The caller holds the daemon's lock: an old socket is dead."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(mask)
        self._identity = _identity(path)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: Peer(self), sock=sock, backlog=BACKLOG)

    def send(self, conn: int, message: Mapping[str, Any]) -> None:
        """Send to a connection, if it is still there."""
        peer = self.peers.get(conn)
        if peer:
            peer.send(message)

    def is_lost(self, path: str) -> bool:
        """Say whether the socket at `path` is gone or another daemon's."""
        try:
            return _identity(path) != self._identity
        except OSError:
            return True

    def close(self) -> None:
        """Stop listening and close all connections."""
        if self._server:
            self._server.close()
        for peer in list(self.peers.values()):
            peer.close()


def _identity(path: str) -> tuple[int, ...]:
    status = os.stat(path)
    return status.st_dev, status.st_ino  # not used again while we listen: we hold it
