"""A daemon that says what it was told to say, on a real socket."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

Reply = dict[str, Any] | bytes | Callable[[], "Reply"] | None


def a_disk(**changes: Any) -> dict[str, Any]:
    mib = 1024 * 1024
    return {
        "phase": "mounted", "kind": "tmpfs", "mount_point": "/mnt/OptaBuilds", "node": None,
        "adopted": False, "wanted_mib": 4096, "size_mib": 4096, "total_bytes": 4096 * mib,
        "used_bytes": 1024 * mib, "free_bytes": 3072 * mib, "total_files": 1048576,
        "used_files": 812, "caveats": [], "failure": None, "hint": None, **changes,
    }  # fmt: skip


def a_build(**changes: Any) -> dict[str, Any]:
    return {
        "id": "b7", "phase": "running", "phase_s": 83.4, "verb": "test", "argv": ["test"],
        "cwd": "/src/ripgrep", "root": "/src/ripgrep",
        "target_dir": "/mnt/OptaBuilds/ripgrep-0123456789ab", "pid": 400, "cargo_pid": 401,
        "via": "forge", "interactive": True, "parent": None, "began_at": 1.0,
        "gates": {"units_running": ["syn", "serde"], "links_running": ["/t/debug/build/x"]},
        **changes,
    }  # fmt: skip


def a_queue(**changes: Any) -> dict[str, Any]:
    return {
        "position": 1, "reason": "waiting for a build to end: 1 at work (b7 (ripgrep)), at most 1",
        "since_s": 12.0, "ahead": [], **changes,
    }  # fmt: skip


def a_past_build(**changes: Any) -> dict[str, Any]:
    return {
        "id": "b12", "root": "/src/ripgrep", "cwd": "/src/ripgrep", "verb": "build",
        "argv": ["build", "--release"], "profile": "release", "via": "forge",
        "priority": "interactive", "began_at": 1_700_000_000.0, "wall_s": 63.0, "wait_s": 41.0,
        "waits": {"waiting in line": 40.5, "resolving": 0.5, "running": 22.0},
        "waited_behind": [{"build": "b11", "root": "/src/fd"}], "exit": 0, "signal": None,
        "cancelled": False, "outcome": "done", "gated": True, "cores": 2, "peak_kib": 1_200_000,
        "units": 34, "links": 2, "tests": 0, "lost": 0, "cpu_s": 33.0, "waited_s": 9.0, **changes,
    }  # fmt: skip


def an_explained(**changes: Any) -> dict[str, Any]:
    def node(name: str, **fields: Any) -> dict[str, Any]:
        return {
            "name": name, "wait_s": 2.0, "run_s": 8.0, "cpu_s": 7.5, "started_s": 43.0,
            "peak_kib": 300_000, "behind": ["b11"], **fields,
        }  # fmt: skip

    return a_past_build(
        behind=[{"build": "b11", "root": "/src/fd", "wait_s": 6.0}],
        at_gates_s=20.0,
        slowest=[{"kind": "unit", **node("syn")}, {"kind": "link", **node("/t/debug/deps/rg-1")}],
        critical_path=[node("syn"), node("rg", started_s=52.0, wait_s=0.5)],
        **changes,
    )


def a_reservation(**changes: Any) -> dict[str, Any]:
    return {
        "id": "r4", "name": "import", "argv0": "import.sh", "cwd": "/srv", "pid": 500,
        "priority": "batch", "memory_mib": 6144, "cores": 2, "used_bytes": 3 * 1024**3,
        "running": True, "since_s": 83.4, "wait": None, "lender": None, **changes,
    }  # fmt: skip


def a_target_dir(**changes: Any) -> dict[str, Any]:
    return {
        "path": "/mnt/OptaBuilds/ripgrep-0123456789ab", "project": "ripgrep",
        "root": "/src/ripgrep", "size_bytes": 5 * 1024**2, "files": 7, "created_at": 1.0,
        "last_used_at": 2.0, "age_s": 61.0, "builds": 3, "in_use_by": ["b7"], **changes,
    }  # fmt: skip


def a_memory(**changes: Any) -> dict[str, Any]:
    mib = 1024 * 1024
    buffer = {
        "size_bytes": 4096 * mib, "booked_bytes": 3072 * mib, "untouched_bytes": 2048 * mib,
        "room_bytes": 1024 * mib, "holders": 2, "waiting": 3,
    }  # fmt: skip
    return {
        "total_bytes": 16384 * mib, "available_bytes": 9216 * mib, "low_water_bytes": 655 * mib,
        "falling_bytes_per_s": 0, "swap_used_bytes": 0, "rung": "calm", "signs": [], "missing": [],
        "failure": None, "buffer": buffer, **changes,
    }  # fmt: skip


def a_report(**changes: Any) -> dict[str, Any]:
    return {
        "pid": os.getpid(), "version": "0.1.0", "protocol": 1, "socket": "/s", "log_file": "/l",
        "uptime_s": 3700.0, "stopping": False, "config_file": None, "cores": 8,
        "memory_map": {
            "total_mib": 16384,
            "rows": [
                {"key": "model", "tenant": "AI engine", "size_mib": 12288, "kind": "wired"},
                {"key": "ram_disk", "tenant": "RAM disk", "size_mib": 4096, "kind": "wired"},
            ],
        },
        "shim": {"phase": "ready", "key": "0123", "failure": None},
        "disk": a_disk(), "target_dirs": [], "builds": [], **changes,
    }  # fmt: skip


def a_status(**changes: Any) -> dict[str, Any]:
    return {"type": "status", "status": a_report(**changes)}


class FakeDaemon:
    """Answers each type of request with the replies it was given for it; keeps all requests.

    A reply that is bytes is sent as it is; one that can be called is called; None sends nothing.
    After a `stop` the socket is closed, and `process`, if there is one, is ended.
    """

    def __init__(self, state_dir: Path, replies: dict[str, list[Reply]]) -> None:
        state_dir.mkdir(mode=0o700, exist_ok=True)
        self.path = state_dir / "forged.sock"
        self.requests: list[dict[str, Any]] = []
        self.replies = replies
        self.process: subprocess.Popen[bytes] | None = None
        self._peers: list[socket.socket] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(self.path))
        self._socket.listen(16)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def with_process(self) -> int:
        """Start a process that stands for the daemon's, and return its pid."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
        )
        return self.process.pid

    def hang_up(self) -> None:
        """End all connections, as a daemon that ends does."""
        for peer in self._peers:
            peer.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._end_listening()
        self._thread.join(1)
        for peer in self._peers:
            peer.close()
        if self.process and self.process.stdin:
            self.process.stdin.close()
            self.process.wait()

    def _end_listening(self) -> None:
        self.path.unlink(missing_ok=True)
        with suppress(OSError):  # a close alone does not wake a blocked accept, which would then
            self._socket.shutdown(socket.SHUT_RDWR)  # take from whoever gets the same descriptor
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            self._peers.append(peer)
            threading.Thread(target=self._serve_until_gone, args=(peer,), daemon=True).start()

    def _serve_until_gone(self, peer: socket.socket) -> None:
        with suppress(ConnectionError):  # a client may go away before it has its reply
            self._serve(peer)

    def _serve(self, peer: socket.socket) -> None:
        with peer, peer.makefile("rwb") as lines:
            for line in lines:
                request = json.loads(line)
                self.requests.append(request)
                for reply in self.replies.get(request["type"], ()):
                    self._send(lines, reply)
                if request["type"] == "stop":
                    self._end_listening()
                    if self.process and self.process.stdin:
                        self.process.stdin.close()

    def _send(self, lines: Any, reply: Reply) -> None:
        if callable(reply):
            reply = reply()
        if reply is not None:
            lines.write(reply if isinstance(reply, bytes) else json.dumps(reply).encode() + b"\n")
            lines.flush()
