"""`forge remote` changes one line of one file, or says why not."""

import json
import os
import subprocess

import pytest

from forge.host.sandbox import PROMISES
from tests.cli.conftest import Forge

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8eHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgEA"


@pytest.fixture
def keys(tmp_path):
    file = tmp_path / "authorized_keys"
    file.write_text(f"# mine\nno-pty {OTHER} me\n")
    file.chmod(0o600)
    (tmp_path / "laptop.pub").write_text(f"{KEY} me@laptop\n")
    return file


def authorize(forge: Forge, keys, *options: str, name: str = "laptop"):
    public = str(keys.parent / "laptop.pub")
    return forge("remote", "authorize", public, "--name", name, "--file", str(keys), *options)


def test_a_key_is_let_in_for_one_command_and_other_lines_stay(forge, keys):
    before = keys.read_text()
    done = authorize(forge, keys, "--project", "ripgrep", "--verbs", "build,test", "--untrusted")
    assert done.code == 0
    assert "code of its choice runs as you" in done.out
    assert keys.read_text().startswith(before)
    (line,) = keys.read_text()[len(before) :].splitlines()
    assert line.startswith('restrict,command="')
    assert "serve --key laptop --project ripgrep --verbs build,test" in line
    assert "--untrusted" in line
    assert f'" {KEY} opta-forge:laptop' in line
    assert os.stat(keys).st_mode & 0o777 == 0o600


def test_sshs_own_tool_reads_the_line(forge, keys):
    authorize(forge, keys)
    done = subprocess.run(["ssh-keygen", "-lf", keys], capture_output=True, text=True)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2
    assert "opta-forge:laptop" in done.stdout


def test_a_dry_run_prints_the_line_and_changes_nothing(forge, keys):
    before = keys.read_text()
    shown = authorize(forge, keys, "--dry-run")
    assert keys.read_text() == before
    assert authorize(forge, keys).code == 0
    assert keys.read_text() == before + shown.out


def test_a_key_is_let_in_once_and_so_is_a_name(forge, keys):
    assert authorize(forge, keys).code == 0
    for again in (authorize(forge, keys), authorize(forge, keys, name="desk")):
        assert (again.code, again.err) != (0, "")
        assert again.code == 73
    (keys.parent / "laptop.pub").write_text(OTHER)
    taken = authorize(forge, keys, name="me")  # it is there as a login: that line would win
    assert taken.code == 73
    assert "take that out" in taken.err


def test_a_symlink_is_refused_and_what_it_names_untouched(forge, keys):
    before = keys.read_text()
    real = keys.rename(keys.parent / "real")
    os.symlink("real", keys)
    refused = authorize(forge, keys)
    assert refused.code == 77
    assert "symlink" in refused.err
    assert real.read_text() == before


@pytest.mark.parametrize(
    ("content", "code"),
    [("", 65), ("ssh-ed25519 AAAA", 65), (f'command="sh" {KEY}', 65), (f"{KEY}\n{OTHER}", 65)],
)
def test_what_is_no_public_key_is_refused(forge, keys, content, code):
    (keys.parent / "laptop.pub").write_text(content)
    before = keys.read_text()
    assert authorize(forge, keys).code == code
    assert keys.read_text() == before


@pytest.mark.parametrize(
    "options",
    [
        ["--verbs", "install"],
        ["--verbs", "build;id"],
        ["--project", "../other"],
        ["--project", "$(id)"],
        ["--max-bytes", "many"],
        ["--allow", "everything"],
    ],
)
def test_rules_that_cannot_be_are_mistakes(forge, keys, options):
    before = keys.read_text()
    assert authorize(forge, keys, *options).code == 64
    assert keys.read_text() == before


@pytest.mark.parametrize("name", ["../x", "-x", "a b", 'x" ssh-rsa AAAA', ""])
def test_a_name_is_plain(forge, keys, name):
    assert authorize(forge, keys, name=name).code == 64


def test_keys_are_listed_and_revoked_by_name(forge, keys):
    before = keys.read_text()
    authorize(forge, keys, "--priority", "batch")
    (shown,) = json.loads(forge("remote", "list", "--file", str(keys), "--json").out)
    assert shown["name"] == "laptop"
    assert shown["key"] == KEY
    assert shown["options"][2:4] == ["--priority", "batch"]
    assert "laptop" in forge("remote", "list", "--file", str(keys)).out
    dry = forge("remote", "revoke", "laptop", "--file", str(keys), "--dry-run")
    assert "would be" in dry.out
    assert "laptop" in keys.read_text()
    assert forge("remote", "revoke", "laptop", "--file", str(keys)).code == 0
    assert keys.read_text() == before
    assert forge("remote", "revoke", "laptop", "--file", str(keys)).code == 65
    assert "nobody" in forge("remote", "list", "--file", str(keys)).out


def test_the_sandbox_is_tried_and_each_promise_told(forge):
    shown = forge("remote", "sandbox")
    assert all(promise in shown.out for promise in PROMISES)
    assert shown.code == (69 if "NO " in shown.out else 0)


def test_where_there_is_no_sandbox_that_is_said_with_a_way_out(forge, env, tmp_path):
    env["PATH"] = str(tmp_path)
    shown = forge("remote", "sandbox")
    assert (shown.code, shown.out.count("NO ")) == (69, len(PROMISES))
    assert "bubblewrap" in shown.err
