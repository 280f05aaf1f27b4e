"""`forge target`."""

import json
import os

import pytest

from forge.cli.main import run
from tests.cli.conftest import Forge, StartDaemon
from tests.cli.fakes import a_status, a_target_dir

FOUND = {"type": "resolved", "root": "/src/rg", "target_dir": "/mnt/rg-0123", "redirected": True,
         "why": "default"}  # fmt: skip


def test_path_prints_nothing_but_the_path(forge: Forge, daemon: StartDaemon, env, tmp_path):
    env |= {"CARGO_TARGET_DIR": "/elsewhere", "SECRET_TOKEN": "s3cret"}
    fake = daemon(resolve=[FOUND])
    result = forge("target", "path", str(tmp_path))
    assert (result.code, result.out, result.err) == (0, "/mnt/rg-0123\n", "")
    (request,) = fake.requests
    assert (request["cwd"], request["argv"]) == (str(tmp_path), ["build"])
    assert request["env"]["CARGO_TARGET_DIR"] == "/elsewhere"
    assert "SECRET_TOKEN" not in request["env"]


def test_path_takes_the_directory_one_stands_in(
    forge: Forge, daemon: StartDaemon, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    fake = daemon(resolve=[FOUND])
    assert forge("target", "path").code == 0
    assert fake.requests[0]["cwd"] == str(tmp_path)


def test_path_gives_back_bytes_that_are_not_utf_8(daemon: StartDaemon, capfdbinary, env):
    daemon(resolve=[{**FOUND, "target_dir": "/mnt/\udcff"}])
    assert run(["target", "path", "/"], env) == 0
    assert capfdbinary.readouterr().out == b"/mnt/\xff\n"


def test_path_says_why_when_nothing_is_redirected(forge: Forge, daemon: StartDaemon):
    daemon(resolve=[{**FOUND, "target_dir": None, "redirected": False, "why": "CARGO_TARGET_DIR"}])
    result = forge("target", "path", "/")
    assert result.code == os.EX_NOINPUT
    assert result.out == ""
    assert "/src/rg is not built on the RAM disk: CARGO_TARGET_DIR" in result.err
    assert json.loads(forge("target", "path", "/", "--json").out)["redirected"] is False


def test_path_in_a_directory_that_was_deleted_says_so(forge: Forge, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = forge("target", "path")
    monkeypatch.chdir(tmp_path)
    assert result.code in (os.EX_NOINPUT, os.EX_USAGE)  # the OS decides whether `.` still is one
    assert result.err.count("\n") == 1


def test_list_shows_each_target_dir_with_its_project(forge: Forge, daemon: StartDaemon):
    dirs = [a_target_dir(), a_target_dir(path="/mnt/x-1", root=None, size_bytes=None, in_use_by=[])]
    daemon(status=[a_status(target_dirs=dirs)])
    lines = forge("target", "list").out.splitlines()
    assert lines[0].split() == [
        "project",
        "size",
        "last",
        "used",
        "in",
        "use",
        "by",
        "target",
        "dir",
    ]
    assert "/mnt/OptaBuilds/ripgrep-0123456789ab" in lines[1]
    assert "unknown" in lines[2]
    assert "not measured" in lines[2]
    assert json.loads(forge("target", "list", "--json").out) == dirs


def test_list_names_what_is_on_the_ssd_and_why(forge: Forge, daemon: StartDaemon):
    spilled = {"root": "/src/big", "path": "/ssd/big-1", "why": "the RAM disk had 3 MiB free"}
    daemon(status=[a_status(target_dirs=[], spilled=[spilled])])
    out = forge("target", "list").out
    assert "on the SSD: /src/big in /ssd/big-1: the RAM disk had 3 MiB free" in out


@pytest.mark.parametrize("argv", [["target", "list"], ["target", "list", "--json"]])
def test_list_starts_no_daemon(forge: Forge, place, argv):
    assert forge(*argv).code == os.EX_UNAVAILABLE
    assert not (place / "state").exists()
