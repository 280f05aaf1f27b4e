"""Launchers and gates as tests play them, one connection each."""

import os
import time

from forge.client.connection import Connection


def project(tmp_path, name):
    root = tmp_path / name
    root.mkdir()
    (root / "Cargo.toml").write_text(f'[package]\nname = "{name}"\nversion = "0.1.0"\n')
    return root


def open_build(daemon, root, *argv, **fields) -> Connection:
    connection: Connection = daemon.connect()
    connection.send(
        {
            "type": "begin", "pid": os.getpid(), "cwd": str(root), "argv": list(argv or ("build",)),
            "env": {}, **fields,
        }
    )  # fmt: skip
    return connection


def replies(connection, patience_s=15.0, until=("go", "end", "error")):
    """Return what comes, up to the first answer that settles it."""
    found = []
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        message = connection.receive(patience_s)
        found.append(message)
        if message["type"] in until:
            return found
    raise AssertionError(f"nothing came to an end: {found}")


def daemon_ask(daemon, request):
    connection = daemon.connect()
    try:
        return connection.ask(request, patience_s=10)
    finally:
        connection.close()


def open_unit(daemon, build, *, running):
    connection = daemon.connect()
    connection.send(
        {"type": "unit", "build": build, "pid": os.getpid(), "crate": "c", "kinds": ["lib"],
         "running": running}
    )  # fmt: skip
    return connection


def open_link(daemon, build, *, input_bytes=0, running=False, pid=None):
    connection = daemon.connect()
    connection.send(
        {"type": "link", "build": build, "pid": pid or os.getpid(), "crate": "c", "output": "/t/c",
         "input_bytes": input_bytes, "linker_kind": "lld", "running": running}
    )  # fmt: skip
    return connection
