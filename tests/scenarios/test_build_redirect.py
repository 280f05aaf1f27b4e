"""Which directory a build uses: by project, by the user's own word, and not at all."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.conftest import (
    PrivateForge,
    cargo,
    clean_env,
    forge_lines,
    freshness,
    package,
)

pytestmark = pytest.mark.real_cargo


def git(*argv: str, cwd: Path) -> None:
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_CONFIG_GLOBAL": os.devnull}
    who |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    subprocess.run(
        ["git", *argv], cwd=cwd, env=clean_env() | who, check=True, capture_output=True, timeout=60
    )


def reported_target_dir(forge: PrivateForge, cwd: Path) -> str:
    done = forge.run("metadata", "--no-deps", "--format-version=1", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["target_directory"])


def test_two_worktrees_built_at_once_have_a_target_dir_each(
    lasting_forge: PrivateForge, tmp_path: Path
) -> None:
    one, other = package(tmp_path / "one"), tmp_path / "other"
    git("init", "-q", cwd=one)
    git("add", ".", cwd=one)
    git("commit", "-qm", "start", cwd=one)
    git("worktree", "add", "-q", str(other), cwd=one)
    (other / "src" / "main.rs").write_text('fn main() { println!("other"); }\n')
    running = [lasting_forge.start("run", "-q", cwd=tree) for tree in (one, other)]
    said = [process.communicate(timeout=60)[0] for process in running]
    assert said == ["hello\n", "other\n"]
    dirs = [lasting_forge.target_dir(tree) for tree in (one, other)]
    assert dirs[0] != dirs[1]
    assert all((where / "debug" / "tiny").exists() for where in dirs)


def test_a_symlinked_checkout_uses_the_target_dir_of_its_real_path(
    lasting_forge: PrivateForge, tmp_path: Path
) -> None:
    real = package(tmp_path / "real")
    link = tmp_path / "link"
    link.symlink_to(real)
    assert lasting_forge.run("build", cwd=real).returncode == 0
    done = lasting_forge.run("build", "--message-format=json", cwd=link, env={"PWD": str(link)})
    assert done.returncode == 0, done.stderr
    assert list(freshness(done.stdout).values()) == [True]
    by_manifest = lasting_forge.run(
        "build",
        "--message-format=json",
        "--manifest-path",
        str(link / "Cargo.toml"),
        cwd=tmp_path,
    )
    assert by_manifest.returncode == 0, by_manifest.stderr
    assert not (real / "target").exists()
    assert lasting_forge.target_dir(link) == lasting_forge.target_dir(real)


def member_and_excluded(place: Path) -> list[Path]:
    root = package(place, manifest='[workspace]\nmembers = ["in"]\nexclude = ["out"]\n')
    return [root, package(root / "in"), package(root / "out")]


def virtual(place: Path) -> list[Path]:
    place.mkdir()
    (place / "Cargo.toml").write_text('[workspace]\nresolver = "2"\nmembers = ["crates/*"]\n')
    one = package(place / "crates" / "one")
    return [place, one, one / "src"]


def nested(place: Path) -> list[Path]:
    outer = package(place, manifest='[workspace]\nmembers = ["in"]\nexclude = ["deep"]\n')
    package(outer / "in")
    inner = package(outer / "deep", manifest='[workspace]\nmembers = ["leaf"]\n')
    return [outer, inner, package(inner / "leaf")]


def pointing(place: Path) -> list[Path]:
    root = place / "root"
    package(root, manifest='[workspace]\nmembers = ["../beside"]\n')
    return [package(place / "beside", manifest='workspace = "../root"\n')]


def alone(place: Path) -> list[Path]:
    return [package(place)]


def below_the_manifest(place: Path) -> list[Path]:
    root = package(place)
    (root / "docs" / "more").mkdir(parents=True)
    return [root / "docs" / "more", root / "src"]


def beside_a_stranger(place: Path) -> list[Path]:
    """A package inside another that has no [workspace]: it is its own root."""
    outer = package(place)
    return [package(outer / "vendored")]


def path_dependency(place: Path) -> list[Path]:
    """Path dependencies inside a workspace are members of it, though unnamed."""
    manifest = '[workspace]\n[dependencies]\ndep = { path = "dep" }\n'
    root = package(place, manifest=manifest)
    dep = root / "dep"
    (dep / "src").mkdir(parents=True)
    (dep / "src" / "lib.rs").touch()
    (dep / "Cargo.toml").write_text('[package]\nname = "dep"\nversion = "0.1.0"\n')
    return [root, dep]


@pytest.mark.parametrize(
    "layout",
    [
        member_and_excluded, virtual, nested, pointing, alone, below_the_manifest,
        beside_a_stranger, path_dependency,
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["plain", "two words", "köln-東京", 'quote"d'])
def test_our_workspace_root_is_the_one_that_cargo_locates(
    lasting_forge: PrivateForge, tmp_path: Path, layout: Callable[[Path], list[Path]], name: str
) -> None:
    for cwd in layout(tmp_path / name):
        located = cargo("locate-project", "--workspace", "--message-format=plain", cwd=cwd)
        assert located.returncode == 0, located.stderr
        answer = lasting_forge.ask(
            {"type": "resolve", "cwd": str(cwd), "argv": ["build"], "env": {}}
        )
        root = os.path.dirname(located.stdout.rstrip("\n"))
        assert answer["root"] == os.path.realpath(root), cwd


@pytest.fixture(autouse=True)
def _daemon_runs(lasting_forge: PrivateForge, tmp_path_factory: pytest.TempPathFactory) -> None:
    if not lasting_forge.socket.exists():
        first = package(tmp_path_factory.mktemp("first") / "p")
        done = lasting_forge.run("metadata", "--no-deps", "--format-version=1", cwd=first)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["two words", "köln-東京", 'quote"d back\\slash', "a=b,c;d&e$f"])
def test_a_project_with_an_odd_name_is_built_on_the_ram_disk(
    lasting_forge: PrivateForge, tmp_path: Path, name: str
) -> None:
    root = package(tmp_path / name)
    done = lasting_forge.run("run", "-q", cwd=root)
    assert (done.stdout, done.returncode) == ("hello\n", 0), done.stderr
    assert (lasting_forge.target_dir(root) / "debug" / "tiny").exists()
    assert not (root / "target").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="APFS takes UTF-8 names only")
@pytest.mark.parametrize("verb", ["build", "run", "check"])
def test_a_project_whose_name_is_not_utf_8_ends_as_with_plain_cargo(
    lasting_forge: PrivateForge, tmp_path: Path, verb: str
) -> None:
    odd = os.fsencode(tmp_path) + b"/caf\xe9"
    os.rename(package(tmp_path / "src"), odd)
    plain = cargo(verb, cwd=odd)
    shutil.rmtree(odd + b"/target", ignore_errors=True)
    done = lasting_forge.run(verb, cwd=odd)
    assert (done.returncode, done.stdout) == (plain.returncode, plain.stdout), done.stderr


@pytest.mark.parametrize(
    ("argv", "env", "config", "where"),
    [
        (["--target-dir", "mine"], {}, "", "mine"),
        (["--target-dir=mine"], {}, "", "mine"),
        ([], {"CARGO_TARGET_DIR": "mine"}, "", "mine"),
        ([], {"CARGO_BUILD_TARGET_DIR": "mine"}, "", "mine"),
        (["--config", 'build.target-dir="mine"'], {}, "", "mine"),
        # the command line wins over the variable, as with plain cargo
        (["--target-dir", "mine"], {"CARGO_TARGET_DIR": "other"}, "", "mine"),
        # the user's word is obeyed silently, whatever a file says
        (["--target-dir", "mine"], {}, '[build]\ntarget-dir = "filed"\n', "mine"),
    ],
)
def test_the_users_own_target_dir_wins(
    lasting_forge: PrivateForge,
    tmp_path: Path,
    argv: list[str],
    env: dict[str, str],
    config: str,
    where: str,
) -> None:
    root = package(tmp_path / "p")
    if config:
        (root / ".cargo").mkdir()
        (root / ".cargo" / "config.toml").write_text(config)
    done = lasting_forge.run("build", *argv, cwd=root, env=env)
    assert done.returncode == 0, done.stderr
    assert forge_lines(done.stderr) == []
    assert (root / where / "debug" / "tiny").exists()
    assert not lasting_forge.target_dir(root).exists()


def test_a_target_dir_in_a_config_file_is_reported_once_and_overridden(
    lasting_forge: PrivateForge, tmp_path: Path
) -> None:
    root = package(tmp_path / "p")
    (root / ".cargo").mkdir()
    config = root / ".cargo" / "config.toml"
    config.write_text('[build]\ntarget-dir = "filed"\n')
    first = lasting_forge.run("build", cwd=root)
    second = lasting_forge.run("build", cwd=root)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    (line,) = forge_lines(first.stderr)
    assert str(config) in line
    assert "filed" in line
    assert forge_lines(second.stderr) == []
    assert (lasting_forge.target_dir(root) / "debug" / "tiny").exists()
    assert not (root / "filed").exists()


def test_a_target_dir_in_a_config_file_is_kept_when_forge_toml_says_so(
    forge: PrivateForge, tmp_path: Path
) -> None:
    forge.configure(builds="override_config_target_dir = false")
    root = package(tmp_path / "p")
    (root / ".cargo").mkdir()
    (root / ".cargo" / "config.toml").write_text('[build]\ntarget-dir = "filed"\n')
    done = forge.run("build", cwd=root)
    assert done.returncode == 0, done.stderr
    assert (root / "filed" / "debug" / "tiny").exists()
    assert not forge.target_dir(root).exists()


def test_a_link_named_target_is_made_when_asked_for_and_never_replaces_a_directory(
    forge: PrivateForge, tmp_path: Path
) -> None:
    forge.configure(builds="link_target = true")
    bare, taken = package(tmp_path / "bare"), package(tmp_path / "taken")
    (taken / "target").mkdir()
    (taken / "target" / "precious").touch()
    for root in (bare, taken):
        assert forge.run("build", cwd=root).returncode == 0
    assert os.readlink(bare / "target") == str(forge.target_dir(bare))
    assert os.listdir(taken / "target") == ["precious"]
    assert (forge.target_dir(taken) / "debug" / "tiny").exists()


def test_install_and_new_are_not_redirected(lasting_forge: PrivateForge, tmp_path: Path) -> None:
    root = package(tmp_path / "p")
    before = set(os.listdir(lasting_forge.mount_point))
    into = str(tmp_path / "installed")
    done = lasting_forge.run("install", "--path", ".", "--root", into, "--debug", cwd=root)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "installed" / "bin" / "tiny").exists()
    done = lasting_forge.run("new", "--vcs=none", "fresh", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "fresh" / "Cargo.toml").exists()
    assert set(os.listdir(lasting_forge.mount_point)) == before


def test_an_alias_of_build_is_redirected(lasting_forge: PrivateForge, tmp_path: Path) -> None:
    root = package(tmp_path / "p")
    (root / ".cargo").mkdir()
    (root / ".cargo" / "config.toml").write_text('[alias]\nmake = "build --quiet"\n')
    done = lasting_forge.run("make", cwd=root)
    assert done.returncode == 0, done.stderr
    assert (lasting_forge.target_dir(root) / "debug" / "tiny").exists()
    assert not (root / "target").exists()


def test_a_rustup_toolchain_in_front_is_handed_on(
    lasting_forge: PrivateForge, tmp_path: Path
) -> None:
    root = package(tmp_path / "p")
    plain = cargo("+no-such-toolchain", "build", cwd=root)
    done = lasting_forge.run("build", cwd=root, env={"RUSTUP_TOOLCHAIN": "no-such-toolchain"})
    assert done.returncode == plain.returncode
    done = lasting_forge.run("+no-such-toolchain", "build", cwd=root)
    assert done.returncode == plain.returncode


@pytest.mark.parametrize("nested_by", ["cargo", "forge"])
def test_a_build_script_that_runs_cargo_elsewhere_neither_deadlocks_nor_shares_the_dir(
    lasting_forge: PrivateForge, tmp_path: Path, nested_by: str
) -> None:
    inner = package(tmp_path / "inner", main='fn main() { println!("inner"); }\n')
    command = [*lasting_forge.cli, "build"] if nested_by == "forge" else ["cargo", "build"]
    words = ", ".join(json.dumps(word) for word in command[1:])
    script = f"""
    fn main() {{
        println!("cargo:rerun-if-changed=build.rs");
        let done = std::process::Command::new({json.dumps(command[0])})
            .args([{words}])
            .current_dir({json.dumps(str(inner))})
            .status()
            .unwrap();
        assert!(done.success());
    }}
    """
    outer = package(tmp_path / "outer", build=script)
    done = lasting_forge.run("build", cwd=outer)
    assert done.returncode == 0, done.stderr
    on_disk = lasting_forge.target_dir(inner)
    built = inner / "target" if nested_by == "cargo" else on_disk
    assert (built / "debug" / "tiny").exists()
    assert (lasting_forge.target_dir(outer) / "debug" / "tiny").exists()
    assert on_disk.exists() == (nested_by == "forge")
