"""What is let into authorized_keys is one key of a known type, and a command that is quoted."""

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.core.authorized_keys import (
    KeyRefused,
    has_key,
    read_line,
    read_public_key,
    write_line,
)


def body_of(*parts: bytes) -> str:
    return base64.b64encode(b"".join(struct.pack(">I", len(p)) + p for p in parts)).decode()


ED25519 = "ssh-ed25519 " + body_of(b"ssh-ed25519", bytes(range(32)))
RSA_2048 = "ssh-rsa " + body_of(b"ssh-rsa", b"\1\0\1", b"\0\xff" + bytes(255))
COMMAND = ["/usr/bin/python3", "-m", "forge", "serve", "--key", "laptop"]


@pytest.mark.parametrize("text", [ED25519, ED25519 + "\n", ED25519 + " me@laptop\r\n", RSA_2048])
def test_a_public_key_is_let_in_without_what_stands_behind_it(text):
    key = read_public_key(text)
    assert text.startswith(key.text)
    assert "me@laptop" not in key.text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no type"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "private"),
        (ED25519 + "\n" + ED25519, "one line"),
        (ED25519 + "\nssh-rsa AAAA", "one line"),
        (ED25519.replace(" ", "\t"), "one line"),
        (ED25519 + "\0", "one line"),
        ('command="sh" ' + ED25519, "no type"),
        ("no-pty " + ED25519, "no type"),
        (" " + ED25519, "no type"),
        ("ssh-dss " + body_of(b"ssh-dss", b"1", b"2", b"3", b"4"), "no type"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "no type"),
        ("cert-authority " + ED25519, "no type"),
        ("ssh-ed25519", "no key"),
        ("ssh-ed25519 !!!!", "base64"),
        ("ssh-ed25519 " + ED25519.split()[1][:-2], "base64|type"),
        ("ssh-ed25519 " + body_of(b"ssh-rsa", bytes(32)), "type"),  # another type inside
        ("ssh-ed25519 " + body_of(b"ssh-ed25519", bytes(31)), "type"),
        ("ssh-ed25519 " + body_of(b"ssh-ed25519", bytes(32), b"more"), "type"),
        ("ssh-rsa " + body_of(b"ssh-rsa", b"\1\0\1", b"\xff" * 128), "2048"),
        ("ssh-ed25519 " + "A" * 9000, "one line"),
        ("ssh-ed25519 \N{CYRILLIC CAPITAL LETTER A}AAA", "base64"),
    ],
)
def test_anything_else_is_refused(text, why):
    with pytest.raises(KeyRefused, match=why):
        read_public_key(text)


@given(
    st.lists(
        st.text(alphabet=st.sampled_from(list("ab \"'$`;&|()<>*?[]{}~#!\N{SNOWMAN}")), min_size=1)
    )
)
def test_words_of_the_command_come_out_as_they_went_in(words):
    line = write_line(read_public_key(ED25519), [*COMMAND, *words], "laptop")
    own = read_line(line)
    assert own
    assert own.words == (*COMMAND, *words)
    assert (own.name, own.key) == ("laptop", ED25519)
    assert line.startswith('restrict,command="')
    assert "\n" not in line


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([*COMMAND, "a\nssh-rsa AAAA"], "laptop"),
        ([*COMMAND, "a\\"], "laptop"),
        ([*COMMAND, "\x1b"], "laptop"),
        (COMMAND, 'x" ssh-rsa'),
        (COMMAND, "-x"),
        (COMMAND, ""),
        (COMMAND, "a\n"),
    ],
)
def test_what_no_line_can_hold_is_refused(words, name):
    with pytest.raises(KeyRefused):
        write_line(read_public_key(ED25519), words, name)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "# a comment",
        ED25519,
        f'command="forge serve" {ED25519}',
        f'restrict,command="ls" {ED25519}',
    ],
)
def test_lines_of_others_are_not_ours(line):
    assert read_line(line) is None


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (ED25519, True),
        (f"no-pty {ED25519} comment", True),
        (f"no-pty\t{ED25519}".replace(" ", "\t"), True),  # sshd takes tabs
        (f"# {ED25519}", False),
        (RSA_2048, False),
    ],
)
def test_a_key_that_is_let_in_already_is_found_whatever_its_options(line, found):
    assert has_key(["", line], read_public_key(ED25519)) is found
