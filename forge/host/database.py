"""The SQLite database in the state directory: opening it, bringing it up to date, writing to it.

It holds an index and memories, never the truth: one that is broken, or from a newer Forge, is put
aside and begun anew.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

SCHEMAS = (
    """
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
    """,
    """
    CREATE TABLE builds (
        number INTEGER PRIMARY KEY,
        root TEXT,
        record TEXT NOT NULL,
        details TEXT
    ) STRICT;
    CREATE INDEX builds_by_root ON builds (root, number);
    CREATE TABLE learned (
        root TEXT NOT NULL,
        key TEXT NOT NULL,
        runs TEXT NOT NULL,
        rank_s REAL,
        at REAL NOT NULL,
        PRIMARY KEY (root, key)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE squeezes (
        began_at REAL NOT NULL,
        server TEXT NOT NULL,
        record TEXT NOT NULL,
        PRIMARY KEY (began_at, server)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE pinned_target_dirs (path TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
    """,
    """
    ALTER TABLE target_dirs ADD COLUMN details TEXT;
    CREATE TABLE target_modes (root TEXT PRIMARY KEY, mode TEXT NOT NULL) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE spills (
        root TEXT PRIMARY KEY,
        path TEXT NOT NULL,
        needs_bytes INTEGER NOT NULL,
        why TEXT NOT NULL,
        at REAL NOT NULL
    ) STRICT, WITHOUT ROWID;
    """,
)
"""What makes a database of version n out of one of version n - 1."""


class Database:
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
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > len(SCHEMAS):
                raise sqlite3.DatabaseError(f"schema {version} is not known")
            for number, schema in enumerate(SCHEMAS[version:], version + 1):
                db.executescript(f"BEGIN; {schema} PRAGMA user_version = {number}; COMMIT;")
        except sqlite3.DatabaseError:
            db.close()
            raise
        return db

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def read(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        return self._db.execute(statement, values).fetchall()

    def write(self, *statements: tuple[str, Sequence[object]]) -> None:
        """Carry out statements as one, or none of them."""
        try:
            self._db.execute("BEGIN")
            try:
                for statement, values in statements:
                    self._db.execute(statement, values)
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise
            self._in_trouble = False
        except sqlite3.Error as error:
            if not self._in_trouble:
                self._on_trouble(str(error))
            self._in_trouble = True


def escaped(text: str | None) -> str | None:
    """Write lone surrogates (bytes that are not UTF-8) in a way that SQLite's TEXT can hold."""
    return None if text is None else text.encode("utf-8", "surrogateescape").decode("latin-1")


def unescaped(text: str) -> str:
    """Read what `escaped` wrote."""
    return text.encode("latin-1").decode("utf-8", "surrogateescape")
