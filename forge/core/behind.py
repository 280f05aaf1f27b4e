"""What stands behind a gate: a unit, a link, a test, a command, waiting or running; all of them."""

import os
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice, takewhile

from forge.core import messages
from forge.core.learned import key_of_test, key_of_unit

DOCTEST = "rust_out"
"""The name of the program that rustdoc makes of a doctest."""


class What(StrEnum):
    """The kinds of work that ask before they start."""

    UNIT = "unit"
    LINK = "link"
    TEST = "test"
    COMMAND = "command"


@dataclass(slots=True, eq=False)
class Behind:
    """A unit, a link, a test or a command, under the number of its gate's connection.

    The gate of a command is `forge reserve`, and its `build` the id of its reservation.
    `started_s` None: it waits. `lender`: it uses cores of a test of that build, or of the command
    of that reservation, and asks the budget for none. `want_bytes` is what it books before it
    starts, `is_learned`: as an earlier run tells; `has_core`: it has its core, and waits for these
    bytes. `is_cancelled`: it was told to
    end and to wait again, and `undone` is how often it did; `is_paused`: it is stopped where it
    stands. `ahead` are the builds that had cores when its wait began or ended, with their workspace
    roots. `key` is the name under which its cost is learned; `unit_id`, `externs`, `package` tell
    what depends on what. `told_s` is when its gate heard from us last.
    """

    conn: int
    build: str
    what: What
    name: str
    asked_s: float
    cores: int = 1
    started_s: float | None = None
    lender: str | None = None
    pid: int = 0
    crate: str | None = None
    want_bytes: int = 0
    is_learned: bool = False
    has_core: bool = False
    undone: int = 0
    is_cancelled: bool = False
    is_paused: bool = False
    ahead: dict[str, str | None] = field(default_factory=dict)
    key: str = ""
    unit_id: str | None = None
    externs: tuple[str, ...] = ()
    package: str | None = None
    is_build_script: bool = False
    is_test: bool = False
    uses_build_script: bool = False
    told_s: float = 0.0

    @property
    def runs(self) -> bool:
        """Say whether it was let in."""
        return self.started_s is not None


@dataclass(slots=True)
class OfBuild:
    """What of one build is behind gates, by connection, and how much of it runs or waits.

    `at_work` counts what runs and has cores.
    """

    all: dict[int, Behind] = field(default_factory=dict)
    units_running: int = 0
    units_waiting: int = 0
    at_work: int = 0

    def count(self, one: Behind, by: int) -> None:
        """Count one, or (`by` -1) count it no more."""
        if one.what is What.UNIT and one.runs:
            self.units_running += by
        elif one.what is What.UNIT:
            self.units_waiting += by
        if one.runs and one.cores:
            self.at_work += by


@dataclass(slots=True)
class Crowd:
    """All that is behind gates, by connection and by build, counted as it comes and goes.

    Nothing here is found by a walk through the others: a hundred builds have thousands waiting.
    Invariant: both hold the same, no build without anything is kept, `at_work` names the builds
    that have cores, those first that have had some for longest, and `waiting` has what waits, those
    first that were told for longest ago what for.
    """

    by_conn: dict[int, Behind] = field(default_factory=dict)
    by_build: dict[str, OfBuild] = field(default_factory=dict)
    at_work: dict[str, None] = field(default_factory=dict)
    waiting: OrderedDict[int, Behind] = field(default_factory=OrderedDict)

    def add(self, one: Behind) -> None:
        """Take one in that waits, or that runs already."""
        self.by_conn[one.conn] = one
        build = self.by_build.setdefault(one.build, OfBuild())
        build.all[one.conn] = one
        self._count(build, one, 1)
        if not one.runs:
            self.tell(one, one.asked_s)

    def tell(self, one: Behind, now_s: float) -> None:
        """Take note that one is told now what it waits for."""
        one.told_s = now_s
        self.waiting[one.conn] = one
        self.waiting.move_to_end(one.conn)

    def to_tell(self, told_s: float) -> list[Behind]:
        """Return what waits and was last told at `told_s` or before."""
        return list(takewhile(lambda one: one.told_s <= told_s, self.waiting.values()))

    def start(self, one: Behind, now_s: float) -> None:
        """Take note that one runs from now on."""
        build = self.by_build[one.build]
        self._count(build, one, -1)
        one.started_s = now_s
        self._count(build, one, 1)
        self.waiting.pop(one.conn, None)

    def wait_again(self, one: Behind, now_s: float) -> None:
        """Take note that what ran waits once more."""
        build = self.by_build[one.build]
        self._count(build, one, -1)
        one.started_s = None
        self._count(build, one, 1)
        self.tell(one, now_s)

    def drop(self, one: Behind) -> None:
        """Let go of one."""
        del self.by_conn[one.conn]
        self.waiting.pop(one.conn, None)
        build = self.by_build[one.build]
        del build.all[one.conn]
        self._count(build, one, -1)
        if not build.all:
            del self.by_build[one.build]

    def beside(self, build: str, most: int) -> tuple[str, ...]:
        """Return other builds that have cores now, at `most` so many."""
        return tuple(islice((one for one in self.at_work if one != build), most))

    def of(self, build: str) -> Iterable[Behind]:
        """Return all that is behind gates of one build."""
        return self.by_build[build].all.values() if build in self.by_build else ()

    def is_test(self, link: Behind) -> bool:
        """Say whether a link is that of a test: its file is named as the unit that calls it."""
        file = os.path.basename(link.name)
        return any(one.is_test and one.unit_id == file for one in self.of(link.build))

    def check(self) -> None:
        """Assert the invariant."""
        for conn, one in self.by_conn.items():
            assert self.by_build[one.build].all[conn] is one, f"{conn} is misfiled"
        assert len(self.by_conn) == sum(len(build.all) for build in self.by_build.values())
        for name, build in self.by_build.items():
            again = OfBuild(build.all)
            for one in build.all.values():
                again.count(one, 1)
            assert again == build and build.all, f"{name} is miscounted: {build}"
        at_work = {name for name, build in self.by_build.items() if build.at_work}
        assert at_work == self.at_work.keys(), "it is not known who has cores"
        waiting = {conn for conn, one in self.by_conn.items() if not one.runs}
        assert waiting == self.waiting.keys(), "it is not known who waits"
        told_s = [one.told_s for one in self.waiting.values()]
        assert told_s == sorted(told_s), "somebody is told too late"

    def _count(self, build: OfBuild, one: Behind, by: int) -> None:
        build.count(one, by)
        if build.at_work:
            self.at_work[one.build] = None
        else:
            self.at_work.pop(one.build, None)


def asking_unit(conn: int, message: messages.Unit, now_s: float) -> Behind:
    """Return a rustc that asks."""
    return Behind(
        conn, message.build, What.UNIT, message.crate, now_s,
        lender=message.lender, pid=message.pid, crate=message.crate,
        key=key_of_unit(message), unit_id=message.id,
        externs=tuple(message.externs), package=message.package,
        is_test="test" in message.kinds,
        is_build_script=message.crate.startswith("build_script_"),
        uses_build_script=message.uses_build_script,
    )  # fmt: skip


def asking_link(conn: int, message: messages.Link, now_s: float) -> Behind:
    """Return a linker that asks. It takes no core: its rustc has one."""
    name = message.output or message.crate or "?"
    return Behind(
        conn, message.build, What.LINK, name, now_s,
        cores=0, pid=message.pid, crate=message.crate,
    )  # fmt: skip


def asking_test(
    conn: int, message: messages.Test, now_s: float, cores: int, lender: str | None
) -> Behind:
    """Return a test binary that asks for `cores`; where they are lent, for one.

    Its file has the id of the unit that made it.
    """
    return Behind(
        conn,
        message.build,
        What.TEST,
        message.name,
        now_s,
        cores=1 if lender else cores,
        lender=lender,
        pid=message.pid,
        key=key_of_test(message.name, message.threads),
        externs=(os.path.basename(message.binary),),
    )


def asking_command(
    conn: int, message: messages.Reserve, now_s: float, reservation: str, cores: int
) -> Behind:
    """Return a command that asks for bytes, and for `cores`."""
    return Behind(
        conn, reservation, What.COMMAND, message.name or message.argv0, now_s,
        cores=cores, lender=message.lender, pid=message.pid,
    )  # fmt: skip
