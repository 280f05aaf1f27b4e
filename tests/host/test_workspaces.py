import os
import shutil
import subprocess
from pathlib import Path

import pytest

from forge.core.workspace import TargetRunner
from forge.host.workspaces import Workspaces

PACKAGE = '[package]\nname = "p"\nversion = "0.1.0"\nedition = "2021"\n'


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if path.name == "Cargo.toml" and "[package]" in text:
            (path.parent / "src").mkdir(exist_ok=True)
            (path.parent / "src/lib.rs").write_text("")


def with_manifest(path):
    return ["build", *(["--manifest-path", path] if path else [])]


def root_of(path, **more):
    env = {"HOME": "/nonexistent"}
    return Workspaces().find(str(path), with_manifest(more.get("manifest")), env).root


TREES = [
    ("a package on its own", {"Cargo.toml": PACKAGE}, "src"),
    ("a member", {"Cargo.toml": '[workspace]\nmembers = ["m"]\n', "m/Cargo.toml": PACKAGE}, "m"),
    ("a root package", {"Cargo.toml": PACKAGE + "[workspace]\n", "m/Cargo.toml": PACKAGE}, "src"),
    (
        "an excluded package",
        {"Cargo.toml": '[workspace]\nexclude = ["m"]\n', "m/Cargo.toml": PACKAGE},
        "m",
    ),
    (
        "excluded and yet a member",
        {
            "Cargo.toml": '[workspace]\nmembers = ["x/m"]\nexclude = ["x"]\n',
            "x/m/Cargo.toml": PACKAGE,
        },
        "x/m",
    ),
    (
        "a workspace in a workspace",
        {
            "Cargo.toml": '[workspace]\nexclude = ["in"]\n',
            "in/Cargo.toml": '[workspace]\nmembers = ["m"]\n',
            "in/m/Cargo.toml": PACKAGE,
        },
        "in/m",
    ),
    (
        "a pointer to the root",
        {
            "w/Cargo.toml": '[workspace]\nmembers = ["../m"]\n',
            "m/Cargo.toml": PACKAGE + 'workspace = "../w"\n',
        },
        "m",
    ),
    (
        "excluded by the nearest, a member further up",
        {
            "Cargo.toml": '[workspace]\nmembers = ["a/m"]\n',
            "a/Cargo.toml": '[workspace]\nexclude = ["m"]\n',
            "a/m/Cargo.toml": PACKAGE,
        },
        "a/m",
    ),
]


@pytest.mark.real_cargo
@pytest.mark.skipif(not shutil.which("cargo"), reason="there is no cargo")
@pytest.mark.parametrize(("what", "files", "where"), TREES, ids=[tree[0] for tree in TREES])
def test_we_find_the_root_that_cargo_finds(tmp_path, what, files, where):
    write(tmp_path, files)
    here = tmp_path / where
    here.mkdir(exist_ok=True)
    located = subprocess.run(
        ["cargo", "locate-project", "--workspace", "--message-format", "plain"],
        cwd=here, capture_output=True, text=True,
    )  # fmt: skip
    if located.returncode:
        pytest.fail(located.stderr)
    assert root_of(here) == os.path.dirname(os.path.realpath(located.stdout.strip()))


def test_a_linked_checkout_is_the_same_workspace(tmp_path):
    write(tmp_path / "real", {"Cargo.toml": PACKAGE})
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert root_of(tmp_path / "link" / "src") == root_of(tmp_path / "real")


def test_a_manifest_path_and_a_directory_are_followed(tmp_path):
    write(tmp_path, {"a/Cargo.toml": PACKAGE})
    assert root_of(tmp_path, manifest="a/Cargo.toml") == str(tmp_path / "a")
    found = Workspaces().find(str(tmp_path), ["-C", "a", "build"], {"HOME": "/nonexistent"})
    assert found.root == str(tmp_path / "a")


@pytest.mark.parametrize(
    ("manifest", "why"),
    [(None, "no Cargo.toml"), ("no/Cargo.toml", "there is no"), ("x.rs", "is a script")],
)
def test_outside_a_workspace_the_reason_is_said(tmp_path, manifest, why):
    (tmp_path / "x.rs").write_text("fn main() {}")
    env = {"HOME": "/nonexistent"}
    found = Workspaces().find(str(tmp_path), with_manifest(manifest), env)
    assert found.root is None
    assert why in found.outside


def test_broken_manifests_are_left_for_cargo_to_complain_about(tmp_path):
    write(tmp_path, {"Cargo.toml": "[workspace\n"})
    assert root_of(tmp_path) == str(tmp_path)


def test_target_dir_and_alias_come_from_the_nearest_cargo_config(tmp_path):
    write(
        tmp_path,
        {
            "Cargo.toml": PACKAGE,
            ".cargo/config.toml": '[build]\ntarget-dir = "near"\n[alias]\nb2 = "build -q"\n',
            "home/.cargo/config.toml": '[build]\ntarget-dir = "far"\n'
            '[alias]\nnt = ["nextest", "run"]\n',
        },
    )
    env = {"HOME": str(tmp_path / "home")}
    finder = Workspaces()
    found = finder.find(str(tmp_path), ["b2", "--release"], env)
    assert (found.config.target_dir, found.argv) == ("near", ("build", "-q", "--release"))
    assert found.config.target_dir_file == str(tmp_path / ".cargo/config.toml")
    assert not found.config.target_dir_by_option
    assert finder.find(str(tmp_path), ["nt", "-j2"], env).argv == ("nextest", "run", "-j2")
    assert finder.find(str(tmp_path), ["build"], env).argv is None


@pytest.mark.parametrize(
    ("option", "target_dir", "wrapper"),
    [
        ("build.target-dir='x'", "x", None),
        ("build = { target-dir = 'x', rustc-wrapper = './w' }", "x", "{}/./w"),
        ("build.rustc-wrapper='sccache'", None, "sccache"),
        ("extra.toml", "from a file", None),
        ("[broken", None, None),
    ],
)
def test_config_options_are_the_users_word(tmp_path, option, target_dir, wrapper):
    write(tmp_path, {"Cargo.toml": PACKAGE, "extra.toml": "[build]\ntarget-dir = 'from a file'\n"})
    env = {"HOME": "/nonexistent"}
    found = Workspaces().find(str(tmp_path), ["--config", option, "build"], env).config
    assert (found.target_dir, found.target_dir_by_option) == (target_dir, target_dir is not None)
    assert found.rustc_wrapper == (wrapper and wrapper.format(tmp_path))


def test_an_alias_with_a_manifest_of_its_own_is_about_that_one(tmp_path):
    write(
        tmp_path,
        {
            "Cargo.toml": '[workspace]\nexclude = ["xt"]\n',
            "xt/Cargo.toml": PACKAGE,
            ".cargo/config.toml": '[alias]\nxt = "run --manifest-path xt/Cargo.toml --"\n',
        },
    )
    found = Workspaces().find(str(tmp_path), ["xt", "dist"], {"HOME": "/nonexistent"})
    assert found.root == str(tmp_path / "xt")


def test_a_changed_file_is_read_again(tmp_path):
    write(tmp_path, {"Cargo.toml": "[workspace]\n", "m/Cargo.toml": PACKAGE})
    finder = Workspaces()
    env = {"HOME": "/nonexistent"}
    assert finder.find(str(tmp_path / "m"), ["build"], env).root == str(tmp_path)
    (tmp_path / "Cargo.toml").write_text('[workspace]\nexclude = ["m"]\n')
    assert finder.find(str(tmp_path / "m"), ["build"], env).root == str(tmp_path / "m")


def test_names_that_are_not_utf8_are_found(tmp_path):
    root = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(root)
    Path(os.fsdecode(root), "Cargo.toml").write_text(PACKAGE)
    assert root_of(os.fsdecode(root)) == os.fsdecode(root)


HOST = "x86_64-unknown-linux-gnu"


@pytest.mark.parametrize(
    ("near", "far", "option", "words", "is_list"),
    [
        ("runner = 'qemu  -L /x'", "", None, ("qemu", "-L", "/x"), False),
        ("runner = ['qemu -L', '']", "", None, ("qemu -L", ""), True),
        ("runner = './q x'", "", None, ("{0}/./q", "x"), False),
        ("runner = ['bin/q']", "", None, ("{0}/bin/q",), True),
        ("", "runner = ['bin/q']", None, ("{0}/home/bin/q",), True),
        ("runner = ['a']", "runner = ['b', 'c']", None, ("a",), True),
        ("runner = ['a']", "runner = 'b'", None, (), True),  # cargo refuses to merge them
        ("runner = []", "", None, (), True),
        ("runner = ''", "", None, (), False),
        ("runner = 7", "", None, (), False),
        ("runner = ['a', 7]", "", None, (), True),
        ("runner = ['a']", "", f"target.{HOST}.runner=['./o']", ("{0}/./o",), True),
        ("runner = 'a'", "", f"target.{HOST}.runner=['o']", (), True),
        ("", "", f"target.{HOST}.rustflags=['o']", None, None),
    ],
)
def test_the_runner_of_a_target_is_read_as_cargo_reads_it(
    tmp_path, near, far, option, words, is_list
):
    write(
        tmp_path,
        {
            "Cargo.toml": PACKAGE,
            ".cargo/config.toml": f"[target.{HOST}]\n{near}\n",
            "home/.cargo/config.toml": f"[target.{HOST}]\n{far}\n",
        },
    )
    argv = ["--config", option, "test"] if option else ["test"]
    config = Workspaces().find(str(tmp_path), argv, {"HOME": str(tmp_path / "home")}).config
    found = config.runners.get(HOST)
    if words is None:
        assert found is None
    else:
        expected = tuple(word.format(tmp_path) for word in words)
        assert found == TargetRunner(expected, is_list, option is not None)
    assert not config.hides_runner


@pytest.mark.parametrize(
    ("text", "hides"),
    [
        ("[target.'cfg(unix)']\nrunner = 'qemu'\n", True),
        ("[target.'cfg(unix)']\nrustflags = []\n", False),
        ("include = ['more.toml']\n", True),
        ("target = 7\n", False),
        ("[target]\nx = 7\n", False),
    ],
)
def test_a_runner_may_be_hidden_in_a_cfg_table_or_an_included_file(tmp_path, text, hides):
    write(tmp_path, {"Cargo.toml": PACKAGE, ".cargo/config.toml": text})
    finder = Workspaces()
    assert finder.find(str(tmp_path), ["test"], {"HOME": "/no"}).config.hides_runner is hides
    write(tmp_path, {".cargo/config.toml": "", "extra.toml": text})
    argv = ["--config", "extra.toml", "test"]
    assert finder.find(str(tmp_path), argv, {"HOME": "/no"}).config.hides_runner is hides


def test_the_targets_of_a_build_are_one_or_many(tmp_path):
    write(tmp_path, {"Cargo.toml": PACKAGE, ".cargo/config.toml": "[build]\ntarget = 'a'\n"})
    finder = Workspaces()

    def targets(*argv):
        return finder.find(str(tmp_path), [*argv, "test"], {"HOME": "/no"}).config.targets

    assert targets() == ("a",)
    assert targets("--config", "build.target=['b', 'c']") == ("b", "c")
