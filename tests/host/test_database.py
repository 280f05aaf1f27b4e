"""What outlives the daemon, in a real SQLite file: target dirs, past builds, learned costs."""

import contextlib
import sqlite3
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forge.core import wire
from forge.core.bloat import HighWater
from forge.core.disk import DiskKind
from forge.core.learned import Entry
from forge.core.spill import Spill
from forge.core.target_dirs import TargetDir
from forge.host import memories as memories_door
from forge.host.database import SCHEMAS, Database
from forge.host.memories import KEPT_LEARNED_S, Memories
from forge.host.store import Store
from tests.host.small_disks import small_disk

ODD_ROOT = "/src/\udcff é"


@contextmanager
def opened(path, said=None):
    database = Database(str(path), said.append if said is not None else lambda _why: None)
    try:
        yield database
    finally:
        database.close()


def test_what_was_recorded_is_there_after_a_restart(tmp_path):
    one = TargetDir("/mnt/\udcff", ODD_ROOT, 1.0, 2.0, 3, 4, 5)
    unknown = TargetDir("/mnt/x", None, 1.0, 2.0)
    with opened(tmp_path / "db") as database:
        store = Store(database)
        store.record(one)
        store.record(unknown)
        store.keep_next_build(17)
    with opened(tmp_path / "db") as database:
        again = Store(database)
        assert again.target_dirs() == {one.path: one, unknown.path: unknown}
        assert again.next_build() == 17
        again.forget(one.path)
        assert list(again.target_dirs()) == [unknown.path]


def test_a_broken_database_is_put_aside_and_begun_anew(tmp_path):
    (tmp_path / "db").write_bytes(b"not a database at all" * 100)
    with opened(tmp_path / "db") as database:
        assert Store(database).next_build() == 1
    assert len(list(tmp_path.glob("db.broken-*"))) == 1


def test_one_that_cannot_be_written_is_said_once_and_harms_nobody(tmp_path):
    said: list[str] = []
    with opened(tmp_path / "db", said) as database:
        database.read("PRAGMA query_only = ON")  # as a full disk would: every write fails
        store = Store(database)
        store.keep_next_build(5)
        store.record(TargetDir("/mnt/x", None, 1.0, 2.0))
        assert len(said) == 1
        assert store.next_build() == 1


def test_a_database_of_a_newer_forge_is_not_touched(tmp_path):
    newer = sqlite3.connect(tmp_path / "db")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with opened(tmp_path / "db"):
        assert len(list(tmp_path.glob("db.broken-*"))) == 1


def test_a_database_of_an_older_forge_keeps_what_it_knows(tmp_path):
    older = sqlite3.connect(tmp_path / "db")
    older.executescript(f"{SCHEMAS[0]} PRAGMA user_version = 1;")
    older.execute("INSERT INTO counters VALUES ('next_build', 40)")
    older.commit()
    older.close()
    with opened(tmp_path / "db") as database:
        assert Store(database).next_build() == 40
        assert Memories(database).builds(10) == []


ROWS = (
    (1, "INSERT INTO target_dirs (path, root, created_at, last_used_at, builds, size_bytes, files)"
        " VALUES ('/mnt/a', '/src/a', 1.0, 2.0, 3, 4, 5)"),
    (1, "INSERT INTO counters VALUES ('next_build', 40)"),
    (2, "INSERT INTO builds VALUES (39, '/src/a', '{\"id\": \"b39\"}', NULL)"),
    (2, "INSERT INTO learned VALUES ('/src/a', 'serde', '[]', 1.5, 2.0)"),
    (3, "INSERT INTO squeezes VALUES (1.0, 'http://127.0.0.1:8080', '{}')"),
    (4, "INSERT INTO pinned_target_dirs VALUES ('/mnt/a')"),
    (5, "INSERT INTO target_modes VALUES ('/src/a', 'build-dir')"),
)  # fmt: skip
"""Rows, each with the version from which on there can be one."""


def everything(db: sqlite3.Connection) -> dict[str, list[dict[str, object]]]:
    names = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return {name: rows_of(db, name) for (name,) in names.fetchall()}


def rows_of(db: sqlite3.Connection, table: str) -> list[dict[str, object]]:
    found = db.execute(f"SELECT * FROM {table}")
    columns = [one[0] for one in found.description]
    return [dict(zip(columns, row, strict=True)) for row in found]


@pytest.mark.parametrize("version", range(1, len(SCHEMAS)))
def test_a_database_of_each_version_is_brought_up_to_date_with_every_row(tmp_path, version):
    older = sqlite3.connect(tmp_path / "db")
    older.executescript("".join(SCHEMAS[:version]) + f"PRAGMA user_version = {version};")
    for since, row in ROWS:
        if since <= version:
            older.execute(row)
    older.commit()
    before = everything(older)
    older.close()
    assert all(before.values()), "a table without a row proves nothing"
    with opened(tmp_path / "db"):
        pass
    now = sqlite3.connect(tmp_path / "db")
    after = everything(now)
    assert now.execute("PRAGMA user_version").fetchone() == (len(SCHEMAS),)
    now.close()
    for table, rows in before.items():
        assert len(after[table]) == len(rows)
        for was, kept in zip(rows, after[table], strict=True):
            assert was.items() <= kept.items(), "a later version may add columns"
    fresh = tmp_path / "fresh"
    with opened(fresh):
        pass
    begun = sqlite3.connect(fresh)
    assert set(everything(begun)) == set(after)
    begun.close()
    assert not list(tmp_path.glob("*.broken-*"))


def record_builds(memories, numbers, root="/src/app"):
    for number in numbers:
        record = {"id": f"b{number}", "root": root, "wall_s": 1.5}
        memories.record(number, record, {"slowest": [{"name": "serde"}]}, ())


def test_past_builds_are_told_newest_first_and_by_workspace(tmp_path):
    with opened(tmp_path / "db") as database:
        memories = Memories(database)
        record_builds(memories, [1, 2])
        record_builds(memories, [3], root=ODD_ROOT)
        assert [one["id"] for one in memories.builds(2)] == ["b3", "b2"]
        assert [one["id"] for one in memories.builds(9, ODD_ROOT)] == ["b3"]
        assert (memories.build(2) or {})["slowest"] == [{"name": "serde"}]
        assert memories.build(7) is None


def test_of_many_builds_the_oldest_lose_first_their_details_and_then_all(tmp_path, monkeypatch):
    monkeypatch.setattr(memories_door, "KEPT_DETAILS", 2)
    monkeypatch.setattr(memories_door, "KEPT_BUILDS", 4)
    with opened(tmp_path / "db") as database:
        memories = Memories(database)
        record_builds(memories, range(1, 8))
        assert [one["id"] for one in memories.builds(99)] == ["b7", "b6", "b5", "b4"]
        assert "slowest" in (memories.build(6) or {})
        assert memories.build(5) == {"id": "b5", "root": "/src/app", "wall_s": 1.5}


def test_what_was_learned_comes_back_until_it_is_old_or_reset(tmp_path):
    fresh = Entry(ODD_ROOT, "unit serde lib", ((1.0, 0.9, 512),), 4.5, at=2 * KEPT_LEARNED_S)
    other = Entry("/src/other", "unit serde lib", ((2.0, 1.9, 256),), None, at=2 * KEPT_LEARNED_S)
    stale = Entry("/src/app", "unit syn lib", ((1.0, 0.9, 512),), None, at=1.0)
    with opened(tmp_path / "db") as database:
        memories = Memories(database)
        memories.record(1, {"id": "b1", "root": None}, {}, (fresh, other, stale))
    with opened(tmp_path / "db") as database:
        memories = Memories(database)
        found = memories.learned(now_s=2 * KEPT_LEARNED_S + 1)
        assert {(one.root, one.rank_s) for one in found} == {(ODD_ROOT, 4.5), ("/src/other", None)}
        memories.forget_learned("/src/other")
        assert [one.root for one in memories.learned(now_s=2 * KEPT_LEARNED_S)] == [ODD_ROOT]
        memories.forget_learned()
        assert memories.learned(now_s=2 * KEPT_LEARNED_S) == []


def test_of_too_many_learned_costs_the_newest_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(memories_door, "MAX_ENTRIES", 2)
    entries = [Entry("/a", f"unit {at}", ((1.0, 1.0, 1),), None, at) for at in (3.0, 1.0, 2.0)]
    with opened(tmp_path / "db") as database:
        memories = Memories(database)
        memories.record(1, {"id": "b1"}, {}, entries)
        assert {one.at for one in memories.learned(now_s=4.0)} == {2.0, 3.0}
        assert {one.at for one in memories.learned(now_s=4.0)} == {2.0, 3.0}


@pytest.mark.parametrize("fault", ["INSERT INTO nowhere VALUES (1)", "not SQL at all"])
def test_of_statements_that_belong_together_all_or_none_take_effect(tmp_path, fault):
    said: list[str] = []
    with opened(tmp_path / "db", said) as database:
        database.write(("INSERT INTO counters VALUES ('a', 1)", ()), (fault, ()))
        assert database.read("SELECT * FROM counters") == []
        assert len(said) == 1
        database.write(("INSERT INTO counters VALUES ('a', 1)", ()))
        assert database.read("SELECT * FROM counters") == [("a", 1)]


def test_only_builds_that_did_not_end_well_are_told_where_that_is_asked(tmp_path):
    ends: list[dict[str, Any]] = [
        {"exit": 0},
        {"exit": 101},
        {"exit": None, "signal": 9},
        {"exit": 0, "cancelled": True},
        {},  # nobody knows how it ended
        {"exit": 0, "cancelled": False},
    ]
    with opened(tmp_path / "db") as database:
        memories = Memories(database)
        for number, end in enumerate(ends, 1):
            root = "/src/odd" if number % 2 else "/src/even"
            memories.record(number, {"id": f"b{number}", **end}, {}, ())
            memories.record(number + 10, {"id": f"b{number + 10}", "root": root, **end}, {}, ())
        assert [one["id"] for one in memories.builds(9, failed=True)][-4:] == [
            "b5", "b4", "b3", "b2",
        ]  # fmt: skip
        assert [one["id"] for one in memories.builds(9, "/src/even", failed=True)] == ["b14", "b12"]


def test_past_builds_that_do_not_fit_into_one_answer_are_left_out_the_oldest_first(tmp_path):
    with opened(tmp_path / "db") as database:
        memories = Memories(database)
        for number in (1, 2, 3):
            memories.record(number, {"id": f"b{number}", "cwd": "/" + "x" * 400_000}, {}, ())
        told = memories.builds(9)
        assert [one["id"] for one in told] == ["b3", "b2"]
        assert wire.encode({"type": "history", "builds": told})


def test_the_most_that_a_disk_held_is_known_after_a_restart_and_that_of_an_earlier_one_is_not(
    tmp_path,
):
    with opened(tmp_path / "db") as database:
        store = Store(database)
        assert store.high_water() is None
        for high in (HighWater("a", 1), HighWater("a", 5 << 30), HighWater("b", 7)):
            store.keep_high_water(high)
        store.keep_next_build(17)
    with opened(tmp_path / "db") as database:
        assert Store(database).high_water() == HighWater("b", 7)
        assert Store(database).next_build() == 17


def test_a_squeeze_is_kept_once_from_its_begin_to_its_end_newest_first(tmp_path, monkeypatch):
    monkeypatch.setattr(memories_door, "KEPT_SQUEEZES", 3)
    with opened(tmp_path / "db") as database:
        memories = Memories(database)
        for began_at in range(5):
            memories.record_squeeze(began_at, "main", {"began_at": began_at, "lasted_s": None})
        memories.record_squeeze(4, "main", {"began_at": 4, "lasted_s": 9.0})
    with opened(tmp_path / "db") as database:
        told = Memories(database).squeezes(2)
        assert told == [{"began_at": 4, "lasted_s": 9.0}, {"began_at": 3, "lasted_s": None}]
        assert len(Memories(database).squeezes(500)) == 3


def test_on_a_disk_that_is_really_full_nothing_breaks_and_it_goes_on_when_there_is_room():
    told: list[str] = []
    with small_disk(2) as disk:
        if disk.kind is not DiskKind.TMPFS:
            pytest.skip("mounting a tmpfs needs CAP_SYS_ADMIN")
        database = Database(f"{disk.mount_point}/forge.db", told.append)
        store = Store(database)
        store.keep_next_build(7)
        filler = Path(disk.mount_point, "filler")
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        for number in range(8, 2000):
            store.keep_next_build(number)
        assert len(told) == 1, told
        assert "full" in told[0]
        assert store.next_build() >= 7
        filler.unlink()
        store.keep_next_build(4711)
        assert store.next_build() == 4711
        database.close()


def test_projects_on_the_ssd_outlive_the_daemon(tmp_path):
    one = Spill(ODD_ROOT, "/ssd/app-1", 5 << 30, "the RAM disk was full", 12.5, is_there=True)
    with opened(tmp_path / "db") as database:
        Store(database).keep_spill(one)
        Store(database).keep_spill(replace(one, needs_bytes=6 << 30))
    with opened(tmp_path / "db") as database:
        assert Store(database).spills() == (replace(one, needs_bytes=6 << 30),)
        Store(database).forget_spill(ODD_ROOT)
        assert Store(database).spills() == ()
