"""SSH_ORIGINAL_COMMAND selects a mode, whatever else it would like to be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.core.remote_command import Mode, mode_of


@pytest.mark.parametrize(
    ("command", "mode"),
    [
        (None, Mode.SERVE),
        ("", Mode.SERVE),
        ("forge serve", Mode.SERVE),
        ("forge  serve ", Mode.SERVE),
        ("forge serve version", Mode.VERSION),
        ("forge serve ping", Mode.PING),
    ],
)
def test_a_mode_is_selected_by_its_words(command, mode):
    assert mode_of(command) is mode


@pytest.mark.parametrize(
    "command",
    [
        "id",
        "forge serve; id",
        "forge serve;id",
        "forge serve && id",
        "forge serve | sh",
        "forge serve\nid",
        "forge\tserve",
        "forge serve\r",
        "forge serve $(id)",
        "forge serve `id`",
        "forge serve ${IFS}",
        "forge serve --key root",  # who it is stands in the key's line
        "forge serve --untrusted",
        "forge serve version ping",
        "forge status",
        "/usr/bin/forge serve",
        "FORGE SERVE",
        "env FORGE_CONFIG=x forge serve",
        "scp -t /tmp",
        "scp -S /tmp/evil host:x y",
        "rsync --server -e.LsfxC . /tmp",
        "rsync -e 'sh -c id' --server",
        "sftp-server",
        "/usr/lib/openssh/sftp-server",
        "internal-sftp",
        "git-upload-pack 'x'",
        "git-receive-pack --upload-pack=id",
        "bash -c 'forge serve'",
        "sh",
        "forge serve " + "x" * 4096,
        "forge serve ping\0id",
        "f\N{LATIN SMALL LETTER DOTLESS I}rge serve",
        "forge serve \N{FULLWIDTH SEMICOLON} id",
    ],
)
def test_every_known_way_out_selects_nothing(command):
    assert mode_of(command) is None


@given(
    st.text(
        alphabet=st.sampled_from(list("forge srvpin;|&$()`'\"\\\n\t\0-./~*?{}<>!#")), max_size=80
    )
)
def test_no_text_but_the_few_selects_a_mode(command):
    if mode_of(command) is not None:
        assert command.split(" ") != []
        assert " ".join(command.split()) in (
            "",
            "forge serve",
            "forge serve version",
            "forge serve ping",
        )
        assert not set(command) - set("forge srvpin")
