import pytest

from forge.core import cargo_args
from forge.core.build_lock import NEVER_LOCKED_S, BuildLocks, lock_path
from forge.core.shares import Priority
from forge.core.workspace import CargoConfig, Workspace

HERE = Workspace("/src/app", base="/src/app/sub")
BATCH, INTERACTIVE = Priority.BATCH, Priority.INTERACTIVE


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ("build", "/ram/app/debug/.cargo-lock"),
        ("check", "/ram/app/debug/.cargo-lock"),  # check and build lock each other out
        ("build --release", "/ram/app/release/.cargo-lock"),
        ("build -r --target x", "/ram/app/release/.cargo-lock"),  # the host's is locked as well
        ("bench", "/ram/app/release/.cargo-lock"),
        ("test --profile test", "/ram/app/debug/.cargo-lock"),
        ("build --profile=slim", "/ram/app/slim/.cargo-lock"),
        ("run -- --release", "/ram/app/debug/.cargo-lock"),
        ("nextest run --release", "/ram/app/release/.cargo-lock"),
        ("nextest run --cargo-profile slim -- -r", "/ram/app/slim/.cargo-lock"),
        ("nextest run --cargo-profile=dev --profile ci", "/ram/app/debug/.cargo-lock"),
        ("install ripgrep", None),  # builds in a directory of its own
        ("metadata", None),
        ("clean", None),
    ],
)
def test_a_build_locks_the_directory_of_its_profile(words, path):
    assert lock_path(cargo_args.parse(words.split()), {}, HERE, "/ram/app") == path


@pytest.mark.parametrize(
    ("words", "env", "config", "path"),
    [
        ("build", {}, CargoConfig(), "/src/app/target/debug/.cargo-lock"),
        ("build --target-dir ../t", {}, CargoConfig(), "/src/app/t/debug/.cargo-lock"),
        ("build", {"CARGO_TARGET_DIR": "/t"}, CargoConfig(), "/t/debug/.cargo-lock"),
        ("c", {"CARGO_BUILD_TARGET_DIR": "t"}, CargoConfig(), "/src/app/sub/t/debug/.cargo-lock"),
        ("build", {}, CargoConfig(target_dir="/c"), "/c/debug/.cargo-lock"),
    ],
)  # fmt: skip
def test_a_build_that_is_not_redirected_locks_where_cargo_builds(words, env, config, path):
    workspace = Workspace("/src/app", base="/src/app/sub", config=config)
    assert lock_path(cargo_args.parse(words.split()), env, workspace, None) == path


def test_outside_a_workspace_nothing_is_locked():
    assert lock_path(cargo_args.parse(["build"]), {}, Workspace(None), None) is None


def test_the_second_waits_and_the_interactive_one_is_next():
    locks = BuildLocks()
    assert locks.take("/l", "a", BATCH, 1)
    assert not locks.take("/l", "b", BATCH, 2)
    assert not locks.take("/l", "c", INTERACTIVE, 3)
    assert locks.ahead("/l", "b") == ("a", "c")
    assert locks.leave("/l", "a") == "c"
    assert locks.holder("/l") == "c"
    assert locks.leave("/l", "b") is None
    assert locks.leave("/l", "c") is None
    assert locks.holder("/l") is None
    locks.check()


def test_a_waiting_build_that_becomes_urgent_is_next():
    locks = BuildLocks()
    for order, name in enumerate("abc"):
        locks.take("/l", name, BATCH, order)
    locks.set_priority("/l", "c", INTERACTIVE)
    assert locks.leave("/l", "a") == "c"


def test_a_holder_that_was_seen_to_lock_and_unlock_is_through():
    locks = BuildLocks()
    locks.take("/l", "a", BATCH, 1)
    assert not locks.seen("/l", "a", locked=True, idle=True, now_s=1.0)
    assert locks.seen("/l", "a", locked=False, idle=False, now_s=1.1)


def test_a_holder_that_never_locks_is_through_when_it_has_compiled_nothing_for_a_while():
    locks = BuildLocks()
    locks.take("/l", "a", BATCH, 1)
    assert not locks.seen("/l", "a", locked=False, idle=True, now_s=1.0)
    assert not locks.seen("/l", "a", locked=False, idle=False, now_s=2.0)  # it compiles after all
    assert not locks.seen("/l", "a", locked=False, idle=True, now_s=2.0 + NEVER_LOCKED_S / 2)
    assert locks.seen("/l", "a", locked=False, idle=True, now_s=2.0 + NEVER_LOCKED_S)


def test_what_was_seen_of_an_earlier_holder_says_nothing():
    locks = BuildLocks()
    locks.take("/l", "b", BATCH, 2)
    assert not locks.seen("/l", "a", locked=False, idle=True, now_s=99.0)
