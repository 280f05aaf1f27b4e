"""What stays on the client, by its name."""

import pytest

from forge.core.remote_choice import is_secret, without_targets


@pytest.mark.parametrize(
    ("path", "stays"),
    [
        (".env", True),
        ("api/.env.production", True),
        (".env.example", False),  # meant to be read
        ("certs/server.pem", True),
        ("id_rsa", True),
        ("deploy/id_ed25519.pub", True),
        ("src/id_map.rs", False),
        ("src/id_rsa.rs", True),  # nobody writes that: better kept than told
        (".npmrc", True),
        ("credentials", True),
        (".cargo/credentials.toml", True),
        ("src/credentials.rs", False),
        ("src/key.rs", False),
        ("src/keys/mod.rs", False),
        (".ssh/config", True),
        ("home/.aws/config", True),
        ("secrets.yaml", True),
        ("src/secrets/mod.rs", False),
        ("environment", False),
        ("new\nline/.env", True),
    ],
)
def test_what_looks_like_a_secret_stays(path, stays):
    assert is_secret(path.encode()) is stays


def test_target_dirs_stay_and_modules_of_that_name_go():
    listed = [
        b"Cargo.toml", b"target", b"a/Cargo.toml", b"a/target/x", b"src/target/mod.rs",
        b"src/targets.rs", b"out/CACHEDIR.TAG", b"out/deep/y", b"outer/z",
    ]  # fmt: skip
    assert without_targets(listed) == [
        b"Cargo.toml", b"a/Cargo.toml", b"src/target/mod.rs", b"src/targets.rs", b"outer/z",
    ]  # fmt: skip
