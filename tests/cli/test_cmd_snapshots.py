"""`forge target save`, `restore`, `snapshots`, `unsave`, `adopt` and `disown`."""

import json
import os
from typing import Any

import pytest

from tests.cli.conftest import Forge, StartDaemon

FOUND = {"type": "resolved", "root": "/src/rg", "target_dir": "/mnt/rg-0123", "redirected": True,
         "why": "default"}  # fmt: skip


def a_snapshot(**changes: Any) -> dict[str, Any]:
    return {
        "id": "20261125-070035", "name": "rg-0123", "root": "/src/rg", "at": 1_700_000_000.0,
        "size_bytes": 5 << 30, "files": 9, "base": "b", "base_bytes": 1 << 30, "own_bytes": 1 << 20,
        "toolchain": "rustc 1.95.0", "left_out": 0, **changes,
    }  # fmt: skip


def a_result(task: str = "save", **changes: Any) -> dict[str, Any]:
    return {
        "task": task, "root": "/src/rg", "target_dir": "/mnt/rg-0123", "source": "/src/rg/target",
        "size_bytes": 5 << 30, "took_s": 8.0, "snapshot": None, **changes,
    }  # fmt: skip


MOUNTED = {"type": "disk", "disk": {}, "line": "mounted"}


def targets(*results: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "targets", "results": list(results), **more}


def test_save_asks_for_the_project_of_a_directory_and_says_what_was_kept(
    forge: Forge, daemon: StartDaemon
):
    fake = daemon(resolve=[FOUND], snapshot=[targets(a_result(snapshot=a_snapshot()))])
    result = forge("target", "save", "/")
    assert result.out == "/src/rg: snapshot 20261125-070035, 5.0 GiB in 1.0 GiB, 8.0 s\n"
    assert fake.requests[-1]["root"] == "/src/rg"


def test_save_all_names_no_project_and_says_what_did_not_work(forge: Forge, daemon: StartDaemon):
    fake = daemon(snapshot=[targets(a_result(), failure="no space")])
    result = forge("target", "save", "--all")
    assert result.out == "/src/rg: nothing has changed since its newest snapshot\n"
    assert "not all: no space" in result.err
    assert fake.requests[-1]["root"] is None


def test_restore_passes_on_which_one_and_whether_it_may_replace(forge: Forge, daemon: StartDaemon):
    fake = daemon(resolve=[FOUND], snapshot=[targets(a_result("restore"))], disk=[MOUNTED])
    result = forge("target", "restore", "/", "--snapshot", "20261125-070035", "--replace")
    assert result.out == "/src/rg: 5.0 GiB restored to /mnt/rg-0123, 8.0 s\n"
    request = fake.requests[-1]
    assert (request["verb"], request["id"], request["replace"]) == (
        "restore", "20261125-070035", True,
    )  # fmt: skip


@pytest.mark.parametrize("argv", [
    ("restore", "/", "--dry-run"),
    ("unsave", "20261125-070035", "--dry-run"),
])  # fmt: skip
def test_a_dry_run_says_what_it_would_do_and_only_asks(
    forge: Forge, daemon: StartDaemon, argv: tuple[str, ...]
):
    fake = daemon(resolve=[FOUND], snapshot=[targets(a_snapshot())])
    result = forge("target", *argv)
    assert result.out.startswith("would be ")
    assert "20261125-070035 of /src/rg, 5.0 GiB" in result.out
    assert [one.get("verb") for one in fake.requests if one["type"] == "snapshot"] == ["list"]


def test_a_dry_run_of_what_is_not_there_fails_as_the_real_one(forge: Forge, daemon: StartDaemon):
    daemon(snapshot=[targets()])
    assert forge("target", "unsave", "20261125-070035", "--dry-run").code == os.EX_NOINPUT


def test_snapshots_are_shown_with_what_they_take_together(forge: Forge, daemon: StartDaemon):
    more = {"total_bytes": 2 << 30, "most_bytes": 9 << 30, "directory": "/s", "by_itself": False}
    daemon(snapshot=[targets(a_snapshot(), **more)])
    lines = forge("target", "snapshots").out.splitlines()
    assert lines[1].split()[:2] == ["20261125-070035", "/src/rg"]
    assert lines[2] == "1 snapshot, 2.0 GiB of 9.0 GiB in /s; none is saved by itself"
    assert json.loads(forge("target", "snapshots", "--json").out)["results"] == [a_snapshot()]


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "rg"
    (root / "target" / "debug").mkdir(parents=True)
    (root / "Cargo.toml").touch()
    tag = "Signature: 8a477f597d28d172789f06886806bc55\n"
    (root / "target" / "CACHEDIR.TAG").write_text(tag)
    return root


def test_adopt_asks_nobody_where_nobody_is_and_moves_nothing(
    forge: Forge, daemon: StartDaemon, project
):
    fake = daemon(resolve=[FOUND], move=[targets()])
    result = forge("target", "adopt", str(project))
    assert result.code == os.EX_USAGE
    assert "`--yes` does not ask" in result.err
    assert fake.requests == []


def test_adopt_shows_what_it_could_move_without_a_daemon(forge: Forge, project):
    result = forge("target", "adopt", "-r", str(project.parent), "--dry-run")
    assert str(project / "target") in result.out
    shown = json.loads(forge("target", "adopt", str(project), "--dry-run", "--json").out)
    assert shown[0]["project"] == str(project)


def test_adopt_moves_each_and_goes_on_when_one_is_refused(
    forge: Forge, daemon: StartDaemon, project, tmp_path
):
    other = tmp_path / "zz"
    os.rename(project, other)
    os.makedirs(project)
    for one in ("Cargo.toml", "target"):
        os.symlink(other / one, project / one)  # a link is none of them
    refusal = {"type": "error", "slug": "target-busy", "message": "a cargo builds in it"}
    fake = daemon(resolve=[{**FOUND, "root": str(other)}], move=[refusal], disk=[MOUNTED])
    result = forge("target", "adopt", "-r", str(tmp_path), "--yes")
    assert result.code == os.EX_TEMPFAIL
    assert f"{other}/target: a cargo builds in it" in result.err
    assert fake.requests[-1]["root"] == str(other)


def test_adopt_leaves_alone_what_would_be_built_elsewhere(
    forge: Forge, daemon: StartDaemon, project
):
    fake = daemon(
        resolve=[{**FOUND, "root": "/src"}], disk=[MOUNTED]
    )  # a member of a workspace, with a leftover
    result = forge("target", "adopt", str(project), "--yes")
    assert result.code == os.EX_USAGE
    assert [one["type"] for one in fake.requests] == ["disk", "resolve"]


def test_disown_says_where_it_went(forge: Forge, daemon: StartDaemon):
    daemon(resolve=[FOUND, FOUND], move=[targets(a_result("disown"))])
    assert forge("target", "disown", "/").out == "/src/rg: 5.0 GiB moved to /src/rg/target, 8.0 s\n"
