import json
from pathlib import Path

import pytest

from forge.core.cargo_args import Kind, expanded, parse, redirected

VECTORS = Path(__file__).parent.parent / "data" / "vectors" / "argv.json"


@pytest.mark.parametrize(
    ("argv", "verb", "kind"),
    [
        ("build", "build", Kind.BUILD),
        ("+nightly build", "build", Kind.BUILD),
        ("--color always test", "test", Kind.BUILD),
        ("--config build.jobs=1 -Z unstable-options check", "check", Kind.BUILD),
        ("-q b", "b", Kind.BUILD),
        ("nextest run", "nextest", Kind.BUILD),
        ("install ripgrep", "install", Kind.BUILD),
        ("run -- --help", "run", Kind.BUILD),  # the program's option, not cargo's
        ("run -- --version", "run", Kind.BUILD),
        ("metadata --no-deps", "metadata", Kind.REDIRECT),
        ("clean", "clean", Kind.REDIRECT),
        ("build --help", "build", Kind.PASS),
        ("-V", None, Kind.PASS),
        ("", None, Kind.PASS),
        ("--version build", "build", Kind.PASS),
        ("run --help", "run", Kind.PASS),
        ("run prog --help", "run", Kind.BUILD),
        ("run -p x --bin y prog -h", "run", Kind.BUILD),
        ("run -p x -h", "run", Kind.PASS),
        ("rustc -- -h", "rustc", Kind.BUILD),
        ("test name --help", "test", Kind.PASS),
        ("xtask --help", "xtask", Kind.BUILD),  # an alias: whose help it is we cannot know
        ("fmt", "fmt", Kind.PASS),
        ("new x", "new", Kind.PASS),
    ],
)
def test_the_verb_and_its_kind_are_found(argv, verb, kind):
    args = parse(argv.split())
    assert (args.verb, args.kind) == (verb, kind)


@pytest.mark.skipif(not VECTORS.exists(), reason="the shim's vectors are not in this tree")
def test_python_and_the_shim_agree_on_recorded_command_lines():
    for vector in json.loads(VECTORS.read_text()):
        args = parse(vector["argv"])
        assert (args.kind, args.verb if args.kind is not Kind.PASS else vector["verb"]) == (
            vector["kind"],
            vector["verb"],
        ), vector


@pytest.mark.parametrize(
    ("argv", "field", "value"),
    [
        ("build --manifest-path a/Cargo.toml", "manifest_path", "a/Cargo.toml"),
        ("build --manifest-path=a/Cargo.toml", "manifest_path", "a/Cargo.toml"),
        ("run -- --manifest-path x", "manifest_path", None),
        ("-C sub build", "directory", "sub"),
        ("-Csub build", "directory", "sub"),
        ("build --target-dir t", "target_dir", "t"),
        ("--config a=1 build --config=b=2", "configs", ("a=1", "b=2")),
        ("run prog --manifest-path x", "manifest_path", None),
        ("run -p x --manifest-path y prog", "manifest_path", "y"),
        ("xtask --target-dir t", "target_dir", None),
        ("test name --target-dir t", "target_dir", "t"),
        ("build --release", "profile", "release"),
        ("build --profile=dist", "profile", "dist"),
        ("build", "profile", "dev"),
        ("+1.80 build", "toolchain", "+1.80"),
    ],
)
def test_options_that_bear_on_target_dirs_are_found(argv, field, value):
    assert getattr(parse(argv.split()), field) == value


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("build -q", ["--config", 'build.target-dir="/t"', "build", "-q"]),
        ("+nightly -v test", ["+nightly", "-v", "--config", 'build.target-dir="/t"', "test"]),
        ("clippy --fix", ["clippy", "--config", 'build.target-dir="/t"', "--fix"]),
        ("nextest run -j4", ["nextest", "run", "--target-dir", "/t", "-j4"]),
    ],
)
def test_verbs_are_redirected_by_an_option_that_nobody_inherits(argv, expected):
    assert redirected(parse(argv.split()), "/t") == (tuple(expected), {})


@pytest.mark.parametrize("argv", ["hack check", "nextest show-config", "xtask"])
def test_external_subcommands_are_redirected_by_variables(argv):
    args, env = redirected(parse(argv.split()), "/t")
    assert args == tuple(argv.split())
    assert env == {"CARGO_TARGET_DIR": "/t", "FORGE_TARGET_DIR": "/t"}


@pytest.mark.parametrize(
    ("argv", "whole"),
    [
        ("-q xt dist -j8", "-q run -q -p m -- dist -j8"),
        ("two --now", "run -q -p m -- --fast --now"),  # an alias of an alias
        ("build", "build"),  # cargo's own verbs cannot be aliased
        ("loop", "loop"),
        ("other", "other"),
    ],
)
def test_an_alias_is_expanded_as_cargo_does(argv, whole):
    aliases = {
        "xt": ("run", "-q", "-p", "m", "--"), "two": ("xt", "--fast"), "build": ("run",),
        "loop": ("loop",),
    }  # fmt: skip
    assert expanded(argv.split(), aliases) == tuple(whole.split())


def test_a_target_dir_is_quoted_as_toml_wants_it():
    argv, _ = redirected(parse(["build"]), '/t"\\\n\x7fé')
    assert argv[1] == 'build.target-dir="/t\\"\\\\\\u000a\\u007fé"'
