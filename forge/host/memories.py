"""Past builds, learned costs and squeezes of inference servers, in the database.

The newest `KEPT_BUILDS` builds are kept, the newest `KEPT_DETAILS` with their slowest units and
critical path.
"""

import json
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

from forge.core import wire
from forge.core.learned import MAX_ENTRIES, Entry
from forge.host.database import Database, escaped, unescaped

KEPT_BUILDS = 10_000
KEPT_DETAILS = 500
KEPT_SQUEEZES = 1000
FAILED = "(json_extract(record, '$.exit') IS NOT 0 OR json_extract(record, '$.cancelled'))"
"""What makes a build one that did not come to a good end: NULL is not 0 either."""

MAX_ANSWER_BYTES = wire.MAX_LINE_BYTES - 1024
KEPT_LEARNED_S = 180 * 86400
"""A cost that nothing has confirmed for half a year is forgotten."""


class Memories:
    """What the daemon remembers of builds."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def record(
        self,
        number: int,
        record: Mapping[str, Any],
        details: Mapping[str, Any],
        learned: Iterable[Entry],
    ) -> None:
        """Keep a build that is over, and what was learned from it."""
        self._db.write(
            (
                "INSERT OR REPLACE INTO builds VALUES (?, ?, ?, ?)",
                (number, escaped(record.get("root")), json.dumps(record), json.dumps(details)),
            ),
            ("UPDATE builds SET details = NULL WHERE number = ?", (number - KEPT_DETAILS,)),
            ("DELETE FROM builds WHERE number <= ?", (number - KEPT_BUILDS,)),
            *(
                (
                    "INSERT OR REPLACE INTO learned VALUES (?, ?, ?, ?, ?)",
                    (escaped(one.root), escaped(one.key), json.dumps(one.runs), one.rank_s, one.at),
                )
                for one in learned
            ),
        )

    def builds(
        self, limit: int, root: str | None = None, *, failed: bool = False
    ) -> list[dict[str, Any]]:
        """Return past builds, newest first, as `forge history --json` prints them.

        They are fewer than `limit` where more would not fit into one answer of the daemon's.
        """
        wanted = ["TRUE", *(["root = ?"] if root else []), *([FAILED] if failed else [])]
        values = (escaped(root),) if root else ()
        rows = self._db.read(
            f"SELECT record FROM builds WHERE {' AND '.join(wanted)}"  # noqa: S608  # ours
            " ORDER BY number DESC LIMIT ?",
            (*values, limit),
        )
        sizes = accumulate(len(record) for (record,) in rows)
        return [
            json.loads(record)
            for (record,), size_bytes in zip(rows, sizes, strict=True)
            if size_bytes <= MAX_ANSWER_BYTES
        ]

    def build(self, number: int) -> dict[str, Any] | None:
        """Return one build with its details, as `forge explain --json` prints it."""
        rows = self._db.read("SELECT record, details FROM builds WHERE number = ?", (number,))
        if not rows:
            return None
        record, details = rows[0]
        return {**json.loads(record), **(json.loads(details) if details else {})}

    def count_builds(self, root: str | None = None) -> int:
        """Return how many past builds are kept: all, or those of one workspace."""
        of_root, values = _where(root)
        rows = self._db.read(f"SELECT count(*) FROM builds {of_root}", values)  # noqa: S608  # ours
        return int(rows[0][0])

    def forget_builds(self, root: str | None = None) -> None:
        """Forget past builds: all, or those of one workspace."""
        of_root, values = _where(root)
        self._db.write((f"DELETE FROM builds {of_root}", values))  # noqa: S608  # ours

    def record_squeeze(self, began_at: float, server: str, record: Mapping[str, Any]) -> None:
        """Keep a squeeze, or what is known of it by now."""
        oldest = "SELECT began_at FROM squeezes ORDER BY began_at DESC LIMIT 1 OFFSET ?"
        self._db.write(
            (
                "INSERT OR REPLACE INTO squeezes VALUES (?, ?, ?)",
                (began_at, escaped(server), json.dumps(record)),
            ),
            (f"DELETE FROM squeezes WHERE began_at < ({oldest})", (KEPT_SQUEEZES - 1,)),  # noqa: S608  # ours
        )

    def squeezes(self, limit: int) -> list[dict[str, Any]]:
        """Return past squeezes, newest first; fewer where more would not fit into an answer."""
        newest = "SELECT record FROM squeezes ORDER BY began_at DESC LIMIT ?"
        rows = self._db.read(newest, (limit,))
        sizes = accumulate(len(record) for (record,) in rows)
        return [
            json.loads(record)
            for (record,), size_bytes in zip(rows, sizes, strict=True)
            if size_bytes <= MAX_ANSWER_BYTES
        ]

    def learned(self, now_s: float) -> list[Entry]:
        """Return all learned costs that are not too old at `now_s` (wall time), nor too many."""
        newest = "SELECT at FROM learned ORDER BY at DESC LIMIT 1 OFFSET ?"
        self._db.write(
            ("DELETE FROM learned WHERE at < ?", (now_s - KEPT_LEARNED_S,)),
            (f"DELETE FROM learned WHERE at < ({newest})", (MAX_ENTRIES - 1,)),  # noqa: S608  # ours
        )
        return [
            Entry(
                unescaped(root),
                unescaped(key),
                tuple((float(run), float(cpu), int(kib)) for run, cpu, kib in json.loads(runs)),
                rank_s,
                at,
            )
            for root, key, runs, rank_s, at in self._db.read(
                "SELECT root, key, runs, rank_s, at FROM learned"
            )
        ]

    def forget_learned(self, root: str | None = None) -> None:
        """Forget learned costs: all, or those of one workspace."""
        of_root, values = _where(root)
        self._db.write((f"DELETE FROM learned {of_root}", values))  # noqa: S608  # ours


def _where(root: str | None) -> tuple[str, tuple[object, ...]]:
    return ("", ()) if root is None else ("WHERE root = ?", (escaped(root),))
