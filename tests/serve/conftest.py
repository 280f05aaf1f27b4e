"""A host for each test: `forge serve` with a state of its own."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serve.client import Client, start_serve

Start = Callable[..., Client]


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path, since that of a socket may have 100 bytes."""
    path = Path(tempfile.mkdtemp(prefix="sv", dir="/tmp"))
    (path / "forge.toml").write_text(f'[disk]\nsize = "64MiB"\nmount_point = "{path}/m"\n')
    yield path
    shutil.rmtree(path)


@pytest.fixture
def serve(home: Path) -> Iterator[Start]:
    """Starts a client's connection; says hello unless told not to."""
    started: list[Client] = []

    def start(*options: str, greets: bool = True, **more: object) -> Client:
        client = start_serve(home, *options, **more)  # type: ignore[arg-type]  # key, env
        started.append(client)
        if greets:
            client.hello()
        return client

    yield start
    for client in started:
        client.stop()


@pytest.fixture
def tree(home: Path) -> Path:
    """Where the sources of the usual key, project and checkout lie."""
    return home / "s" / "areas" / "laptop" / "tiny" / "0123456789ab" / "tiny"
