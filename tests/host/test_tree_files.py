"""A tree is written below its directory, whatever has been put in the way."""

import os
import stat
from pathlib import Path

import pytest

from forge.host.tree_files import TreeFiles, is_within, make_below, open_below

NS = 1_600_000_000_123_456_789


class Place:
    """A tree beside something that is none of its business."""

    def __init__(self, home: Path) -> None:
        self.tree, self.outside, self.staging = home / "tree", home / "outside", home / "staging"
        for one in (self.tree, self.outside, self.staging):
            one.mkdir()
        (self.outside / "file").write_text("mine")
        self.staging_fd = os.open(self.staging, os.O_RDONLY)
        self.files = TreeFiles(str(self.tree))

    def put(self, path: bytes, content: str = "new", mode: int = 0o644) -> None:
        (self.staging / "s").write_text(content)
        self.files.put_file(path, b"s", self.staging_fd, mode, NS)

    def close(self) -> None:
        self.files.close()
        os.close(self.staging_fd)


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    yield made
    made.close()
    assert [one.name for one in made.outside.iterdir()] == ["file"]
    assert (made.outside / "file").read_text() == "mine"
    assert stat.S_IMODE((made.outside / "file").stat().st_mode) != 0o4755


def test_a_file_is_there_with_its_content_mode_and_time_to_the_nanosecond(place):
    place.files.make_directory(b"src")
    place.put(b"src/caf\xe9", mode=0o755)
    found = os.stat(os.fsencode(place.tree) + b"/src/caf\xe9")
    assert (found.st_mtime_ns, stat.S_IMODE(found.st_mode)) == (NS, 0o755)


@pytest.mark.parametrize("target", ["../outside", "/etc", "src2"])
def test_a_symlink_on_the_way_is_an_error_and_no_way_out(place, target):
    (place.tree / "src2").mkdir()
    os.symlink(target, place.tree / "src")
    with pytest.raises(OSError, match="src"):
        place.put(b"src/file")
    with pytest.raises(OSError, match="src"):
        place.files.open_file(b"src/file")
    with pytest.raises(OSError, match="src"):
        place.files.set_mode(b"src/file", 0o777, NS)
    with pytest.raises(OSError, match="src"):
        place.files.read_link(b"src/file")
    place.files.remove(b"src/file")  # where nothing of ours is, nothing is to be removed
    assert not list((place.tree / "src2").iterdir())


def test_a_symlink_in_the_place_of_a_file_is_replaced_and_not_followed(place):
    os.symlink("../outside/file", place.tree / "a")
    place.put(b"a")
    assert not (place.tree / "a").is_symlink()
    assert (place.tree / "a").read_text() == "new"


def test_a_hard_link_to_something_else_is_replaced_and_not_written_through(place):
    os.link(place.outside / "file", place.tree / "a")
    place.put(b"a", mode=0o777)
    assert (place.tree / "a").read_text() == "new"


def test_a_directory_in_the_place_of_a_file_goes_with_all_that_is_in_it(place):
    (place.tree / "a" / "b").mkdir(parents=True)
    os.symlink("../../../outside", place.tree / "a" / "b" / "link")
    place.put(b"a")
    assert (place.tree / "a").read_text() == "new"


def test_a_symlink_in_the_place_of_a_directory_is_replaced(place):
    os.symlink("../outside", place.tree / "a")
    place.files.make_directory(b"a")
    place.put(b"a/file")
    assert (place.tree / "a" / "file").read_text() == "new"


def test_a_symlink_is_made_and_remade_with_its_time(place):
    for target in (b"x", b"y"):
        place.files.put_symlink(b"l", target, NS)
    assert os.readlink(place.tree / "l") == "y"
    assert os.lstat(place.tree / "l").st_mtime_ns == NS


def test_what_builds_have_made_in_a_directory_that_goes_stays(place):
    place.files.make_directory(b"a")
    (place.tree / "a" / "generated").touch()
    place.files.remove(b"a")
    assert (place.tree / "a" / "generated").exists()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_plain_file_is_not_read(place, make):
    make(place.tree / "a")
    with pytest.raises(OSError, match="a"):
        place.files.open_file(b"a")  # and does not wait for a writer


def test_a_directory_is_opened_component_by_component(place):
    top = os.open(place.tree, os.O_RDONLY)
    try:
        os.close(make_below(top, b"a/b"))
        os.symlink("a", place.tree / "link")
        os.close(open_below(top, b"a/b"))
        for path in (b"link/b", b"a/missing"):
            with pytest.raises(OSError, match=r"link|missing"):
                open_below(top, path)
        os.symlink("../outside", place.tree / "out")
        with pytest.raises(OSError, match="out"):
            make_below(top, b"out/x")
    finally:
        os.close(top)


def test_all_can_be_taken_away_without_following_a_link(place):
    (place.tree / "a" / "b").mkdir(parents=True)
    os.symlink("../outside", place.tree / "link")
    os.symlink("../../outside", place.tree / "a" / "link")
    place.files.clear()
    assert not list(place.tree.iterdir())


@pytest.mark.parametrize(
    ("path", "within"),
    [("/a/b", True), ("/a/b/c", True), ("/a/bc", False), ("/a", False), ("/a/b/../c", False)],
)
def test_what_is_within_a_directory_is_told_by_whole_components(path, within):
    assert is_within(path, "/a/b") is within


def test_a_directory_below_is_reached_through_no_symlink(place):
    os.symlink("../outside", place.tree / "target")
    with pytest.raises(OSError, match="target"):
        TreeFiles(str(place.tree), b"target")
    os.symlink("outside", place.tree.parent / "link")
    with pytest.raises(OSError, match="link"):
        TreeFiles(str(place.tree.parent / "link"))
