"""A real daemon in a process of its own, in a private place that is cleaned up whatever happens."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from forge.client.connection import Connection, connect
from forge.errors import DaemonUnreachable

ROOT = Path(__file__).parent.parent.parent


class RealDaemon:
    """Runs `forged` with state, cache, configuration and a RAM disk of its own."""

    def __init__(self, config: str = "", **env: str) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="forge-", dir="/tmp"))
        self.mount_point = self.home / "builds"
        self.config = self.home / "forge.toml"
        self.config.write_text(
            config or f'[disk]\nkind = "shm"\nsize = "128MiB"\nmount_point = "{self.mount_point}"\n'
        )
        self.env = {
            **os.environ,
            "FORGE_STATE_DIR": str(self.home / "state"),
            "FORGE_CACHE_DIR": str(self.home / "cache"),
            "FORGE_CONFIG": str(self.config),
            "PYTHONPATH": str(ROOT),
            **env,
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self.opened: list[Connection | socket.socket] = []

    def start(self) -> int:
        process = subprocess.Popen(
            [sys.executable, "-m", "forge.daemon.main"], env=self.env, cwd=ROOT,
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.processes.append(process)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(DaemonUnreachable):
                connect(self.env).close()
                return process.pid
            if process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"the daemon did not start: {process.poll()}")

    def connect(self) -> Connection:
        connection: Connection = connect(self.env)
        self.opened.append(connection)
        return connection

    def raw(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(10)
        sock.connect(str(self.home / "state" / "forged.sock"))
        self.opened.append(sock)
        return sock

    def status(self):
        connection = self.connect()
        try:
            return connection.ask({"type": "status"}, patience_s=10)["status"]
        finally:
            connection.close()

    def begin(self, connection, cwd, *argv, pid=None):
        return connection.ask(
            {
                "type": "begin",
                "pid": pid or os.getpid(),
                "cwd": str(cwd),
                "argv": list(argv),
                "env": {},
            },
            patience_s=10,
        )

    def decisions(self):
        log = self.home / "state" / "forged.log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def wait_for(self, condition, what, timeout_s=15.0):
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError(f"never came: {what}; the log says {self.decisions()[-5:]}")

    def close(self):
        for one in self.opened:
            one.close()
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
            process.communicate()
        note = self.home / "state" / "builds.cgroups"
        for line in note.read_text().splitlines() if note.exists() else ():
            with contextlib.suppress(OSError):  # a daemon that was killed left it
                os.rmdir(line)
        while os.path.ismount(self.mount_point):
            subprocess.run(["umount", "-l", str(self.mount_point)], check=True)
        shutil.rmtree(self.home, ignore_errors=True)
