"""A line on which everything takes longer: a proxy on loopback that hands on what it gets, late."""

import contextlib
import selectors
import socket
import threading
import time
from collections import deque

PIECE_BYTES = 256 * 1024


class SlowLine:
    """Listens on `port` and passes on to another port, `delay_s` later in each direction."""

    def __init__(self, to_port: int, delay_s: float) -> None:
        self._to_port, self._delay_s = to_port, delay_s
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to_port))
                for source, sink in ((near, far), (far, near)):
                    sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    pump = threading.Thread(target=self._pump, args=(source, sink), daemon=True)
                    pump.start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Pass on what comes, each piece when its time has come."""
        waiting: deque[tuple[float, bytes]] = deque()
        is_open = True
        with contextlib.suppress(OSError), selectors.DefaultSelector() as selector:
            selector.register(source, selectors.EVENT_READ)
            while is_open or waiting:
                due_s = waiting[0][0] - time.monotonic() if waiting else None
                if is_open and selector.select(None if due_s is None else max(0.0, due_s)):
                    piece = source.recv(PIECE_BYTES)
                    is_open = bool(piece)
                    waiting.append((time.monotonic() + self._delay_s, piece))
                elif not is_open and due_s is not None:
                    time.sleep(max(0.0, due_s))
                while waiting and waiting[0][0] <= time.monotonic():
                    piece = waiting.popleft()[1]
                    if piece:
                        sink.sendall(piece)
                    else:
                        sink.shutdown(socket.SHUT_WR)
