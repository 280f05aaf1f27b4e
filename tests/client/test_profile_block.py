"""The marked block in the start-up files of shells."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.client.profile_block import (
    BEGIN,
    END,
    BlockBroken,
    UserFileUnwritable,
    adding,
    all_profiles,
    path_line,
    profiles,
    read_file,
    removing,
    replace_file,
    shell_of,
    with_block,
    without_block,
)
from forge.errors import UsageMistake

LINE = b'export PATH="/opt/forge:$PATH"'

texts = st.lists(
    st.sampled_from([b"alias ll=ls", b"", b"\t", b"# >>> other >>>", b"caf\xc3\xa9 \xff", b"x\r"])
).map(b"\n".join) | st.binary(max_size=60).filter(lambda text: BEGIN not in text)


@settings(deadline=None)  # the machine may be busy
@given(texts)
def test_taking_the_block_out_gives_the_file_back_byte_for_byte(text):
    assert without_block(with_block(text, LINE, "f"), "f") == text


@settings(deadline=None)  # the machine may be busy
@given(texts, st.lists(st.sampled_from([b"one", b"two", LINE]), min_size=1))
def test_any_number_of_installs_is_undone_by_one_uninstall(text, lines):
    now = text
    for line in lines:
        now = with_block(now, line, "f")
    assert now.count(BEGIN) == 1
    assert lines[-1] in now.split(b"\n")
    assert without_block(now, "f") == text


@settings(deadline=None)  # the machine may be busy
@given(texts, texts)
def test_what_is_added_behind_the_block_later_stays(text, later):
    text += b"" if text.endswith(b"\n") else b"\n"
    assert without_block(with_block(text, LINE, "f") + later, "f") == text + later


def test_a_line_without_an_end_is_not_glued_to_what_came_later():
    now = with_block(b"one", LINE, "f") + b"two\n"
    assert without_block(now, "f") == b"one\ntwo\n"


def test_a_file_that_was_made_for_the_block_is_deleted_and_an_empty_one_stays():
    assert without_block(with_block(None, LINE, "f"), "f") is None
    moved = with_block(with_block(None, b"old", "f"), LINE, "f")
    assert without_block(moved, "f") is None
    assert without_block(with_block(b"", LINE, "f"), "f") == b""
    assert without_block(with_block(None, LINE, "f") + b"mine\n", "f") == b"mine\n"


def test_an_editor_that_drops_the_last_newline_or_turns_it_to_crlf_does_no_harm():
    now = with_block(b"one\n", LINE, "f")
    assert without_block(now.rstrip(b"\n"), "f") == b"one\n"
    assert without_block(now.replace(b"\n", b"\r\n"), "f") == b"one\r\n"


def test_a_block_that_was_edited_goes_with_all_that_is_between_the_markers():
    now = with_block(b"one\n", LINE, "f").replace(LINE, b"echo edited\necho more")
    assert without_block(now, "f") == b"one\n"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"one\n" + BEGIN + b"\ntwo\n", 2),
        (BEGIN + b"\nx\n" + BEGIN + b"\ny\n" + END + b"\n", 1),  # whose end is it?
    ],
)
def test_a_block_without_an_end_is_refused_with_file_and_line(text, number):
    for change in (lambda: without_block(text, "/f"), lambda: with_block(text, LINE, "/f")):
        with pytest.raises(BlockBroken, match=rf"^/f:{number}: "):
            change()


def test_an_end_without_a_beginning_is_not_ours():
    assert without_block(END + b"\n", "f") == END + b"\n"


@pytest.mark.parametrize(
    ("shell", "there", "files"),
    [
        ("/bin/zsh", [], [".zshenv"]),
        ("/bin/bash", [], [".bashrc", ".profile"]),
        ("/bin/bash", [".profile", ".bash_profile"], [".bashrc", ".bash_profile"]),
        ("/bin/bash", [".profile", ".bash_login"], [".bashrc", ".bash_login"]),
        ("/usr/bin/fish", [], [".config/fish/conf.d/zz-opta-forge.fish"]),
        ("/bin/dash", [], [".profile"]),
        ("", [], [".profile"]),
    ],
)
def test_each_shell_has_its_files(tmp_path, shell, there, files):
    for name in there:
        (tmp_path / name).touch()
    env = {"HOME": str(tmp_path), "SHELL": shell}
    found = profiles(shell_of(env), env)
    assert found == [str(tmp_path / name) for name in files]
    assert set(found) <= set(all_profiles(env))


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh", "fish"])
@pytest.mark.parametrize(
    "directory", ["/opt/forge", "/home/me/bin", '/o p/$HOME "`x`\\', "/home/me/a$b", "/home/men/x"]
)
def test_the_line_puts_exactly_that_directory_first(shell, directory):
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} here")
    line = path_line(directory, shell, {"HOME": "/home/me"})
    show = "string join : $PATH" if shell == "fish" else 'printf "%s\\n" "$PATH"'
    env = {"HOME": "/home/me", "PATH": os.environ["PATH"]}
    done = subprocess.run([program, "-c", f"{line}\n{show}"], env=env, capture_output=True)
    assert done.stdout.decode() == f"{directory}:{os.environ['PATH']}\n"


def test_a_directory_below_home_is_written_so_that_dotfiles_can_travel():
    line = path_line("/home/me/bin", "bash", {"HOME": "/home/me"})
    assert line == 'export PATH="$HOME/bin:$PATH"'


@pytest.mark.parametrize("directory", ["/a:b", "/a\nb"])
def test_a_directory_that_path_cannot_hold_is_refused(directory):
    with pytest.raises(UsageMistake):
        path_line(directory, "bash", {"HOME": "/h"})


def test_a_linked_dotfile_stays_a_link_and_its_mode_is_kept(tmp_path):
    real = tmp_path / "dotfiles" / "bashrc"
    real.parent.mkdir()
    real.write_text("mine\n")
    real.chmod(0o640)
    link = tmp_path / ".bashrc"
    link.symlink_to("dotfiles/bashrc")
    for change in adding([str(link)], LINE.decode()):
        change.write()
    assert link.is_symlink()
    assert LINE in real.read_bytes()
    assert real.stat().st_mode & 0o777 == 0o640
    assert adding([str(link)], LINE.decode()) == []
    for change in removing([str(link)]):
        change.write()
    assert real.read_text() == "mine\n"
    assert os.listdir(real.parent) == ["bashrc"]  # no draft is left


def test_a_file_that_is_not_there_is_made_with_its_directory(tmp_path):
    file = tmp_path / "a" / "b" / "f"
    replace_file(str(file), b"x")
    assert file.read_bytes() == b"x"
    assert file.stat().st_mode & 0o777 == 0o644


def test_what_cannot_be_read_or_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserFileUnwritable, match="cannot be written"):
        replace_file(str(tmp_path / "file" / "x"), b"")
    with pytest.raises(UserFileUnwritable, match="cannot be read"):
        read_file(str(tmp_path))
    assert read_file(str(tmp_path / "none")) is None
    assert Path(tmp_path / "file").read_bytes() == b""
