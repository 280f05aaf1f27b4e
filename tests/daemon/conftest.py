import pytest

from tests.daemon.harness import RealDaemon


@pytest.fixture
def daemon():
    real = RealDaemon()
    try:
        yield real
    finally:
        real.close()


@pytest.fixture
def project(tmp_path):
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "p"\nversion = "0.1.0"\n')
    return tmp_path
