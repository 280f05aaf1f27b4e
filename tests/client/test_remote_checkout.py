"""The tree of a checkout: what is in it, what is read again, and what does not change its name."""

import os
import time
from pathlib import Path

import pytest

from forge.client.remote_checkout import Checkouts, checkout_of, project_name
from forge.client.remote_files import Rules
from forge.client.remote_index import SourceChanged
from forge.client.remote_sync import content_of
from forge.core import remote_lines, remote_tree
from forge.core.remote_lines import Content
from tests.client.test_remote_files import git, write


@pytest.fixture
def place(tmp_path: Path) -> Path:
    top = Path(os.path.realpath(tmp_path)) / "my project"
    write(top, "Cargo.toml", "src/main.rs", "src/deep/a.rs")
    (top / "Cargo.toml").write_text('[package]\nname = "a"\n')
    return top


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    places = {"FORGE_STATE_DIR": str(tmp_path / "s"), "FORGE_CACHE_DIR": str(tmp_path / "c")}
    return {**os.environ, **places}


def looked(root: Path, env: dict[str, str]):
    checkouts = Checkouts(checkout_of(str(root), env), env)
    tree = checkouts.look(Rules())
    os.close(tree.top)
    return checkouts, tree


def settle(root: Path) -> None:
    """Let the clock that stamps files tick."""
    time.sleep(0.05)


def paths(checkouts: Checkouts, tree) -> list[str]:
    return [os.fsdecode(path) for path in sorted(checkouts.lines(tree))]


def test_a_tree_is_one_that_a_host_takes(place: Path, env: dict[str, str]):
    (place / "src" / "link").symlink_to("main.rs")
    (place / "src" / "absolute").symlink_to(place / "Cargo.toml")
    (place / "src" / "out").symlink_to("/etc/passwd")
    (place / "src" / "back").symlink_to("deep/../main.rs")
    checkouts, tree = looked(place, env)
    entries = remote_tree.decode(remote_lines.encode(checkouts.lines(tree)))
    assert remote_tree.digest_of(remote_tree.encode(entries)) == tree.digest
    targets = {one.path: one.target for one in entries if one.target}
    assert targets == {
        "src/link": "main.rs",
        "src/absolute": "../Cargo.toml",
        "src/back": "main.rs",
    }
    assert tree.outside == [b"src/out"]
    (main,) = (one for one in entries if one.path == "src/main.rs")
    status = (place / "src" / "main.rs").stat()
    assert (main.mode, main.mtime_ns, main.size) == (
        status.st_mode & 0o777,
        status.st_mtime_ns,
        status.st_size,
    )


def test_what_has_not_changed_is_not_taken_apart_again(place: Path, env: dict[str, str]):
    settle(place)
    _, first = looked(place, env)
    checkouts, second = looked(place, env)
    assert first.lines is not None
    assert second.lines is None
    assert second.digest == first.digest
    assert checkouts.lines(second) == first.lines


def test_a_change_of_the_same_size_within_a_tick_is_seen(place: Path, env: dict[str, str]):
    source = place / "src" / "main.rs"
    digests = set()
    for number in range(10):
        source.write_text(f"{number}")
        os.utime(source, ns=(1, 1))
        digests.add(looked(place, env)[1].digest)
    assert len(digests) == 10


@pytest.mark.parametrize("change", ["content", "mode", "time", "new", "gone", "link"])
def test_every_change_gives_another_tree(place: Path, env: dict[str, str], change: str):
    settle(place)
    source = place / "src" / "main.rs"
    (place / "src" / "l").symlink_to("main.rs")
    before = looked(place, env)[1].digest
    match change:
        case "content":
            source.write_text("other")
        case "mode":
            source.chmod(0o755)
        case "time":
            os.utime(source, ns=(5, 5))
        case "new":
            write(place, "src/new.rs")
        case "gone":
            source.unlink()
        case "link":
            (place / "src" / "l").unlink()
            (place / "src" / "l").symlink_to("deep")
    assert looked(place, env)[1].digest != before


def test_another_client_of_the_same_checkout_is_noticed(place: Path, env: dict[str, str]):
    settle(place)
    looked(place, env)
    checkouts, tree = looked(place, env)
    Path(checkouts.file("manifest")).write_bytes(b"")
    with pytest.raises(SourceChanged, match="another build"):
        checkouts.lines(tree)


def test_a_content_that_changes_while_it_is_sent_is_noticed(place: Path):
    top = os.open(place, os.O_RDONLY)
    try:
        right = Content(b"src/main.rs", 11, remote_tree.digest_of(b"src/main.rs").encode())
        assert b"".join(content_of(top, right)) == b"src/main.rs"
        for wrong in (right._replace(size=12), right._replace(digest=b"0" * 64)):
            with pytest.raises(SourceChanged, match=r"src/main\.rs changes"):
                list(content_of(top, wrong))
    finally:
        os.close(top)


def test_members_and_path_dependencies_outside_are_in_the_tree(place: Path, env: dict[str, str]):
    write(place.parent, "lib/Cargo.toml", "lib/src/lib.rs", "deeper/Cargo.toml", "other/x")
    (place.parent / "lib" / "Cargo.toml").write_text(
        "[target.'cfg(unix)'.dev-dependencies]\nb = { path = '../deeper' }\n"
    )
    (place / "Cargo.toml").write_text("[workspace]\n[patch.crates-io]\nlib = { path = '../lib' }\n")
    checkouts, tree = looked(place, env)
    assert checkouts.checkout.top == str(place.parent)
    assert checkouts.checkout.below_top(str(place / "src")) == "my project/src"
    files = [one for one in paths(checkouts, tree) if os.path.splitext(one)[1]]
    assert files == [
        "deeper/Cargo.toml", "lib/Cargo.toml", "lib/src/lib.rs", "my project/Cargo.toml",
        "my project/src/deep/a.rs", "my project/src/main.rs",
    ]  # fmt: skip


def test_settings_above_the_root_come_along_within_a_repository(place: Path, env: dict[str, str]):
    write(place.parent, ".cargo/config.toml", "rust-toolchain.toml", "other.txt")
    assert "rust-toolchain.toml" not in paths(*looked(place, env))
    git("init", "-q", cwd=place.parent)
    found = paths(*looked(place, env))
    assert {".cargo/config.toml", "rust-toolchain.toml"} <= set(found)
    assert "other.txt" not in found


def test_a_lock_file_goes_even_where_git_ignores_it(place: Path, env: dict[str, str]):
    git("init", "-q", cwd=place)
    write(place, "Cargo.lock")
    (place / ".gitignore").write_text("Cargo.lock\n")
    assert "Cargo.lock" in paths(*looked(place, env))


def test_repositories_inside_are_sent_file_by_file(place: Path, env: dict[str, str]):
    git("init", "-q", cwd=place)
    write(place, "vendor/x/lib.rs", "vendor/x/ignored")
    git("init", "-q", cwd=place / "vendor/x")
    (place / "vendor/x/.gitignore").write_text("ignored\n")
    found = paths(*looked(place, env))
    assert "vendor/x/lib.rs" in found
    assert "vendor/x/ignored" not in found
    assert not [one for one in found if ".git/" in one]


@pytest.mark.parametrize(
    ("root", "name"),
    [("/a/ripgrep", "ripgrep"), ("/a/.my proj", "my_proj"), ("/", "project"), ("/-é", "project")],
)
def test_projects_have_names_that_a_host_takes(root, name):
    assert project_name(root) == name
