"""A cargo command line on its way to another machine."""

import pytest

from forge.core.remote_argv import remote_command, replaced


@pytest.mark.parametrize(
    ("words", "argv"),
    [
        ("build", "build"),
        ("-q --color always build --release", "build -q --color always --release"),
        ("+nightly -v t x", "+nightly t -v x"),
        ("build --fetch -p a", "build -p a"),
        ("run --detach -- --fetch", "run -- --fetch"),
        ("run prog --detach", "run prog --detach"),  # the program's own
    ],
)
def test_the_verb_comes_first_and_our_options_are_gone(words, argv):
    assert " ".join(remote_command(words.split()).argv) == argv


@pytest.mark.parametrize(
    ("words", "fetches"),
    [
        ("build", True),
        ("b --release", True),
        ("build --no-fetch", False),
        ("build --no-fetch --fetch", True),  # the last one counts
        ("test", False),
        ("test --fetch", True),
        ("build --detach", False),
        ("check", False),
    ],
)
def test_finals_come_back_where_that_is_wanted(words, fetches):
    assert remote_command(words.split()).fetches is fetches


def test_what_is_asked_for_is_read():
    command = remote_command(
        ["r", "--message-format", "json-diagnostic-short", "--target=x", "--", "a"]
    )
    assert command.verb == "run"
    assert command.is_interactive
    assert command.says_json
    assert command.names_target
    assert not command.is_detached
    assert remote_command(["build", "--", "--message-format=json"]).says_json is False
    assert remote_command(["metadata"]).says_json


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("build -p build", "build --message-format=json-render-diagnostics -p build"),
        ("+x b", "+x b --message-format=json-render-diagnostics"),
    ],
)
def test_messages_of_what_was_made_are_asked_for_behind_the_verb(words, told):
    assert " ".join(remote_command(words.split()).with_messages()) == told


@pytest.mark.parametrize(
    ("words", "name", "value", "changed"),
    [
        ("-C a build", "-C", "", "build"),
        ("build --manifest-path a/b", "--manifest-path", "b", "build --manifest-path=b"),
        ("build --manifest-path=a/b -q", "--manifest-path", "b", "build --manifest-path=b -q"),
        ("run -- --manifest-path a", "--manifest-path", "b", "run -- --manifest-path a"),
    ],
)
def test_an_option_gets_another_value(words, name, value, changed):
    assert " ".join(replaced(words.split(), name, value)) == changed
