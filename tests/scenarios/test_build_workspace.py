"""The workspace of tests/data, and ripgrep from the crates registry, built by `forge`."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.conftest import (
    WORKSPACE,
    PrivateForge,
    cargo,
    clean_env,
    forge_lines,
    freshness,
    open_forge,
    registry_source,
)

pytestmark = pytest.mark.real_cargo
RIPGREP = "14.1.1"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ignore = shutil.ignore_patterns("target", "Cargo.lock")
    place = tmp_path_factory.mktemp("built") / "workspace"
    return Path(shutil.copytree(WORKSPACE, place, ignore=ignore))


@pytest.fixture(scope="module")
def built(project: Path, forge_cache: Path) -> Iterator[PrivateForge]:
    """A Forge that has built the workspace once."""
    forge = open_forge(forge_cache)
    try:
        done = forge.run("build", cwd=project)
        assert done.returncode == 0, done.stderr
        assert forge_lines(done.stderr) == []
        yield forge
    finally:
        forge.take_apart()


def test_artifacts_are_on_the_ram_disk_and_none_in_the_project(
    built: PrivateForge, project: Path
) -> None:
    target_dir = built.target_dir(project)
    assert os.access(target_dir / "debug" / "hello", os.X_OK)
    assert (target_dir / "CACHEDIR.TAG").exists()
    assert target_dir.stat().st_mode & 0o777 == 0o700
    assert not (project / "target").exists()
    status = built.status()
    assert [one["path"] for one in status["target_dirs"]] == [str(target_dir)]
    assert status["builds"] == []


def test_a_second_build_is_fresh(built: PrivateForge, project: Path) -> None:
    done = built.run("build", "--message-format=json", cwd=project)
    assert done.returncode == 0, done.stderr
    fresh = freshness(done.stdout)
    assert len(fresh) == 4  # the build script, the library, the proc macro and the binary
    assert all(fresh.values()), fresh


def test_plain_cargo_in_the_same_target_dir_finds_everything_fresh_and_so_does_forge_again(
    built: PrivateForge, project: Path
) -> None:
    by_cargo = cargo(
        "build",
        "--message-format=json",
        cwd=project,
        env={"CARGO_TARGET_DIR": str(built.target_dir(project))},
    )
    by_forge = built.run("build", "--message-format=json", cwd=project)
    for done in (by_cargo, by_forge):
        assert done.returncode == 0, done.stderr
        assert all(freshness(done.stdout).values()), done.stdout


def test_unit_integration_and_doc_tests_run(built: PrivateForge, project: Path) -> None:
    done = built.run("test", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("1 passed") == 3
    assert not (project / "target").exists()


@pytest.mark.parametrize(
    ("language", "names", "said", "code"),
    [
        ("de", "Anna\nBela\n", "Hallo, Anna\nHallo, Bela\nBYE!\n", 0),
        ("tlh", "Worf\n", "", 3),  # the program's own exit code
    ],
)
def test_run_hands_on_stdin_and_the_exit_code(
    built: PrivateForge, project: Path, language: str, names: str, said: str, code: int
) -> None:
    done = built.run("run", "-q", "-p", "hello", "--", language, cwd=project, stdin=names)
    assert (done.stdout, done.returncode) == (said, code)


def test_check_clippy_and_doc_work_in_the_same_target_dir(
    built: PrivateForge, project: Path
) -> None:
    verbs = [("check",), ("doc", "--no-deps")]
    if cargo("clippy", "--version", cwd=project).returncode == 0:
        verbs.append(("clippy",))
    for verb in verbs:
        done = built.run(*verb, cwd=project)
        assert done.returncode == 0, done.stderr
    target_dir = built.target_dir(project)
    assert (target_dir / "doc" / "greeting" / "index.html").exists()
    assert not (project / "target").exists()


def test_metadata_names_the_target_dir_that_is_built_in(built: PrivateForge, project: Path) -> None:
    done = built.run("metadata", "--no-deps", "--format-version=1", cwd=project / "hello")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["target_directory"] == str(built.target_dir(project))


def test_a_command_from_a_member_or_by_manifest_path_uses_the_same_target_dir(
    built: PrivateForge, project: Path, tmp_path: Path
) -> None:
    manifest = str(project / "hello" / "Cargo.toml")
    for done in (
        built.run("build", "--message-format=json", cwd=project / "greeting"),
        built.run("build", "--manifest-path", manifest, "--message-format=json", cwd=tmp_path),
    ):
        assert done.returncode == 0, done.stderr
        fresh = freshness(done.stdout)
        assert fresh and all(fresh.values())
    assert not (project / "target").exists()


def test_clean_empties_the_target_dir_and_the_next_build_fills_it_again(
    built: PrivateForge, project: Path
) -> None:
    done = built.run("clean", cwd=project)
    assert done.returncode == 0, done.stderr
    target_dir = built.target_dir(project)
    assert not (target_dir / "debug").exists()
    done = built.run("build", cwd=project)
    assert done.returncode == 0, done.stderr
    assert (target_dir / "debug" / "hello").exists()
    assert (target_dir / "CACHEDIR.TAG").exists()


def test_ripgrep_builds_cold_and_is_fresh_for_forge_and_plain_cargo_in_turn(
    forge: PrivateForge, tmp_path: Path
) -> None:
    source = registry_source("ripgrep", tmp_path, f"={RIPGREP}")
    cold = forge.run("build", cwd=source)
    assert cold.returncode == 0, cold.stderr
    assert not (source / "target").exists()
    target_dir = forge.target_dir(source)
    for _ in range(2):
        by_forge = forge.run("build", "--message-format=json", cwd=source)
        by_cargo = cargo(
            "build",
            "--message-format=json",
            cwd=source,
            env={"CARGO_TARGET_DIR": str(target_dir)},
        )
        for done in (by_forge, by_cargo):
            assert done.returncode == 0, done.stderr
            fresh = freshness(done.stdout)
            assert len(fresh) > 20
            assert all(fresh.values()), [name for name, is_fresh in fresh.items() if not is_fresh]
    said = subprocess.run(
        [target_dir / "debug" / "rg", "--version"],
        env=clean_env(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert f"ripgrep {RIPGREP}" in said.stdout
