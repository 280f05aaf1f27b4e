"""A first target dir from a sibling: only what a registry has, and that one stays as it is."""

import os
import subprocess
from pathlib import Path

import pytest

from forge.errors import TreeRefused
from forge.host.repositories import place_of
from forge.host.seeding import Sibling, seed, sibling_of
from tests.host.trees import content, disk_at

LOCK = """
[[package]]
name = "serde"
version = "1.0.0"
source = "registry+https://registry.example/index"

[[package]]
name = "my-app"
version = "0.1.0"
"""

TAKEN = {
    ".rustc_info.json",
    "debug/.cargo-lock",
    "debug/.fingerprint/serde-1/lib-serde",
    "debug/deps/libserde-1.rlib",
    "debug/deps/libserde-1.rmeta",
    "debug/deps/serde-1.d",
    "debug/build/serde-2/out/x",
    "x86_64-unknown-linux-gnu/release/.fingerprint/serde-3/lib-serde",
    "x86_64-unknown-linux-gnu/release/deps/libserde-3.rlib",
}
LEFT = {
    "CACHEDIR.TAG",
    "debug/my-app",
    "debug/.fingerprint/my-app-4/bin-my-app",
    "debug/deps/my_app-4",
    "debug/deps/libmy_app-4.rlib",
    "debug/build/my-app-5/out/y",
    "debug/incremental/my_app-6/s/x.o",
    "debug/examples/e",
    "doc/index.html",
}


@pytest.fixture
def checkouts(tmp_path: Path) -> tuple[Path, Path]:
    main, other = tmp_path / "main", tmp_path / "other"
    main.mkdir()
    for command in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"],
        ["worktree", "add", "-q", str(other)],
    ):
        subprocess.run(["git", "-C", str(main), *command], check=True, capture_output=True)
    for root in (main, other):
        (root / "Cargo.lock").write_text(LOCK)
    return main, other


@pytest.fixture
def built(tmp_path: Path) -> Path:
    root = tmp_path / "m" / "main-1"
    for name in TAKEN | LEFT:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def files_in(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def test_what_is_a_registrys_is_taken_and_nothing_of_the_workspace(checkouts, built, tmp_path):
    main, other = checkouts
    before = content(built)
    sibling = sibling_of(str(other), [Sibling("/x", "/nowhere"), Sibling(str(built), str(main))])
    assert sibling
    path = tmp_path / "m" / "other-1"
    seed(disk_at(tmp_path / "m"), sibling, str(other), str(path), 1 << 30)
    assert files_in(path) == TAKEN
    assert content(built) == before
    assert [one for one in content(path) if one not in before] == []


def test_only_what_rustc_never_writes_into_is_shared(checkouts, built, tmp_path):
    main, other = checkouts
    path = tmp_path / "m" / "other-1"
    seed(disk_at(tmp_path / "m"), Sibling(str(built), str(main)), str(other), str(path), 1 << 30)
    shared = {name for name in files_in(path) if os.stat(path / name).st_nlink > 1}
    assert shared == {name for name in TAKEN if name.endswith((".rlib", ".rmeta"))}


def test_what_one_checkout_has_as_its_own_is_not_taken_from_another_that_has_not(
    checkouts, built, tmp_path
):
    main, other = checkouts
    patched = LOCK.replace('source = "registry+https://registry.example/index"', "")
    (other / "Cargo.lock").write_text(patched)
    with pytest.raises(TreeRefused, match="nothing"):
        (built / "debug" / ".cargo-lock").unlink()
        (built / ".rustc_info.json").unlink()
        seed(disk_at(tmp_path / "m"), Sibling(str(built), str(main)), str(other),
             str(tmp_path / "m" / "other-1"), 1 << 30)  # fmt: skip
    assert os.listdir(tmp_path / "m") == ["main-1"]


@pytest.mark.parametrize(("name", "text"), [
    ("Cargo.lock", None),
    ("Cargo.lock", "not toml ["),
    (".cargo/config.toml", 'paths = ["../serde"]'),
])  # fmt: skip
def test_nothing_is_taken_where_nobody_can_tell_whose_packages_are(
    checkouts, built, tmp_path, name, text
):
    main, other = checkouts
    (other / name).parent.mkdir(exist_ok=True)
    (other / name).unlink(missing_ok=True)
    if text is not None:
        (other / name).write_text(text)
    with pytest.raises(TreeRefused):
        seed(disk_at(tmp_path / "m"), Sibling(str(built), str(main)), str(other),
             str(tmp_path / "m" / "other-1"), 1 << 30)  # fmt: skip


def test_nothing_is_taken_where_there_is_no_room(checkouts, built, tmp_path):
    main, other = checkouts
    with pytest.raises(TreeRefused, match="too large"):
        seed(disk_at(tmp_path / "m"), Sibling(str(built), str(main)), str(other),
             str(tmp_path / "m" / "other-1"), 10)  # fmt: skip
    assert os.listdir(tmp_path / "m") == ["main-1"]


def test_checkouts_are_siblings_in_the_same_place_of_one_repository(checkouts, tmp_path):
    main, other = checkouts
    for root in (main, other):
        (root / "sub").mkdir()
    assert place_of(str(main)) is not None
    assert place_of(str(main)) == place_of(str(other))
    assert place_of(str(main / "sub")) == place_of(str(other / "sub"))
    assert place_of(str(main / "sub")) != place_of(str(other))
    assert place_of(str(tmp_path)) is None
    assert sibling_of(str(main), [Sibling("/m/main-1", str(main))]) is None
    assert sibling_of(str(main), [Sibling("/m/sub-1", str(other / "sub"))]) is None
