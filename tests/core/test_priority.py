"""How urgent a build is by how it was started."""

import pytest

from forge.core.priority import patience_of, priority_of

FLYCHECK = {"CARGO_LOG": "cargo::core::compiler::fingerprint=info"}


@pytest.mark.parametrize(
    ("env", "is_terminal", "priority"),
    [
        ({}, True, "interactive"),
        ({}, False, "batch"),  # a script, a pipe, an agent
        ({"SSH_CONNECTION": "::1 1 ::1 22"}, False, "batch"),  # `ssh host cargo build`
        ({"SSH_CONNECTION": "::1 1 ::1 22"}, True, "interactive"),  # a person's shell over ssh
        ({"CI": "true"}, True, "batch"),
        ({"CI": "true", "VSCODE_PID": "7"}, False, "batch"),
        ({"CI": "false"}, True, "interactive"),
        ({"CI": "0"}, True, "interactive"),
        ({"CI": ""}, True, "interactive"),
        ({"VSCODE_PID": "7"}, False, "interactive"),
        ({"VSCODE_PID": ""}, False, "batch"),
        ({"TERM_PROGRAM": "vscode"}, False, "batch"),  # in its terminal a person has a terminal
        (FLYCHECK, False, "interactive"),  # rust-analyzer in any editor
        ({"CARGO_LOG": "debug"}, False, "batch"),
        ({"RUSTC_WRAPPER": "/opt/bin/rust-analyzer"}, False, "interactive"),  # on opening
        ({"RUSTC_WRAPPER": "sccache"}, False, "batch"),
        ({"CLAUDECODE": "1"}, False, "batch"),
        ({"CLAUDECODE": "1", "VSCODE_PID": "7"}, False, "batch"),  # an agent inside an editor
        ({"CLAUDECODE": "1"}, True, "interactive"),  # a person in a terminal that an editor opened
        ({"FORGE_PRIORITY": "batch"}, True, "batch"),
        ({"FORGE_PRIORITY": "interactive", "CI": "true"}, False, "interactive"),
        ({"FORGE_PRIORITY": "high"}, True, "interactive"),  # wrong: as if it were not set
    ],
)
def test_a_build_is_as_urgent_as_whoever_waits_for_it(env, is_terminal, priority):
    assert priority_of(env, is_terminal) == priority


@pytest.mark.parametrize(
    ("env", "patience_s"),
    [
        ({}, None),
        ({"FORGE_WAIT_TIMEOUT": "5m"}, 300.0),
        ({"FORGE_WAIT_TIMEOUT": "0"}, 0.0),
        ({"FORGE_WAIT_TIMEOUT": "ever"}, None),
    ],
)
def test_a_build_waits_as_long_as_it_was_told_and_else_for_ever(env, patience_s):
    assert patience_of(env) == patience_s
