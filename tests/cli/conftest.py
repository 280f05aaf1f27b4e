"""What the tests of the CLI share: a private place for Forge's files, and `forge` itself."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from forge.cli.main import run
from tests.cli.fakes import FakeDaemon, Reply


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


Forge = Callable[..., Result]
StartDaemon = Callable[..., FakeDaemon]


@pytest.fixture
def place() -> Iterator[Path]:
    """A short path, since that of a socket may have 100 bytes."""
    path = Path(tempfile.mkdtemp(prefix="fg", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def env(place: Path) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {
        **inherited,
        "HOME": str(place / "home"),
        "FORGE_STATE_DIR": str(place / "state"),
        "FORGE_CACHE_DIR": str(place / "cache"),
        "FORGE_CONFIG": str(place / "forge.toml"),
    }


@pytest.fixture
def forge(env: dict[str, str], capfd: pytest.CaptureFixture[str]) -> Forge:
    def call(*argv: str) -> Result:
        capfd.readouterr()
        code = run(list(argv), env)
        out, err = capfd.readouterr()
        return Result(code, out, err)

    return call


@pytest.fixture
def daemon(place: Path) -> Iterator[StartDaemon]:
    """Starts a fake daemon with replies by type of request."""
    started: list[FakeDaemon] = []

    def start(**replies: list[Reply]) -> FakeDaemon:
        started.append(FakeDaemon(place / "state", replies))
        return started[-1]

    yield start
    for one in started:
        one.close()
