"""The index of target dirs, the number of the next build, a disk's high water: what outlives us.

It is an index, not the truth: the RAM disk is. Target dirs that it does not know are found there.
"""

import json
from dataclasses import asdict, replace

from forge.core.bloat import HighWater
from forge.core.spill import Spill
from forge.core.target_dirs import LastUse, TargetDir
from forge.core.target_parts import TargetParts, parts_report, read_parts
from forge.host.database import Database, escaped, unescaped


class Store:
    """The index, in the database."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def target_dirs(self) -> dict[str, TargetDir]:
        """Return all that is known, by path."""
        rows = self._db.read(
            "SELECT path, root, created_at, last_used_at, builds, size_bytes, files, details"
            " FROM target_dirs"
        )
        found = {}
        for path, root, *rest, details in rows:
            one = TargetDir(unescaped(path), None if root is None else unescaped(root), *rest)
            parts, last = _read(details)
            found[one.path] = replace(one, parts=parts, last=last)
        return found

    def record(self, one: TargetDir) -> None:
        """Keep one target dir."""
        values = (
            escaped(one.path), escaped(one.root), one.created_at, one.last_used_at,
            one.builds, one.size_bytes, one.files, _written(one),
        )  # fmt: skip
        statement = (
            "INSERT OR REPLACE INTO target_dirs"
            " (path, root, created_at, last_used_at, builds, size_bytes, files, details)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        self._db.write((statement, values))

    def forget(self, path: str) -> None:
        """Forget a target dir that is gone."""
        self._db.write(("DELETE FROM target_dirs WHERE path = ?", (escaped(path),)))

    def pinned(self) -> frozenset[str]:
        """Return the target dirs that are pinned."""
        rows = self._db.read("SELECT path FROM pinned_target_dirs")
        return frozenset(unescaped(path) for (path,) in rows)

    def keep_pin(self, path: str, *, pinned: bool) -> None:
        """Keep that a target dir is pinned, or that it is not."""
        statement = "DELETE FROM pinned_target_dirs WHERE path = ?"
        if pinned:
            statement = "INSERT OR IGNORE INTO pinned_target_dirs VALUES (?)"
        self._db.write((statement, (escaped(path),)))

    def target_modes(self) -> dict[str, str]:
        """Return the modes that were chosen, by canonical root."""
        rows = self._db.read("SELECT root, mode FROM target_modes")
        return {unescaped(root): mode for root, mode in rows}

    def keep_target_mode(self, root: str, mode: str) -> None:
        """Keep the mode of one project."""
        values = (escaped(root), mode)
        self._db.write(("INSERT OR REPLACE INTO target_modes VALUES (?, ?)", values))

    def spills(self) -> tuple[Spill, ...]:
        """Return the projects that are on the SSD."""
        rows = self._db.read("SELECT root, path, needs_bytes, why, at FROM spills")
        return tuple(
            Spill(unescaped(root), unescaped(path), needs_bytes, why, at, is_there=True)
            for root, path, needs_bytes, why, at in rows
        )

    def keep_spill(self, one: Spill) -> None:
        """Keep that a project is on the SSD."""
        values = (escaped(one.root), escaped(one.path), one.needs_bytes, one.why, one.at)
        self._db.write(("INSERT OR REPLACE INTO spills VALUES (?, ?, ?, ?, ?)", values))

    def forget_spill(self, root: str) -> None:
        """Forget that a project was on the SSD."""
        self._db.write(("DELETE FROM spills WHERE root = ?", (escaped(root),)))

    def next_build(self) -> int:
        """Return the number of the next build: none is used twice while the database lives."""
        rows = self._db.read("SELECT value FROM counters WHERE name = 'next_build'")
        return int(rows[0][0]) if rows else 1

    def keep_next_build(self, number: int) -> None:
        """Keep the number of the next build."""
        self._db.write(("INSERT OR REPLACE INTO counters VALUES ('next_build', ?)", (number,)))

    def high_water(self) -> HighWater | None:
        """Return the most that a disk ever held, and which disk."""
        rows = self._db.read("SELECT name, value FROM counters WHERE name LIKE 'high_water %'")
        return HighWater(rows[0][0].split()[1], int(rows[0][1])) if rows else None

    def keep_high_water(self, high: HighWater) -> None:
        """Keep the most that a disk ever held; that of an earlier disk is forgotten."""
        self._db.write(
            ("DELETE FROM counters WHERE name LIKE 'high_water %'", ()),
            ("INSERT INTO counters VALUES (?, ?)", (f"high_water {high.token}", high.bytes)),
        )


def _written(one: TargetDir) -> str:
    """Write what is told of a target dir beyond its columns; JSON escapes what is not UTF-8."""
    parts = parts_report(one.parts) if one.parts else None
    return json.dumps({"parts": parts, "last": asdict(one.last) if one.last else None})


def _read(details: str | None) -> tuple[TargetParts | None, LastUse | None]:
    """Read what `_written` wrote; a newer Forge may have written it otherwise."""
    try:
        found = json.loads(details or "{}")
        parts, last = found.get("parts"), found.get("last")
        return read_parts(parts) if parts else None, LastUse(**last) if last else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, None
