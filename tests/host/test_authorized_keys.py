"""authorized_keys is replaced as a whole, and only where it is what it should be."""

import os
import stat

import pytest

from forge.errors import KeysFileUnsafe
from forge.host.authorized_keys import locked, read_lines, replace_lines


def test_lines_of_others_stay_byte_by_byte(tmp_path):
    path = tmp_path / "authorized_keys"
    before = b"# caf\xe9\r\n\nssh-ed25519 AAAA me\n"
    path.write_bytes(before)
    path.chmod(0o600)
    replace_lines(str(path), read_lines(str(path)))
    assert path.read_bytes() == before


def test_the_file_and_its_directory_are_the_users_alone(tmp_path):
    path = tmp_path / "ssh" / "authorized_keys"
    with locked(str(path)):
        assert read_lines(str(path)) == []
        replace_lines(str(path), ["a line"])
    assert path.read_text() == "a line\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["authorized_keys"]


def make_symlink(path):
    (path.parent / "other").touch(mode=0o600)
    os.symlink("other", path)


def make_hard_link(path):
    (path.parent / "other").touch(mode=0o600)
    os.link(path.parent / "other", path)


def make_writable(path):
    path.touch()
    path.chmod(0o620)


def make_foreign(path):
    path.touch(mode=0o600)
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(path, 12345, -1)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (make_symlink, "symlink"),
        (make_hard_link, "plain file"),
        (make_writable, "others"),
        (make_foreign, "12345"),
        (lambda path: os.mkfifo(path, 0o600), "plain file"),
        (lambda path: path.mkdir(), "plain file"),
    ],
)
def test_a_file_that_somebody_else_may_have_a_hand_in_is_refused(tmp_path, make, why):
    path = tmp_path / "authorized_keys"
    make(path)
    with pytest.raises(KeysFileUnsafe, match=why):
        read_lines(str(path))


def test_a_file_that_cannot_be_written_stays_as_it_is(tmp_path):
    path = tmp_path / "authorized_keys"
    path.write_text("a line\n")
    (tmp_path / f"authorized_keys.{os.getpid()}.new").touch()  # something is in the way
    with pytest.raises(KeysFileUnsafe, match="cannot be written"):
        replace_lines(str(path), ["another"])
    assert path.read_text() == "a line\n"
