import os
from pathlib import Path

import pytest

from forge.core.disk import DiskKind
from forge.host.disk_marker import (
    MAX_MARKER_BYTES,
    DiskMarker,
    new_token,
    read_marker,
    write_marker,
)
from forge.host.ramdisk import MARKER_NAME

OWN = f'{{"token": "t", "uid": {os.getuid()}, "kind": "apfs", "size_mib": 64}}'


def marker(token: str = "t") -> DiskMarker:
    return DiskMarker(token, os.getuid(), DiskKind.APFS, 64)


def test_a_marker_reads_back_as_it_was_written(tmp_path: Path):
    write_marker(tmp_path, marker())
    assert read_marker(tmp_path) == marker()


def test_a_marker_is_readable_by_its_owner_alone_and_leaves_no_draft(tmp_path: Path):
    write_marker(tmp_path, marker())
    assert [path.name for path in tmp_path.iterdir()] == [MARKER_NAME]
    assert (tmp_path / MARKER_NAME).stat().st_mode & 0o777 == 0o600


def test_a_new_marker_takes_the_place_of_the_old(tmp_path: Path):
    write_marker(tmp_path, marker("old"))
    write_marker(tmp_path, marker("new"))
    assert read_marker(tmp_path) == marker("new")


def test_no_two_tokens_are_alike():
    assert len({new_token() for _ in range(100)}) == 100


def test_a_missing_marker_is_none(tmp_path: Path):
    assert read_marker(tmp_path) is None
    assert read_marker(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "\x00" * 100,
        "[" * 60000,  # deep nesting must not end us
        '{"token": "t"}',
        OWN.replace('"t"', '""'),
        OWN.replace('"t"', "7"),
        OWN.replace("64", "0"),
        OWN.replace("64", "true"),
        OWN.replace("64", '"64"'),
        OWN.replace("apfs", "ext4"),
        OWN.replace('"apfs"', "[]"),
        OWN.replace(str(os.getuid()), str(os.getuid() + 1)),
        OWN + " " * MAX_MARKER_BYTES,  # right, and too long
    ],
)
def test_what_is_no_whole_marker_of_ours_proves_nothing(tmp_path: Path, text: str):
    (tmp_path / MARKER_NAME).write_text(text)
    assert read_marker(tmp_path) is None


def test_the_table_above_starts_from_a_marker_that_is_right(tmp_path: Path):
    (tmp_path / MARKER_NAME).write_text(OWN)
    assert read_marker(tmp_path) == marker()


def test_bytes_that_are_no_text_prove_nothing(tmp_path: Path):
    (tmp_path / MARKER_NAME).write_bytes(b"\xff\xfe\xfd")
    assert read_marker(tmp_path) is None


def test_a_symlink_is_never_followed(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    write_marker(tmp_path / "elsewhere", marker())
    (tmp_path / MARKER_NAME).symlink_to(tmp_path / "elsewhere" / MARKER_NAME)
    assert read_marker(tmp_path) is None


def test_a_directory_is_no_marker(tmp_path: Path):
    (tmp_path / MARKER_NAME).mkdir()
    assert read_marker(tmp_path) is None


def test_a_fifo_neither_counts_nor_blocks(tmp_path: Path):
    os.mkfifo(tmp_path / MARKER_NAME)
    assert read_marker(tmp_path) is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_proves_nothing(tmp_path: Path):
    (tmp_path / MARKER_NAME).write_text(OWN)
    os.chown(tmp_path / MARKER_NAME, 12345, -1)
    assert read_marker(tmp_path) is None
