"""What stands behind a gate: a unit, a link or a test, waiting or running."""

import os
from dataclasses import dataclass
from enum import StrEnum

from forge.core import messages
from forge.core.learned import key_of_test, key_of_unit


class What(StrEnum):
    """The kinds of work that ask before they start."""

    UNIT = "unit"
    LINK = "link"
    TEST = "test"


@dataclass(slots=True, eq=False)
class Behind:
    """A unit, a link or a test, under the number of its gate's connection.

    `started_s` None: it waits. `lender`: it uses cores of a test of that build, and asks the budget
    for none. `ahead` are the builds that had the cores when it began to wait. `key` is the name
    under which its cost is learned; `unit_id`, `externs`, `package` tell what depends on what.
    """

    conn: int
    build: str
    what: What
    name: str
    asked_s: float
    cores: int = 1
    started_s: float | None = None
    lender: str | None = None
    ahead: tuple[str, ...] = ()
    key: str = ""
    unit_id: str | None = None
    externs: tuple[str, ...] = ()
    package: str | None = None
    is_build_script: bool = False
    uses_build_script: bool = False


def asking_unit(conn: int, message: messages.Unit, now_s: float) -> Behind:
    """Return a rustc that asks."""
    return Behind(
        conn, message.build, What.UNIT, message.crate, now_s,
        lender=message.lender, key=key_of_unit(message), unit_id=message.id,
        externs=tuple(message.externs), package=message.package,
        is_build_script=message.crate.startswith("build_script_"),
        uses_build_script=message.uses_build_script,
    )  # fmt: skip


def asking_link(conn: int, message: messages.Link, now_s: float) -> Behind:
    """Return a linker that asks. It takes no core: its rustc has one."""
    name = message.output or message.crate or "?"
    return Behind(conn, message.build, What.LINK, name, now_s, cores=0)


def asking_test(conn: int, message: messages.Test, now_s: float, cores: int) -> Behind:
    """Return a test binary that asks for `cores`. Its file has the id of the unit that made it."""
    return Behind(
        conn,
        message.build,
        What.TEST,
        message.name,
        now_s,
        cores=cores,
        key=key_of_test(message.name, message.threads),
        externs=(os.path.basename(message.binary),),
    )
