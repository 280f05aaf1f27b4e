"""HTTP GET from a server that may be busy, hung, hostile or no HTTP server at all.

A request that is not answered in time is not given up: it stays open, and the next call waits for
the same answer. So a server that answers between batches, every few seconds, is heard, and never
has more than one request of ours in its queue. What it sends is bounded in bytes and, from the
first byte on, in time. No redirect is followed.

Each request has a connection of its own, closed by the answer. To keep one open would cost the
server more: llama-server's HTTP threads look at an idle connection 100 times a second, and each
one occupies a thread.
"""

import http.client
import io
import select
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from forge.core.llama_replies import Reply

MAX_BODY_BYTES = 8 << 20
READ_S = 1.0
"""So long an answer may take from its first byte to its last."""

GIVE_UP_S = 120.0
"""A request that is not answered for so long is made anew."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


class NoAnswer(Exception):
    """What came is no HTTP reply, or one without an end."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a url points."""

    host: str
    port: int
    path: str
    is_tls: bool

    @classmethod
    def of(cls, url: str) -> "Address":
        """Read a url. Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise ValueError(f"{url} is no http or https address")
        port = _DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
        return cls(parts.hostname, port, parts.path.rstrip("/"), parts.scheme == "https")


@dataclass(frozen=True, slots=True)
class _Request:
    path: str
    sock: socket.socket
    sent_s: float


class HttpGet:
    """One request at a time to one server. Invariant: `_open` is the one without an answer yet."""

    def __init__(self, address: Address, api_key: str | None = None) -> None:
        self.address = address
        self._headers = _headers(address, api_key)
        self._open: _Request | None = None

    @property
    def waiting_s(self) -> float | None:
        """Return since when, by the steady clock, an answer is waited for."""
        return self._open.sent_s if self._open else None

    def get(self, path: str, until_s: float) -> Reply:
        """Ask for `path`, or wait on for its answer, until a moment of the steady clock.

        Raises TimeoutError when there is none yet, NoAnswer, and OSError as sockets do.
        """
        if self._open and self._open.path != path:
            self._receive(self._open, until_s)  # what the last call has not waited for
        return self._receive(self._open or self._send(path, until_s), until_s)

    def close(self) -> None:
        """Give up what is open."""
        if self._open:
            self._open.sock.close()
            self._open = None

    def _send(self, path: str, until_s: float) -> _Request:
        sock = self._connect(until_s)
        try:
            sock.settimeout(_left_s(until_s))
            sock.sendall(f"GET {self.address.path}{path} HTTP/1.1\r\n{self._headers}".encode())
        except BaseException:
            sock.close()
            raise
        self._open = _Request(path, sock, time.monotonic())
        return self._open

    def _connect(self, until_s: float) -> socket.socket:
        place = (self.address.host, self.address.port)
        try:
            sock = socket.create_connection(place, timeout=_left_s(until_s))
        except UnicodeError:
            raise OSError(f"{self.address.host} is no host's name") from None
        if not self.address.is_tls:
            return sock
        try:
            sock.settimeout(_left_s(until_s))
            return ssl.create_default_context().wrap_socket(sock, server_hostname=self.address.host)
        except ssl.SSLError as error:
            sock.close()
            raise NoAnswer(f"no safe connection: {error.reason or error}") from error
        except BaseException:
            sock.close()
            raise

    def _receive(self, request: _Request, until_s: float) -> Reply:
        if not _is_readable(request.sock, until_s):
            if time.monotonic() - request.sent_s > GIVE_UP_S:
                self.close()
            raise TimeoutError(f"no answer to {request.path} yet")
        try:
            return _read(request)
        except http.client.RemoteDisconnected:
            raise ConnectionResetError("it closed the connection without an answer") from None
        except (http.client.HTTPException, ssl.SSLError) as error:
            raise NoAnswer("it does not speak HTTP") from error
        finally:
            self.close()


class _Timed(io.RawIOBase):
    """Reads from a socket until a moment, however small the pieces are that come."""

    def __init__(self, sock: socket.socket, until_s: float) -> None:
        self._sock = sock
        self._until_s = until_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_left_s(self._until_s))
        return self._sock.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return what http.client reads from."""
        return io.BufferedReader(self)


def _read(request: _Request) -> Reply:
    reader: Any = _Timed(request.sock, time.monotonic() + READ_S)
    with http.client.HTTPResponse(reader, method="GET") as response:
        response.begin()
        body = response.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise NoAnswer(f"its answer to {request.path} has no end")
        return Reply(response.status, body, time.monotonic() - request.sent_s)


def _is_readable(sock: socket.socket, until_s: float) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(max(0.0, until_s - time.monotonic()) * 1000))


def _left_s(until_s: float) -> float:
    left_s = until_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("it takes too long")
    return left_s


def _headers(address: Address, api_key: str | None) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    lines = [f"Host: {host}:{address.port}", "User-Agent: opta-forge", "Connection: close"]
    if api_key and api_key.isascii() and api_key.isprintable():
        lines.append(f"Authorization: Bearer {api_key}")
    return "\r\n".join([*lines, "", ""])
