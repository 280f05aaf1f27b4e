import pytest

from forge.core.units import parse_size_mib, plural, show_bytes, show_duration, show_mib
from forge.core.workspace import target_dir_name


@pytest.mark.parametrize(
    ("text", "mib"),
    [("64GiB", 65536), ("512 MiB", 512), ("1.5g", 1536), ("2T", 2 * 1024 * 1024), (" 1M ", 1)],
)
def test_sizes_are_read_as_people_write_them(text, mib):
    assert parse_size_mib(text) == mib


@pytest.mark.parametrize("text", ["64", "64GB", "GiB", "-1GiB", "1e3GiB", ""])
def test_a_size_that_would_be_guessed_is_refused(text):
    with pytest.raises(ValueError, match="is not a size"):
        parse_size_mib(text)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (show_mib(512), "512 MiB"),
        (show_mib(6144), "6.0 GiB"),
        (show_bytes(17), "17 B"),
        (show_bytes(3300), "3.2 KiB"),
        (show_duration(0.42), "0.4 s"),
        (show_duration(200), "3 min 20 s"),
        (show_duration(3600), "1 h"),
        (show_duration(2 * 86400 + 4 * 3600 + 60), "2 d 4 h"),
        (plural(1, "build"), "1 build"),
        (plural(0, "build"), "0 builds"),
    ],
)
def test_values_are_shown_as_people_read_them(shown, text):
    assert shown == text


def test_two_checkouts_of_one_name_have_two_dirs():
    assert target_dir_name("/a/app") != target_dir_name("/b/app")


@pytest.mark.parametrize(
    "root", ["/a/mein Projekt", "/a/日本", "/a/..x", "/", "/a/\udcff", "/a/" + "n" * 300]
)
def test_a_target_dirs_name_is_plain_whatever_the_project_is_called(root):
    name = target_dir_name(root)
    assert name.isascii()
    assert len(name) < 60
    assert not name.startswith((".", "-"))
    assert not set(name) & set(" /$'\"\\:;")
