# mypy: disable-error-code="union-attr"
# A walk that finds nothing is None: the test fails then, as it should.
"""The walk of a target dir: what is counted, for which profile, and what is not followed."""

import os
import shutil
import socket
import subprocess
import sys

import pytest

from forge.host.disk_usage import measure_tree, walk_tree
from forge.host.ramdisk_linux import may_mount

KIB = 1024
RUSTC = '{{"rustc":{},"features":"[]"}}'


def put(path, kib=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(kib * KIB))
    return path


def unit(profile, name, digest, rustc, kib):
    """Write what cargo leaves of one unit."""
    fingerprint = profile / ".fingerprint" / f"{name}-{digest}"
    fingerprint.mkdir(parents=True)
    (fingerprint / f"lib-{name}.json").write_text(RUSTC.format(rustc))
    put(profile / "deps" / f"lib{name}-{digest}.rlib", kib)


@pytest.fixture
def target(tmp_path):
    root = tmp_path / "app-0123456789ab"
    debug, release = root / "debug", root / "x86_64-unknown-linux-musl" / "release"
    unit(debug, "app", "0123456789abcdef", 17, 64)
    unit(debug, "old", "fedcba9876543210", 16, 32)
    unit(release, "app", "00112233445566aa", 17, 16)
    put(debug / "incremental" / "app-1abc" / "s-x" / "dep-graph.bin", 8)
    put(root / "doc" / "app" / "index.html", 12)
    put(root / "tmp" / "scratch", 4)
    os.link(debug / "deps" / "libapp-0123456789abcdef.rlib", debug / "libapp.rlib")
    (root / ".rustc_info.json").write_text('{"x":"rustc 1.95.0 (59807616e 2026-04-14)\\nbinary"}')
    return root


def by_part(walked):
    found = {}
    for part in walked.parts.parts:
        found[part.place, part.kind] = part
    return found


def test_a_target_dir_is_told_by_profile_and_kind(target):
    parts = by_part(walk_tree(str(target)))
    musl = "x86_64-unknown-linux-musl/release"
    assert 96 * KIB <= parts["debug", "deps"].size_bytes < 112 * KIB
    assert parts["debug", "final"].size_bytes < 8 * KIB  # the program there is the one in deps
    assert 16 * KIB <= parts[musl, "deps"].size_bytes < 24 * KIB
    assert 8 * KIB <= parts["debug", "incremental"].size_bytes < 24 * KIB
    assert parts["", "doc"].size_bytes >= 12 * KIB
    assert {place for place, _ in parts} == {"", "debug", musl}


def test_the_sum_is_what_du_says(target):
    walked = walk_tree(str(target))
    du = subprocess.run(["du", "-sk", target], capture_output=True, text=True, check=True)
    assert walked.parts.size_bytes == int(du.stdout.split()[0]) * KIB


def test_each_rustc_has_what_it_made(target):
    toolchains = walk_tree(str(target)).parts.toolchains
    made = {(one.place, one.rustc): one for one in toolchains}
    assert made["debug", "17"].size_bytes >= 64 * KIB
    assert 32 * KIB <= made["debug", "16"].size_bytes < 48 * KIB
    assert {one.version for one in toolchains if one.rustc == "16"} == {None}
    assert "rustc 1.95.0 (59807616e 2026-04-14)" in {one.version for one in toolchains}


def test_profiles_that_a_build_has_not_touched_are_passed_over(target):
    walked = walk_tree(str(target), "debug")
    assert walked.kept == {"x86_64-unknown-linux-musl/release"}
    assert {part.place for part in walked.parts.parts} == {"", "debug"}
    again = walked.parts.after(walk_tree(str(target)).parts, walked.kept)
    assert again.size_bytes == walk_tree(str(target)).parts.size_bytes


def test_what_points_outside_is_neither_followed_nor_counted(target, tmp_path):
    before = measure_tree(str(target))
    put(tmp_path / "outside" / "big", 4096)
    (target / "debug" / "deps" / "dir").symlink_to(tmp_path / "outside")
    (target / "debug" / "file").symlink_to(tmp_path / "outside" / "big")
    (target / "loop").symlink_to(target)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(os.path.relpath(target / "s"))
    sock.close()
    os.mkfifo(target / "fifo")
    after = measure_tree(str(target))
    assert after.files == before.files + 5
    assert after.size_bytes - before.size_bytes < 64 * KIB


@pytest.mark.skipif(not may_mount(), reason="only root may mount")
def test_what_is_mounted_inside_is_not_counted(target):
    inside = target / "debug" / "deps" / "mounted"
    inside.mkdir()
    before = measure_tree(str(target))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", inside], check=True)
    try:
        put(inside / "big", 512)
        assert measure_tree(str(target)).size_bytes <= before.size_bytes
    finally:
        subprocess.run(["umount", inside], check=True)


def test_names_that_are_not_utf_8_are_counted_and_told(tmp_path):
    root = os.fsencode(tmp_path / "t")
    os.makedirs(root + b"/\xff/debug/.fingerprint")
    walked = walk_tree(os.fsdecode(root))
    assert "\udcff/debug" in {part.place for part in walked.parts.parts}


def test_what_vanishes_or_cannot_be_read_ends_no_walk(target):
    shutil.rmtree(target / "debug" / ".fingerprint" / "old-fedcba9876543210")
    (target / "debug" / ".fingerprint" / "app-0123456789abcdef" / "lib-app.json").unlink()
    os.mkfifo(target / "debug" / ".fingerprint" / "app-0123456789abcdef" / "lib-app.json")
    assert walk_tree(str(target)).parts.size_bytes > 0
    assert walk_tree(str(target / "no")) is None


def test_where_no_process_can_be_started_the_walk_is_made_here(target, monkeypatch):
    whole = walk_tree(str(target))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    here = walk_tree(str(target), "debug")
    assert here.parts.size_bytes == whole.parts.size_bytes
    assert here.kept == frozenset()


def test_many_small_files_are_walked_in_time_that_five_millions_can_bear(tmp_path):
    """Scaled: 20 000 files; tests/bench/walk.py does it with millions."""
    deps = tmp_path / "t" / "debug" / "deps"
    (deps.parent / ".fingerprint").mkdir(parents=True)
    deps.mkdir()
    for number in range(20_000):
        (deps / f"f{number}").touch()
    assert measure_tree(str(tmp_path / "t")).files == 20_004
