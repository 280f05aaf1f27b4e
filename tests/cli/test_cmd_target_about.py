"""`forge target show`, `du`, `why` and `mode`."""

import json
import os

import pytest

from tests.cli.conftest import Forge, StartDaemon
from tests.cli.fakes import a_status, a_target_dir

PART = {"place": "debug", "kind": "deps", "size_bytes": 3 << 30, "files": 1200}
RUSTC = {"place": "debug", "rustc": "17", "size_bytes": 2 << 30, "units": 40, "used_at": 1.0,
         "version": "rustc 1.95.0 (59807616e 2026-04-14)"}  # fmt: skip
ONE = {
    **a_target_dir(), "path": "/mnt/rg-0123", "root": "/src/\udcff rg", "mode": "build-dir",
    "size_bytes": 4 << 30, "files": 2, "in_use_by": ["b7"], "parts": [PART], "toolchains": [RUSTC],
    "last": {"build": "b7", "verb": "check", "profile": "dev", "priority": "batch", "via": "cargo",
             "who": "agent"},
}  # fmt: skip
ABOUT = {"type": "about", "path": "/x", "target_dir": ONE, "why": ["it is there", "it stays"]}
NONE = {**ABOUT, "target_dir": None}
WHERE = {"type": "resolved", "root": "/src/rg", "target_dir": "/mnt/rg-0123", "redirected": True,
         "why": "default", "mode": "target-dir"}  # fmt: skip


def test_show_tells_size_user_parts_and_toolchains(forge: Forge, daemon: StartDaemon, tmp_path):
    fake = daemon(about_path=[ABOUT])
    result = forge("target", "show", str(tmp_path))
    assert result.code == 0
    assert fake.requests[0]["path"] == os.path.realpath(tmp_path)
    for told in ("4.0 GiB in 2 files", "`cargo check` (dev), batch, by agent through `cargo`", "b7",
                 "build-dir", "deps", "3.0 GiB", "rustc 1.95.0"):  # fmt: skip
        assert told in result.out, told
    assert json.loads(forge("target", "show", "--json").out)["parts"] == [PART]


def test_show_in_a_members_directory_finds_the_workspaces(forge, daemon, tmp_path):
    answers = iter((NONE, ABOUT))
    fake = daemon(about_path=[lambda: next(answers)], resolve=[WHERE])
    assert forge("target", "show", str(tmp_path)).code == 0
    assert fake.requests[-1]["path"] == "/mnt/rg-0123"


def test_show_of_what_has_none_says_so(forge: Forge, daemon: StartDaemon):
    daemon(about_path=[NONE])
    result = forge("target", "show", "/no/such/place")
    assert result.code == os.EX_NOINPUT
    assert "/no/such/place has no target dir on the RAM disk" in result.err


def test_du_tells_the_largest_first_and_the_sum(forge: Forge, daemon: StartDaemon):
    small = a_target_dir(root="/src/small", size_bytes=1 << 20, files=1)
    unknown = a_target_dir(root=None, path="/mnt/x", size_bytes=None, files=0)
    large = a_target_dir(root="/src/large", size_bytes=1 << 30, files=2)
    daemon(status=[a_status(target_dirs=[small, unknown, large])])
    result = forge("target", "du")
    assert result.out.index("/src/large") < result.out.index("/src/small")
    assert "1.0 GiB in 3 files of 3 target dirs" in result.out
    assert "not measured" in result.out
    assert [one["root"] for one in json.loads(forge("target", "du", "--json").out)] == [
        "/src/large", "/src/small", None,
    ]  # fmt: skip


def test_du_of_a_project_tells_its_parts(forge: Forge, daemon: StartDaemon):
    daemon(about_path=[ABOUT])
    assert "1200" in forge("target", "du", "/x").out
    assert json.loads(forge("target", "du", "/x", "--json").out) == [PART]


def test_why_prints_its_reasons(forge: Forge, daemon: StartDaemon):
    daemon(about_path=[ABOUT])
    assert forge("target", "why", "/x").out == "it is there\nit stays\n"
    assert json.loads(forge("target", "why", "/x", "--json").out)["why"] == ABOUT["why"]


@pytest.mark.parametrize("words", [("build-dir",), (".", "build-dir")])
def test_mode_chooses_one(forge: Forge, daemon: StartDaemon, words):
    fake = daemon(resolve=[WHERE], set_target_mode=[{"type": "ok", "line": "done"}])
    assert forge("target", "mode", *words).out == "done\n"
    request = fake.requests[-1]
    assert (request["root"], request["mode"]) == ("/src/rg", "build-dir")


def test_mode_shows_the_one_that_holds(forge: Forge, daemon: StartDaemon):
    fake = daemon(resolve=[WHERE])
    assert forge("target", "mode").out == "target-dir\n"
    shown = json.loads(forge("target", "mode", "--json").out)
    assert shown == {"root": "/src/rg", "mode": "target-dir", "was": "target-dir"}
    assert {request["type"] for request in fake.requests} == {"resolve"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "neither a directory nor a mode"),
        ((".", "ssd"), "no mode 'ssd'"),
        ((".", "build-dir", "x"), "too many words"),
    ],
)
def test_mode_refuses_what_it_does_not_know(forge: Forge, daemon: StartDaemon, words, said):
    daemon(resolve=[WHERE])
    result = forge("target", "mode", *words)
    assert result.code == os.EX_USAGE
    assert said in result.err


def test_mode_outside_any_project_says_so(forge: Forge, daemon: StartDaemon):
    daemon(resolve=[{**WHERE, "root": None, "why": "no Cargo.toml"}])
    assert "is in no project: no Cargo.toml" in forge("target", "mode", "build-dir").err
