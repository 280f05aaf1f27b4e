"""What a build key may run is what is on a list, and nothing is read other than cargo reads it."""

import pytest

from forge.core.remote_policy import (
    DEFAULT_VERBS,
    KeyRules,
    argv_refusal,
    cwd_refusal,
    environment_refusal,
    may_send,
    project_refusal,
)

RULES = KeyRules("laptop")


@pytest.mark.parametrize(
    "argv",
    [
        "build",
        "b -r",
        "build --release --bin hello -j4 -vv --features=a,b",
        "build -p hello -pother -j 2 -F a --target aarch64-apple-darwin",
        "build --message-format json-render-diagnostics",
        "test name --no-fail-fast -- --nocapture --config x",  # behind `--` they are the program's
        "run -q --bin hello -- +nightly --target-dir /",
        "run hello --config x",  # behind its name as well, as cargo has it
        "clippy --all-targets -- -D warnings",
        "metadata --format-version 1 --no-deps",
        "build --manifest-path ./member/Cargo.toml",
        "clean -p hello",
        "tree -e features -i serde --depth 2",
    ],
)
def test_what_people_build_with_is_let_through(argv):
    assert argv_refusal(RULES, argv.split()) == ""


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        ("", "no verb"),
        ("install ripgrep", "install"),
        ("publish", "publish"),
        ("login", "login"),
        ("rustc -- -C linker=/bin/sh", "rustc"),  # only where a key names it
        ("nextest run", "nextest"),
        ("mine", "mine"),  # an alias of the tree's own configuration
        ("--config a=1 build", "--config"),
        ("-C / build", "-C"),
        ("-Zunstable-options build", "-Z"),
        ("+nightly build", "toolchain"),
        ("build --config target.x86_64-unknown-linux-gnu.runner='sh'", "--config"),
        ("build --config=build.rustc-wrapper='/tmp/x'", "--config"),
        ("build --target-dir /home", "--target-dir"),
        ("build --target-dir=/home", "--target-dir"),
        ("build --artifact-dir /home", "--artifact-dir"),
        ("build --out-dir /home", "--out-dir"),
        ("build --lockfile-path /home/Cargo.lock", "--lockfile-path"),
        ("build -Z build-std", "-Z"),
        ("build -Zbuild-std", "-Z"),
        ("build -C /", "-C"),
        ("build --forge-priority interactive", "--forge-priority"),  # the key says how urgent
        ("build --forge-wait-timeout=1", "--forge-wait-timeout"),
        ("build --manifest-path /etc/Cargo.toml", "--manifest-path"),
        ("build --manifest-path=../other/Cargo.toml", "--manifest-path"),
        ("build --manifest-path a/../../b/Cargo.toml", "--manifest-path"),
        ("build --target ../evil.json", "--target"),
        ("build --target=/tmp/evil.json", "--target"),
        # cargo takes no option for the value of these, so neither do we: it would be an option.
        ("build --bin --config=x", "--bin"),
        ("run --example --target-dir /tmp", "--example"),
        ("test name --config x", "--config"),  # a test's name does not end cargo's options
        ("run -rZbuild-std", "-r"),
        ("build -", "-"),
        ("build --", ""),
        ("doc --open", "--open"),
        ("$(id) build", "$(id)"),
        ("build;id", "build;id"),
    ],
)
def test_what_is_not_on_a_list_is_refused_by_name(argv, why):
    refusal = argv_refusal(RULES, argv.split())
    assert why in refusal
    assert bool(refusal) is bool(why)


def test_a_key_has_the_verbs_that_it_names():
    rules = KeyRules("ci", verbs=frozenset(("build", "rustc")))
    assert argv_refusal(rules, ["b"]) == ""
    assert argv_refusal(rules, ["rustc", "--", "-C", "opt-level=1"]) == ""
    assert "test" in argv_refusal(rules, ["test"])
    assert not set(DEFAULT_VERBS) & {"rustc", "rustdoc", "install", "publish"}


def test_what_is_allowed_beyond_is_allowed_by_name():
    config = KeyRules("a", allowances=frozenset(("config",)))
    assert argv_refusal(config, ["build", "--config", "a=1", "--config=b=2"]) == ""
    toolchain = KeyRules("a", allowances=frozenset(("toolchain",)))
    assert argv_refusal(toolchain, ["+1.80", "build"]) == ""
    assert argv_refusal(toolchain, ["+../../evil", "build"])
    assert argv_refusal(toolchain, ["+nightly", "build", "--config", "a=1"])


@pytest.mark.parametrize(
    "name",
    [
        "RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOC", "RUSTFLAGS", "RUSTDOCFLAGS",
        "CARGO_ENCODED_RUSTFLAGS", "CARGO", "CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_BUILD_RUSTC",
        "CARGO_BUILD_RUSTC_WRAPPER", "CARGO_BUILD_TARGET_DIR", "CARGO_BUILD_RUSTFLAGS",
        "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER", "CARGO_TARGET_AARCH64_APPLE_DARWIN_RUNNER",
        "CARGO_ALIAS_B", "CARGO_REGISTRY_TOKEN", "CARGO_REGISTRIES_X_CREDENTIAL_PROVIDER",
        "CARGO_HTTP_PROXY", "CARGO_NET_GIT_FETCH_WITH_CLI", "CARGO_MAKEFLAGS", "MAKEFLAGS",
        "CARGO_PROFILE_DEV_RUSTFLAGS", "CARGO_PROFILE_dev_DEBUG", "CARGO_PROFILE_DEV_DEBUG\n",
        "RUSTUP_TOOLCHAIN", "RUSTUP_HOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES",
        "PATH", "HOME", "SHELL", "IFS", "BASH_ENV", "ENV", "PYTHONPATH", "PYTHONSTARTUP",
        "GIT_SSH_COMMAND", "GIT_CONFIG_GLOBAL", "SSH_AUTH_SOCK", "SSH_CONNECTION", "TMPDIR", "CC",
        "FORGE_IDENTITY", "FORGE_PRIORITY", "FORGE_STATE_DIR", "FORGE_REAL_CARGO", "FORGE_CONFIG",
        "FORGE_TEST", "FORGE_RESERVATION", "FORGE_BUILD", "A=B", "", "TERM ", "term",
    ],
)  # fmt: skip
def test_a_variable_that_steers_more_than_output_does_not_come_along(name):
    assert not may_send(name)
    assert environment_refusal({name: "x"})


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [
        ("TERM", "xterm-256color", True),
        ("TERM", "../../home/me/evil", False),  # libraries make a path of it
        ("LC_ALL", "/tmp/locale", False),
        ("LANG", "de_DE.UTF-8", True),
        ("CARGO_TERM_COLOR", "always", True),
        ("CARGO_PROFILE_DEV_DEBUG", "0", True),
        ("CARGO_PROFILE_RELEASE_LTO_OPT_LEVEL", "3", True),
        ("RUST_BACKTRACE", "$(id)`id`;\n", True),  # no shell: it is text to whoever reads it
    ],
)
def test_a_variable_that_comes_along_has_a_value_that_does_no_harm(name, value, fits):
    assert bool(environment_refusal({name: value})) is not fits


def test_a_key_for_some_projects_is_for_no_other():
    rules = KeyRules("ci", projects=frozenset(("ripgrep",)))
    assert project_refusal(rules, "ripgrep") == ""
    assert "fd" in project_refusal(rules, "fd")
    assert project_refusal(RULES, "fd") == ""


@pytest.mark.parametrize("cwd", ["..", "/", "/etc", "a/../..", "a//b", "", "./a"])
def test_one_runs_in_the_tree(cwd):
    assert cwd_refusal(cwd)
    assert cwd_refusal(".") == cwd_refusal("a/b") == ""
