"""What in a target dir is of little use: told from what cargo and rustc leave there."""

import json
import os
import time
from pathlib import Path

import pytest

from forge.host.stale_parts import stale_parts

DAY = 86400.0
NOW = time.time()


def unit(
    target: Path, name: str, *, used_days_ago: float, profile: str = "debug", rustc: int = 1,
    compiled_days_ago: float | None = None, **changes: object,
) -> None:  # fmt: skip
    """Write a unit as cargo does."""
    compiled = NOW - DAY * (used_days_ago if compiled_days_ago is None else compiled_days_ago)
    used = NOW - DAY * used_days_ago
    crate = name.rpartition("-")[0]
    place = target / profile / ".fingerprint" / name
    place.mkdir(parents=True)
    text = {"rustc": rustc, "features": "[]", "target": 7, "profile": 8, "path": 9,
            "compile_kind": 0, "rustflags": []}  # fmt: skip
    (place / f"lib-{crate}.json").write_text(json.dumps({**text, **changes}))
    (place / f"lib-{crate}").write_text("0123456789abcdef")
    for one in place.iterdir():
        os.utime(one, (compiled if one.suffix else used, compiled))
    deps = target / profile / "deps"
    deps.mkdir(exist_ok=True)
    under = crate.replace("-", "_")
    for file in (f"lib{under}-{name.rpartition('-')[2]}.rlib", f"{under}-{name[-3:]}.d"):
        (deps / file).write_bytes(b"x" * 4096)


def found(target: Path) -> dict[str, tuple[str, ...]]:
    return {one.why: one.paths for one in stale_parts(str(target))}


def test_a_unit_that_was_compiled_again_in_another_way_and_not_used_since_is_stale(tmp_path):
    unit(tmp_path, "my-app-aaa", used_days_ago=3)
    unit(tmp_path, "my-app-bbb", used_days_ago=0)
    (why,) = stale_parts(str(tmp_path))
    assert why.why == "compiled again since, in another way"
    assert why.paths == (
        "debug/.fingerprint/my-app-aaa",
        "debug/deps/libmy_app-aaa.rlib",
        "debug/deps/my_app-aaa.d",
    )
    assert why.size_bytes >= 8192


def test_what_another_toolchain_has_compiled_is_stale_when_nobody_uses_it(tmp_path):
    unit(tmp_path, "app-aaa", used_days_ago=3, rustc=1, path=1)
    unit(tmp_path, "old-bbb", used_days_ago=0.1, rustc=1, path=2)
    unit(tmp_path, "app-ccc", used_days_ago=0, rustc=2, path=3)
    assert found(tmp_path) == {
        "compiled by another toolchain": (
            "debug/.fingerprint/app-aaa", "debug/deps/app-aaa.d", "debug/deps/libapp-aaa.rlib",
        )
    }  # fmt: skip


@pytest.mark.parametrize(
    "second",
    [
        {"used_days_ago": 0.5},  # a read within a day may not have been noted
        {"used_days_ago": 3, "features": '["x"]'},  # another unit of the same crate
        {"used_days_ago": 3, "path": 10},  # another version
        {"used_days_ago": 3, "profile": "release"},  # another profile
        {"used_days_ago": 3, "compiled_days_ago": -1},  # compiled later
    ],
)
def test_a_unit_that_may_be_used_stays(tmp_path, second):
    unit(tmp_path, "app-bbb", used_days_ago=0)
    unit(tmp_path, "app-aaa", **second)
    assert found(tmp_path) == {}


def test_a_project_that_nobody_has_built_for_a_month_has_nothing_stale_for_that_alone(tmp_path):
    unit(tmp_path, "app-aaa", used_days_ago=30)
    unit(tmp_path, "dep-bbb", used_days_ago=30.1)
    assert found(tmp_path) == {}


def test_old_sessions_are_stale_and_the_last_whole_one_is_not(tmp_path):
    (tmp_path / "debug" / ".fingerprint").mkdir(parents=True)
    crate = tmp_path / "debug" / "incremental" / "app-xyz"
    for name in ("s-9zz-1-svh", "s-a00-2-svh", "s-a00b-3-svh", "s-b000-4-working"):
        (crate / name).mkdir(parents=True)
        (crate / name / "dep-graph.bin").write_bytes(b"x" * 4096)
        (crate / f"{name.rpartition('-')[0]}.lock").touch()
    (paths,) = found(tmp_path).values()
    left = {path.rpartition("/")[2] for path in paths}
    assert left == {
        "s-9zz-1-svh", "s-9zz-1.lock", "s-a00-2-svh", "s-a00-2.lock",
        "s-b000-4-working", "s-b000-4.lock",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", '{"rustc": "x"}', "1" * 5000])
def test_a_fingerprint_that_is_not_understood_is_left_alone(tmp_path, text):
    unit(tmp_path, "app-bbb", used_days_ago=0)
    unit(tmp_path, "app-aaa", used_days_ago=3)
    (tmp_path / "debug/.fingerprint/app-aaa/lib-app.json").write_text(text)
    assert found(tmp_path) == {}


def test_links_are_not_followed(tmp_path):
    other = tmp_path / "other"
    unit(other, "app-aaa", used_days_ago=3)
    unit(other, "app-bbb", used_days_ago=0)
    target = tmp_path / "target"
    target.mkdir()
    (target / "debug").symlink_to(other / "debug")
    assert found(target) == {}
    assert found(tmp_path / "none") == {}
