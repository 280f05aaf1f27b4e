"""A real llama-server with a model of random weights, for tests and benchmarks."""

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.llama.build import BINARY

OLD_BINARY = BINARY.with_name("llama-server-0.3.20")
READY_S = 60.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def forget_pages(file: Path) -> None:
    """Drop a file from the page cache: its pages are charged to the cgroup that reads it first."""
    descriptor = os.open(file, os.O_RDWR)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


@dataclass
class LlamaServer:
    """One server in a session of its own, as one in `screen` is."""

    model: Path
    args: tuple[str, ...] = ("-t", "1", "-np", "1", "-c", "4096")
    port: int = field(default_factory=free_port)
    cgroup: Path | None = None
    binary: Path = BINARY
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def start(self, *, wait: bool = True) -> "LlamaServer":
        if self.cgroup:
            forget_pages(self.model)
        enter = f"echo 0 > {self.cgroup}/cgroup.procs && " if self.cgroup else ""
        command = [str(self.binary), "-m", str(self.model), "--port", str(self.port), "--metrics",
                   "--no-warmup", *self.args]  # fmt: skip
        self.process = subprocess.Popen(
            ["sh", "-c", f'{enter}exec "$@"', "sh", *command], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        if wait:
            self.wait()
        return self

    def wait(self) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/health"):
                return
            assert self.process and self.process.poll() is None, "the server ended"
            time.sleep(0.02)
        raise AssertionError("the server never was ready")

    def complete(self, tokens: int, prompt: str = "hello", timeout_s: float = 60.0) -> Any:
        """Generate so many tokens at once."""
        with self._ask(tokens, prompt, timeout_s, stream=False) as reply:
            return json.load(reply)

    def stream(
        self, tokens: int, prompt: str = "hello", timeout_s: float = 60.0
    ) -> Iterator[float]:
        """Yield the moment at which each token arrives."""
        with self._ask(tokens, prompt, timeout_s, stream=True) as reply:
            for line in reply:
                if line.startswith(b"data:"):
                    yield time.perf_counter()

    def _ask(self, tokens: int, prompt: str, timeout_s: float, *, stream: bool) -> Any:
        body = {"prompt": prompt, "n_predict": tokens, "ignore_eos": True, "stream": stream,
                "cache_prompt": False}  # fmt: skip
        request = urllib.request.Request(
            f"{self.url}/completion", json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        return urllib.request.urlopen(request, timeout=timeout_s)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()


@contextlib.contextmanager
def llama_server(model: Path, *args: str, **fields: Any) -> Iterator[LlamaServer]:
    """Run a server; it is ended whatever happens."""
    server = LlamaServer(model, **({"args": args, **fields} if args else fields))
    try:
        yield server.start()
    finally:
        server.stop()
