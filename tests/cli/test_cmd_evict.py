"""`forge target clean`."""

import json
import os

import pytest

from tests.cli.conftest import Forge, StartDaemon
from tests.cli.fakes import a_status

FOUND = {"type": "resolved", "root": "/src/rg", "target_dir": "/mnt/rg-0123", "redirected": True,
         "why": "default"}  # fmt: skip
PART = {"path": "/mnt/rg-0123", "parts": ["debug/incremental/rg/s-1"], "size_bytes": 2048,
        "why": "incremental data of old sessions"}  # fmt: skip
NOTHING = {"type": "room", "would": [], "freed": [], "kept": []}


def replies(room):
    return {"resolve": [FOUND], "status": [a_status()], "room": [room]}


def test_clean_deletes_the_whole_target_dir_unless_told_otherwise(
    forge: Forge, daemon: StartDaemon, tmp_path
):
    freed = {"target_dir": "/mnt/rg-0123", "freed_bytes": 2048, "why": "somebody asked"}
    fake = daemon(**replies({**NOTHING, "freed": [freed]}))
    result = forge("target", "clean", str(tmp_path))
    assert result.code == 0, result.err
    assert "2.0 KiB freed" in result.out
    (asked,) = [one for one in fake.requests if one["type"] == "room"]
    assert (asked["verb"], asked["root"], asked["dry_run"]) == ("evict", "/src/rg", False)
    assert not asked.get("stale")


def test_clean_stale_names_the_parts(forge: Forge, daemon: StartDaemon, tmp_path):
    fake = daemon(**replies({**NOTHING, "would": [PART]}))
    result = forge("target", "clean", "--stale", "--dry-run", str(tmp_path))
    assert "incremental data of old sessions" in result.out
    assert "nothing was done" in result.out
    (asked,) = [one for one in fake.requests if one["type"] == "room"]
    assert asked["stale"] is True
    assert asked["dry_run"] is True
    as_json = forge("target", "clean", "--stale", "--dry-run", "--json", str(tmp_path))
    assert json.loads(as_json.out)["would"] == [PART]


@pytest.mark.parametrize(("options", "code"), [([], os.EX_TEMPFAIL), (["--stale"], 0)])
def test_with_nothing_to_delete_clean_fails_and_clean_stale_says_so(
    forge: Forge, daemon: StartDaemon, tmp_path, options, code
):
    daemon(**replies(NOTHING))
    assert forge("target", "clean", *options, str(tmp_path)).code == code
