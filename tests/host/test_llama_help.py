import pytest

from forge.errors import ServerMissing, ServerUnknown
from forge.host.llama_help import ask_build, find_server
from tests.llama.shapes import RECORDINGS, build_of


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("version", ["0.3.20", "0.3.36"])
def test_a_build_is_asked_for_its_help(tmp_path, version):
    server = script(
        tmp_path / "llama-server", f'[ "$1" = --help ] && cat {RECORDINGS}/{version}/help.txt'
    )
    assert find_server("llama-server", {"PATH": str(tmp_path)}) == server
    assert ask_build(server, {"PATH": "/usr/bin:/bin"}) == build_of(version)


def test_help_on_stderr_is_read_as_well(tmp_path):
    server = script(tmp_path / "llama-server", f"cat {RECORDINGS}/0.3.36/help.txt >&2; exit 1")
    assert ask_build(server, {"PATH": "/usr/bin:/bin"}).speculates_by_type


def test_a_server_that_is_not_there_is_missing(tmp_path):
    for name in ("llama-server", str(tmp_path / "gone")):
        with pytest.raises(ServerMissing, match=name):
            find_server(name, {"PATH": str(tmp_path)})
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"\x7fELF")
    garbage.chmod(0o755)
    with pytest.raises(ServerMissing, match="cannot be run"):
        ask_build(str(garbage), {})


@pytest.mark.parametrize("text", ["echo hello", "exit 3", "sleep 60", "yes | head -c 100000"])
def test_what_is_no_llama_server_is_said_to_be_none(tmp_path, text):
    server = script(tmp_path / "llama-server", text)
    with pytest.raises(ServerUnknown, match="llama-server"):
        ask_build(server, {"PATH": "/usr/bin:/bin"}, deadline_s=1.0)
