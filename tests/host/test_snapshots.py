"""Snapshots, on real trees: what is kept, what is refused, and what is left behind: nothing."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from forge.core.snapshots import Snapshot
from forge.errors import (
    DiskUnavailable,
    NoSuchSnapshot,
    SnapshotFailed,
    SnapshotRefused,
    TargetDirBusy,
    TreeRefused,
)
from forge.host import restoring, saving
from forge.host.snapshot_files import (
    INDEX,
    LAYERS,
    MANIFEST,
    Placed,
    decode_index,
    encode_index,
)
from forge.host.snapshots import SnapshotStore
from forge.host.target_dirs import sweep_drafts
from forge.host.trees import Entry, Kind, remove_tree
from tests.host.trees import NOT_UTF8, add_special, content, disk_at, odd_tree
from tests.scenarios.conftest import may_mount

PLENTY = 1 << 40


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return odd_tree(tmp_path / "m" / "app-1")


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(str(tmp_path / "s" / "snapshots"), reserve_bytes=0)


def save(store: SnapshotStore, target: Path, most: int = PLENTY, **fields) -> Snapshot:
    snapshot = saving.save(store, source(target), most, **fields)
    assert snapshot
    return snapshot


def source(target: Path, token: str = "t") -> saving.Source:
    return saving.Source(str(target), "/src/app", token, target.name)


def restore(store: SnapshotStore, snapshot: Snapshot, place: Path, **fields) -> str:
    place.mkdir(exist_ok=True)
    return restoring.restore(store, snapshot, disk_at(place, "later"), PLENTY, **fields)


def left_in(directory: str) -> list[str]:
    return [name for _, names, files in os.walk(directory) for name in (*names, *files)]


def test_what_was_saved_is_restored_to_the_nanosecond(store, target, tmp_path):
    add_special(target)
    snapshot = save(store, target)
    assert snapshot.left_out == 2
    (target / "pipe").unlink()
    (target / "socket").unlink()
    os.utime(target, ns=(0, 0))
    path = restore(store, snapshot, tmp_path / "other")
    assert path == str(tmp_path / "other" / "app-1")
    assert content(path) == content(target)
    holes = os.stat(f"{path}/debug/deps/holes")
    assert holes.st_blocks * 512 < holes.st_size / 2
    one, other = (os.stat(f"{path}/debug/{name}") for name in ("liba.rlib", "deps/liba-1.rlib"))
    assert one.st_ino == other.st_ino


def test_any_tar_unpacks_it(store, target, tmp_path):
    if not (shutil.which("tar") and shutil.which("zstd")):
        pytest.skip("there is no tar or no zstd")
    snapshot = save(store, target)
    layer = os.path.join(store.place(snapshot.name, snapshot.id), LAYERS[0])
    (tmp_path / "by-tar").mkdir()
    subprocess.run(
        f"zstd -dc '{layer}' | tar -x -C '{tmp_path / 'by-tar'}'", shell=True, check=True
    )
    odd = os.fsencode(NOT_UTF8)  # tars differ in what they make of a name that is not UTF-8
    ours = [one for one in content(target) if odd not in os.fsencode(f"{one[0]}{one[5]}")]
    names = {one[0] for one in ours}
    assert [one for one in content(tmp_path / "by-tar") if one[0] in names] == ours


def test_an_unchanged_tree_is_not_saved_again(store, target):
    save(store, target)
    assert saving.save(store, source(target), PLENTY) is None


def test_only_what_changed_is_saved_and_both_states_can_be_had(store, target, tmp_path):
    first = save(store, target)
    before = content(target)
    (target / "debug" / "deps" / "tool").write_text("changed")
    (target / "debug" / "liba.rlib").unlink()  # changes the file behind its other name too
    (target / "debug" / "new").write_text("new")
    second = save(store, target)
    assert second.base == first.base
    assert second.own_bytes < first.base_bytes + 400_000
    assert content(restore(store, second, tmp_path / "b")) == content(target)
    assert content(restore(store, first, tmp_path / "a")) == before
    store.remove(first)
    shutil.rmtree(tmp_path / "b")
    assert content(restore(store, second, tmp_path / "b")) == content(target)


def test_what_was_restored_is_known_on_its_new_disk(store, target, tmp_path):
    snapshot = save(store, target)
    path = Path(restore(store, snapshot, tmp_path / "other"))
    assert [one.disk for one in store.known()] == ["later"]
    assert saving.save(store, source(path, "later"), PLENTY) is None
    assert saving.save(store, source(path, "another"), PLENTY) is not None  # knows no inode there


def test_when_most_has_changed_all_is_saved_anew(store, target):
    first = save(store, target)
    (target / "debug" / "deps" / "liba-1.rlib").write_bytes(os.urandom(6_000_000))
    (target / "debug" / "deps" / "holes").unlink()
    assert save(store, target).base != first.base


def flip(path: str, at: float) -> None:
    data = bytearray(Path(path).read_bytes())
    data[int(len(data) * at)] ^= 0x10
    Path(path).write_bytes(data)


def cut(path: str) -> None:
    os.truncate(path, os.path.getsize(path) // 2)


def change_format(path: str) -> None:
    Path(path).write_text(json.dumps({**json.loads(Path(path).read_text()), "format": 2}))


@pytest.mark.parametrize(("name", "damage", "said"), [
    (LAYERS[0], lambda path: flip(path, 0.5), "digest"),
    (LAYERS[0], lambda path: flip(path, 0.999), "digest"),
    (LAYERS[0], cut, "ends"),
    (LAYERS[0], os.unlink, "No such file"),
    (INDEX, lambda path: flip(path, 0.5), "damaged"),
    (INDEX, cut, "damaged"),
    (INDEX, os.unlink, "No such file"),
    (MANIFEST, lambda path: flip(path, 0.5), "manifest"),
    (MANIFEST, cut, "manifest"),
    (MANIFEST, os.unlink, "No such file"),
    (MANIFEST, change_format, "format is 2"),
])  # fmt: skip
def test_a_damaged_snapshot_is_refused_and_nothing_is_half_restored(
    store, target, tmp_path, name, damage, said
):
    snapshot = save(store, target)
    damage(os.path.join(store.place(snapshot.name, snapshot.id), name))
    with pytest.raises(SnapshotRefused, match=said):
        restore(store, snapshot, tmp_path / "other")
    assert left_in(str(tmp_path / "other")) == []


def test_one_damaged_snapshot_does_not_hide_the_others(store, target):
    snapshot = save(store, target)
    (target / "new").touch()
    other = save(store, target)
    os.unlink(os.path.join(store.place(snapshot.name, snapshot.id), MANIFEST))
    assert [one.id for one in store.known()] == [other.id]


def entry(path: str, kind: Kind = Kind.FILE, target: str = "") -> Placed:
    return Placed(Entry(path, kind, 0o600, 0, 0, target=target), 0)


@pytest.mark.parametrize("placed", [
    [entry("../x")],
    [entry("/etc/x")],
    [entry("a", Kind.DIRECTORY), entry("a/../../x")],
    [entry("a", Kind.LINK, "/etc"), entry("a/x")],  # through a link
    [entry("missing/x")],
    [entry("x"), entry("x")],
    [entry("a", Kind.DIRECTORY), entry("a/")],
    [entry(".")],
    [entry("x", Kind.HARD_LINK, "/etc/passwd")],
    [entry("l", Kind.LINK, "/etc/passwd"), entry("x", Kind.HARD_LINK, "l")],
])  # fmt: skip
def test_an_index_that_leads_outside_is_refused(placed):
    with pytest.raises(SnapshotRefused):
        decode_index(encode_index(placed))


def test_one_with_an_index_of_a_stranger_writes_nothing(store, target, tmp_path):
    """A layer may say what it likes: only what the index names is taken."""
    snapshot = save(store, target)
    wanted = [one for one in store.index(snapshot.name, snapshot.id) if "/" not in one.entry.path]
    restoring_one = restoring._Restoring(store, snapshot, str(tmp_path / "d"), wanted, _pass)
    (tmp_path / "d").mkdir()
    restoring_one.run()
    assert sorted(os.listdir(tmp_path / "d")) == sorted(one.entry.path for one in wanted)
    assert os.listdir(tmp_path / "d" / "debug") == []


def _pass(_done: int, _of: int) -> None:
    pass


@pytest.mark.parametrize(("name", "snapshot_id"), [
    ("..", "20260101-000000"), ("app-1", "../.."), ("app-1", "20260101-000000"), ("", ""),
])  # fmt: skip
def test_a_name_that_is_none_is_no_snapshot(store, name, snapshot_id):
    with pytest.raises(NoSuchSnapshot):
        store.manifest(name, snapshot_id)


class TestNothingIsLeftOf:
    def test_a_save_for_which_there_is_no_room(self, store, target, tmp_path):
        store.reserve_bytes = 1 << 60
        with pytest.raises(SnapshotFailed, match="stay free"):
            saving.save(store, source(target), PLENTY)
        assert left_in(store.directory) == ["app-1"]

    def test_a_save_that_is_larger_than_it_may_be(self, store, target, monkeypatch):
        monkeypatch.setattr(saving, "CHECK_EVERY_BYTES", 1)
        (target / "large").write_bytes(os.urandom(40_000_000))
        with pytest.raises(SnapshotFailed, match="more than the"):
            saving.save(store, source(target), 1000)
        assert left_in(store.directory) == ["app-1"]

    def test_a_save_of_what_changes_meanwhile(self, store, target):
        def change(done: int, _of: int) -> None:
            if done:
                (target / "debug" / "deps" / "tool").write_text("changed by a stranger")

        with pytest.raises(TreeRefused, match="changed meanwhile"):
            saving.save(store, source(target), PLENTY, change)
        assert left_in(store.directory) == ["app-1"]

    def test_a_save_of_what_a_cargo_builds(self, store, target):
        import fcntl

        with open(target / "debug" / ".cargo-lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(TargetDirBusy):
                saving.save(store, source(target), PLENTY)
        assert not os.path.exists(store.directory)

    def test_a_restore_for_which_there_is_no_room(self, store, target, tmp_path):
        snapshot = save(store, target)
        (tmp_path / "other").mkdir()
        with pytest.raises(SnapshotFailed, match="free"):
            restoring.restore(store, snapshot, disk_at(tmp_path / "other"), 1000)
        assert left_in(str(tmp_path / "other")) == []

    def test_a_restore_to_a_disk_that_is_another(self, store, target, tmp_path):
        snapshot = save(store, target)
        (tmp_path / "other").mkdir()
        other = replace(disk_at(tmp_path / "other"), device_id=1)
        with pytest.raises(DiskUnavailable):
            restoring.restore(store, snapshot, other, PLENTY)

    @pytest.mark.parametrize("what", ["save", "restore"])
    def test_either_that_was_killed(self, store, target, tmp_path, what):
        snapshot = save(store, target)
        (target / "debug" / "new").write_bytes(os.urandom(100_000))
        (tmp_path / "other").mkdir()
        code = f"""
import os
from dataclasses import replace
from pathlib import Path
from tests.host.test_snapshots import *
def die(done, of):
    os.kill(os.getpid(), 9)
store = SnapshotStore({store.directory!r}, reserve_bytes=0)
if {what!r} == "save":
    saving.save(store, source(Path({str(target)!r})), PLENTY, die)
else:
    restore(store, store.known()[0], Path({str(tmp_path / "other")!r}), on_bytes=die)
"""
        done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
        assert done.returncode == -9
        place = store.directory if what == "save" else str(tmp_path / "other")
        assert any(name.startswith(".draft-") for name in left_in(place))
        swept = store.sweep() if what == "save" else sweep_drafts(disk_at(tmp_path / "other"))
        assert len(swept) == 1
        assert not any(name.startswith(".draft-") for name in left_in(place))
        assert store.known() == [replace(snapshot, disk="t")]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB."""
    if not may_mount():
        pytest.skip("mounting a tmpfs needs root on Linux")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.privileged
def test_an_ssd_that_gets_full_ends_the_save_and_keeps_what_was_there(target, small_disk):
    store = SnapshotStore(str(small_disk / "s" / "snapshots"), reserve_bytes=0)
    first = save(store, target)
    (target / "large").write_bytes(os.urandom(20_000_000))
    with pytest.raises(SnapshotFailed, match="No space left"):
        saving.save(store, source(target), PLENTY)
    assert os.listdir(f"{store.directory}/app-1") == [first.id]
    store.check(first)


@pytest.mark.privileged
def test_a_ram_disk_that_gets_full_ends_the_restore(store, target, small_disk):
    (target / "large").write_bytes(os.urandom(20_000_000))
    snapshot = save(store, target)
    with pytest.raises(SnapshotFailed, match="No space left"):
        restore(store, snapshot, small_disk)
    assert left_in(str(small_disk)) == []


@pytest.mark.privileged
def test_what_is_mounted_inside_is_neither_saved_nor_deleted(store, target, tmp_path):
    if not may_mount():
        pytest.skip("mounting a tmpfs needs root on Linux")
    inside = target / "debug" / "mounted"
    inside.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(inside)], check=True)
    try:
        (inside / "precious").touch()
        assert save(store, target).left_out == 1
        with pytest.raises((TreeRefused, OSError)):
            remove_tree(str(target))
        assert (inside / "precious").exists()
    finally:
        subprocess.run(["umount", "-l", str(inside)], check=True)
