"""Which snapshots are kept, made and restored."""

import pytest

from forge.core.snapshots import (
    MOST_BYTES,
    SMALL_SSD_BYTES,
    Room,
    Snapshot,
    SnapshotSettings,
    is_due,
    most_bytes,
    newest,
    pays_as_delta,
    restorable,
    saves_by_itself,
    superfluous,
    total_bytes,
)

GIB = 1024**3


def a_snapshot(id_: str, name: str = "app", base: str = "", **fields) -> Snapshot:
    at = float(id_)
    return Snapshot(id_, name, f"/src/{name}", at, **{
        "size_bytes": 30, "files": 3, "base": base or id_, "base_bytes": 10, "own_bytes": 1,
        **fields,
    })  # fmt: skip


@pytest.mark.parametrize(("enabled", "room", "saves"), [
    (None, Room(SMALL_SSD_BYTES, 0), True),
    (None, Room(SMALL_SSD_BYTES - 1, 0), False),
    (None, None, False),  # a disk that nobody can look at is not filled
    (True, Room(1, 0), True),
    (False, Room(SMALL_SSD_BYTES, 0), False),
])  # fmt: skip
def test_nothing_is_saved_by_itself_where_the_ssd_is_small(enabled, room, saves):
    assert saves_by_itself(SnapshotSettings(enabled=enabled), room) is saves


@pytest.mark.parametrize(("max_bytes", "free_gib", "held_gib", "gib"), [
    (5 * GIB, 1, 0, 5),
    (None, 100, 0, 25),
    (None, 60, 40, 25),  # what they have does not make the rest of them smaller
    (None, 10_000, 0, MOST_BYTES / GIB),
])  # fmt: skip
def test_all_together_stay_below_a_size(max_bytes, free_gib, held_gib, gib):
    settings = SnapshotSettings(max_bytes=max_bytes)
    room = Room(SMALL_SSD_BYTES, free_gib * GIB)
    assert most_bytes(settings, room, held_gib * GIB) == gib * GIB


def test_a_layer_that_several_share_counts_once():
    assert total_bytes([a_snapshot("1", base="x"), a_snapshot("2", base="x")]) == 12
    assert total_bytes([a_snapshot("1"), a_snapshot("2")]) == 22


@pytest.mark.parametrize(("snapshots", "keep", "most", "gone"), [
    (["1 a", "2 a", "3 a"], 2, 1000, ["1"]),
    (["1 a", "2 b", "3 a", "4 b"], 2, 1000, []),
    (["1 a", "2 b", "3 a"], 2, 25, ["1"]),  # second copies first
    (["1 a", "2 b", "3 a"], 2, 15, ["1", "2"]),  # then who was saved longest ago
    (["1 a", "2 b", "3 c"], 1, 0, ["1", "2"]),  # the last one stays whatever its size
    ([], 1, 0, []),
])  # fmt: skip
def test_what_is_too_much_goes_the_least_useful_first(snapshots, keep, most, gone):
    known = [a_snapshot(*one.split()) for one in snapshots]
    assert [one.id for one in superfluous(known, keep, most)] == gone


def test_only_the_newest_is_restored_and_only_to_a_disk_that_never_had_it():
    known = [a_snapshot("2", disk="old"), a_snapshot("1", disk="old"), a_snapshot("3", "other")]
    assert newest(known, "app") == known[0]
    assert restorable(known, "app", "new") == known[0]
    assert restorable(known, "app", "old") is None  # somebody has deleted it there
    assert restorable(known, "nothing", "new") is None


@pytest.mark.parametrize(("used", "tried", "now", "idle_s", "machine_is_idle", "due"), [
    (100, 0, 999, 900, True, False),
    (100, 0, 1000, 900, True, True),
    (100, 0, 1000, 900, False, False),  # while others build it waits
    (100, 0, 100 + 4 * 900, 900, False, True),  # but not for ever
    (100, 100, 9999, 900, True, False),  # it has not been used since
    (100, 0, 9999, 0, True, False),  # never
])  # fmt: skip
def test_a_target_dir_is_due_when_it_was_idle_for_long(
    used, tried, now, idle_s, machine_is_idle, due
):
    assert is_due(used, tried, now, idle_s, machine_is_idle=machine_is_idle) is due


@pytest.mark.parametrize(("kept", "changed", "pays"), [
    (100, 0, True), (100, 100, True), (100, 101, False), (0, 0, False), (0, 5, False),
])  # fmt: skip
def test_a_delta_pays_until_it_is_half_of_all(kept, changed, pays):
    assert pays_as_delta(kept, changed) is pays
