"""Which files of a real directory go to a host, with git and without."""

import os
import subprocess
from pathlib import Path

import pytest

from forge.client.remote_files import Rules, TreeUnreadable, choose

ENV = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}


def git(*words: str, cwd: Path) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", *who, *words], cwd=cwd, env=ENV, check=True, capture_output=True)


def write(top: Path, *paths: str) -> None:
    for path in paths:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(path)


def chosen(top: Path, rules: Rules | None = None) -> list[str]:
    return [os.fsdecode(one) for one in choose(os.fsencode(top), rules or Rules(), ENV).paths]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(
        tmp_path, "Cargo.toml", "src/main.rs", "target/debug/x", "made/a.rs", "made/deep/b.rs",
        ".cargo/config.toml", "cert.pem", "src/target/mod.rs",
    )  # fmt: skip
    return tmp_path


@pytest.fixture
def repository(project: Path) -> Path:
    git("init", "-q", cwd=project)
    (project / ".gitignore").write_text("/target\n/made\n")
    git("add", ".gitignore", "src", cwd=project)
    return project


SENT = [".cargo/config.toml", ".gitignore", "Cargo.toml", "src/main.rs", "src/target/mod.rs"]


def test_git_says_what_goes_tracked_or_not(repository: Path):
    assert chosen(repository) == SENT
    assert choose(os.fsencode(repository), Rules(), ENV).secrets == [b"cert.pem"]


def test_git_is_asked_about_the_directory_and_not_about_the_environment(repository: Path):
    env = {**ENV, "GIT_DIR": "/nowhere", "GIT_INDEX_FILE": "/nowhere"}
    below = choose(os.fsencode(repository / "src"), Rules(), env)
    assert below.paths == [b"main.rs", b"target/mod.rs"]


def test_without_git_all_goes_but_target_dirs_and_repositories(project: Path):
    write(project, ".hg/store", "cache/CACHEDIR.TAG", "cache/x")
    assert chosen(project) == [
        ".cargo/config.toml", "Cargo.toml", "made/a.rs", "made/deep/b.rs", "src/main.rs",
        "src/target/mod.rs",
    ]  # fmt: skip


def test_what_is_included_goes_whatever_git_says(repository: Path):
    assert chosen(repository, Rules(include=("made", "*.pem", "../../etc", "/etc/passwd"))) == (
        sorted([*SENT, "made/a.rs", "made/deep/b.rs", "cert.pem"])
    )


def test_what_is_excluded_stays_and_the_last_pattern_decides(repository: Path):
    (repository / ".forgeignore").write_text("# words\nsrc/*\n!src/main.rs\n!*.pem\n")
    found = chosen(repository, Rules(exclude=(".gitignore",)))
    assert found == [".cargo/config.toml", ".forgeignore", "Cargo.toml", "cert.pem", "src/main.rs"]


def test_names_that_are_no_text_go_as_they_are(repository: Path):
    name = os.fsencode(repository) + b"/src/\xff\n.rs"
    Path(os.fsdecode(name)).write_text("x")
    assert b"src/\xff\n.rs" in choose(os.fsencode(repository), Rules(), ENV).paths


def test_a_repository_inside_is_named_and_not_opened(repository: Path):
    write(repository, "vendor/x/lib.rs")
    git("init", "-q", cwd=repository / "vendor/x")
    assert "vendor/x" in chosen(repository)


def test_a_git_that_fails_is_told(tmp_path: Path):
    (tmp_path / ".git").write_text("gitdir: /nowhere\n")
    with pytest.raises(TreeUnreadable, match=r"git does not list .*nowhere"):
        chosen(tmp_path)
