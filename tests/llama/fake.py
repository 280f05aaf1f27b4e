"""A server that answers what it is told, in bytes: as a llama-server does, or as none should."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

Sender = Callable[[socket.socket], None]
SLOT = {"id": 0, "n_ctx": 512, "is_processing": False, "speculative": False}
PROPS = {
    "total_slots": 1, "default_generation_settings": {"n_ctx": 512}, "model_path": "/m/a.gguf",
    "build_info": "b1", "is_sleeping": False,
}  # fmt: skip
METRICS = (
    b"llamacpp:n_decode_total 2\nllamacpp:requests_processing 0\nllamacpp:requests_deferred 0\n"
)


def reply(body: Any, status: int = 200, headers: str = "") -> bytes:
    """Write a whole HTTP reply; what is not bytes becomes JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\n{headers}\r\n".encode() + data


def refusal(status: int, kind: str) -> bytes:
    """Write an error as a llama-server does."""
    return reply({"error": {"message": "m", "type": kind, "code": status}}, status)


LOADING = refusal(503, "unavailable_error")
OFF = refusal(501, "not_supported_error")
KEY_WRONG = refusal(401, "authentication_error")


class FakeLlama:
    """Answers by path. `asked` are the paths of all requests, `heads` what was sent with them."""

    def __init__(self, **changed: bytes | Sender) -> None:
        self.pages: dict[str, bytes | Sender] = {
            "/health": reply({"status": "ok"}), "/slots": reply([SLOT]), "/props": reply(PROPS),
            "/metrics": reply(METRICS),
        }  # fmt: skip
        self.pages |= {f"/{name}": page for name, page in changed.items()}
        self.asked: list[str] = []
        self.heads: list[str] = []
        self.open = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, page: bytes | Sender) -> None:
        """Give one answer to everything."""
        self.pages = dict.fromkeys(self.pages, page)

    def close(self) -> None:
        if not self._closing.is_set():
            self._closing.set()
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            self._accepting.join(5)
            self._listener.close()
            for thread in self._threads:
                thread.join(5)

    def _accept(self) -> None:
        while not self._closing.is_set():
            connection, _ = self._listener.accept()
            if self._closing.is_set():
                connection.close()
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        self.open += 1
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            head = b""
            while b"\r\n\r\n" not in head and (more := connection.recv(4096)):
                head += more
                if not head.startswith(b"GET "):
                    connection.sendall(reply("no", 400))
                    return
            text = head.decode()
            path = text.split(" ")[1]
            self.asked.append(path)
            self.heads.append(text)
            page = self.pages.get(path, reply({"error": "none"}, 404))
            if callable(page):
                page(connection)
            else:
                connection.sendall(page)
        self.open -= 1


def silent(connection: socket.socket) -> None:
    """Say nothing until the other end gives up."""
    connection.settimeout(60)
    connection.recv(1)


def endless(head: bytes, piece: bytes, pause_s: float = 0.0) -> Sender:
    """Return what sends a head, and pieces without an end."""

    def send(connection: socket.socket) -> None:
        connection.sendall(head)
        while not threading.Event().wait(pause_s):
            connection.sendall(piece)

    return send


@contextlib.contextmanager
def fake_llama(**changed: bytes | Sender) -> Iterator[FakeLlama]:
    """Run a server of one idle slot, but for what is changed."""
    server = FakeLlama(**changed)
    try:
        yield server
    finally:
        server.close()
