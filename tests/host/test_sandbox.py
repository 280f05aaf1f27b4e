"""The sandbox is believed in when a program behind it could do none of what it should not."""

import shutil
import sys

import pytest

from forge.host import sandbox, sandbox_darwin, sandbox_linux
from forge.host.sandbox import PROMISES, Walls, command_behind, sandbox_refusal, verified

PATH = "/usr/bin:/bin:/usr/local/bin"


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A PATH of our own, with programs that stand for the sandbox's."""
    monkeypatch.setattr(sandbox_linux, "TOOL", "walls")

    def make(body: str) -> str:
        program = tmp_path / "walls"
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
        return str(tmp_path)

    return make


@pytest.mark.skipif(sys.platform != "linux", reason="it is Linux's sandbox")
@pytest.mark.skipif(not shutil.which("bwrap"), reason="there is no bwrap here (Debian: bubblewrap)")
def test_bubblewrap_holds_all_that_is_promised():
    found = verified(PATH)
    if not found["starts"]:
        pytest.skip("this machine allows no user namespaces")
    assert found == dict.fromkeys(PROMISES, True)
    assert sandbox_refusal(PATH) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="it is told which options end where")
def test_a_sandbox_that_keeps_nothing_out_is_not_believed_in(tools):
    path = tools('while [ "$1" != -- ]; do shift; done; shift; exec "$@"')
    found = verified(path)
    assert found["starts"]
    assert found["writes inside"]
    assert not any(found[one] for one in PROMISES if one not in ("starts", "writes inside"))
    assert "does not hold" in sandbox_refusal(path)


@pytest.mark.parametrize("body", ["exit 1", "echo starts", "exec sleep 600"])
def test_a_sandbox_that_does_not_run_what_it_should_is_not_believed_in(tools, body, monkeypatch):
    monkeypatch.setattr(sandbox, "_PATIENCE_S", 1.0)
    assert "does not hold" in sandbox_refusal(tools(body))


def test_where_there_is_no_tool_there_is_no_sandbox(tmp_path):
    assert command_behind(Walls(("/x",)), str(tmp_path)) == []
    assert sandbox_refusal(str(tmp_path))


def test_on_macos_the_profile_stands_before_the_command_and_is_not_believed_in_untried(tmp_path):
    program = tmp_path / "sandbox-exec"
    program.write_text('#!/bin/sh\n[ "$1" = -p ] || exit 64\nshift 2\nexec "$@"\n')
    program.chmod(0o755)
    command = command_behind(Walls(("/t",), home="/Users/me"), str(tmp_path), "darwin")
    profile = sandbox_darwin.profile(("/t",), (), "/Users/me", False)
    assert command == [str(program), "-p", profile]
    found = verified(str(tmp_path), "darwin")  # one that keeps nothing out
    assert found["starts"]
    assert not found["writes nothing outside"]
    assert not found["has no network"]


def test_the_profile_of_macos_denies_first_and_allows_what_is_inside():
    text = sandbox_darwin.profile(('/a "b"\\', "/t"), ("/r",), "/Users/me", False)
    lines = text.splitlines()
    assert lines[:3] == ["(version 1)", "(allow default)", "(deny network*)"]
    assert '(allow file-write* (subpath "/a \\"b\\"\\\\"))' in lines
    assert lines.index("(deny file-write*)") < lines.index('(allow file-write* (subpath "/t"))')
    home = lines.index('(deny file-read-data (subpath "/Users/me"))')
    assert home < lines.index('(allow file-read* (subpath "/r"))')
    assert not any("file-write" in line and '"/r"' in line for line in lines)
    assert text.count("(") == text.count(")")
    assert "(deny network*)" not in sandbox_darwin.profile((), (), "/h", True)
