"""Small files are whole or not there."""

import json
import os
import stat
import subprocess
import sys

import pytest

from forge.host.whole_files import replace_file, replace_json


def test_a_file_is_replaced_with_its_mode_and_leaves_no_draft(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o644)
    replace_file(str(path), "n\udc80w")
    assert path.read_bytes() == b"n\x80w"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    replace_json(str(path), {"a": [1]})
    assert json.loads(path.read_text()) == {"a": [1]}
    assert os.listdir(tmp_path) == ["file"]


def test_what_cannot_be_put_in_place_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        replace_file(str(tmp_path / "taken"), "x")
    assert os.listdir(tmp_path) == ["taken"]


def test_a_full_disk_keeps_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4, 4));"
        "from forge.host.whole_files import replace_file; replace_file(sys.argv[1], 'x' * 99)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], stderr=-3).returncode == 1
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]
