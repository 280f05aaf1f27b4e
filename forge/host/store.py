"""What outlives the daemon: an SQLite database in the state directory.

It is an index, not the truth: the RAM disk is. A database that is broken or from a newer Forge is
put aside and begun anew, and target dirs that it does not know are found on the disk.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable

from forge.core.target_dirs import TargetDir

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE target_dirs (
    path TEXT PRIMARY KEY,
    root TEXT,
    created_at REAL NOT NULL,
    last_used_at REAL NOT NULL,
    builds INTEGER NOT NULL,
    size_bytes INTEGER,
    files INTEGER NOT NULL
) STRICT;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
"""


class Store:
    """The database. What cannot be written (a full disk) is lost, and `on_trouble` told once."""

    def __init__(self, path: str, on_trouble: Callable[[str], object] = lambda _why: None) -> None:
        self._path = path
        self._on_trouble = on_trouble
        self._in_trouble = False
        try:
            self._db = self._open()
        except sqlite3.DatabaseError:
            with contextlib.suppress(OSError):
                os.replace(path, f"{path}.broken-{int(time.time())}")
            self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=2.0, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            db.close()
            raise sqlite3.DatabaseError(f"schema {version} is not known")
        if version == 0:
            db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        return db

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def target_dirs(self) -> dict[str, TargetDir]:
        """Return all that is known, by path."""
        rows = self._db.execute(
            "SELECT path, root, created_at, last_used_at, builds, size_bytes, files"
            " FROM target_dirs"
        )
        found = (
            TargetDir(_read(path), None if root is None else _read(root), *rest)
            for path, root, *rest in rows
        )
        return {one.path: one for one in found}

    def record(self, one: TargetDir) -> None:
        """Keep one target dir."""
        self._write(
            "INSERT OR REPLACE INTO target_dirs VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                _escaped(one.path), _escaped(one.root), one.created_at, one.last_used_at,
                one.builds, one.size_bytes, one.files,
            ),
        )  # fmt: skip

    def forget(self, path: str) -> None:
        """Forget a target dir that is gone."""
        self._write("DELETE FROM target_dirs WHERE path = ?", (_escaped(path),))

    def next_build(self) -> int:
        """Return the number of the next build: none is used twice while the database lives."""
        row = self._db.execute("SELECT value FROM counters WHERE name = 'next_build'").fetchone()
        return int(row[0]) if row else 1

    def keep_next_build(self, number: int) -> None:
        """Keep the number of the next build."""
        self._write("INSERT OR REPLACE INTO counters VALUES ('next_build', ?)", (number,))

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            self._db.execute(statement, values)
            self._in_trouble = False
        except sqlite3.Error as error:
            if not self._in_trouble:
                self._on_trouble(str(error))
            self._in_trouble = True


def _escaped(text: str | None) -> str | None:
    """Write lone surrogates (bytes that are not UTF-8) in a way that SQLite's TEXT can hold."""
    return None if text is None else text.encode("utf-8", "surrogateescape").decode("latin-1")


def _read(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "surrogateescape")
