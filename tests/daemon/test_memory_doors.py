"""What is written down is written in order, in a thread of its own, and all of it."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from forge.core import actions, disk_actions
from forge.core.learned import Entry
from forge.core.target_dirs import TargetDir
from forge.daemon.memory_doors import MemoryDoors
from forge.host.database import Database
from forge.host.memories import Memories
from forge.host.store import Store

PATIENCE_S = 20.0


class Doors:
    """The doors on a real database, with a server that keeps what it is told to send."""

    def __init__(self, path):
        self.loop = asyncio.get_running_loop()
        self.bugs: list[Any] = []
        self.loop.set_exception_handler(lambda _loop, context: self.bugs.append(context))
        self.database = Database(str(path))
        self.store, self.memories = Store(self.database), Memories(self.database)
        self.sent: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        self.send = lambda conn, message: self.sent.put_nowait((conn, message))
        ports: Any = SimpleNamespace(
            loop=self.loop, store=self.store, memories=self.memories, server=self
        )
        self.memory = MemoryDoors(ports)

    async def answer(self):
        return await asyncio.wait_for(self.sent.get(), PATIENCE_S)

    def close(self):
        self.memory.close()
        self.database.close()


def build(number, units=1):
    learned = tuple(Entry("/src", f"unit c{i}", ((1.0, 1.0, 1),), 1.0, 5.0) for i in range(units))
    return actions.RecordBuild(number, {"id": f"b{number}", "root": "/src"}, {}, learned)


def played(path, play):
    """Run `play` with the doors, and close them."""

    async def run():
        doors = Doors(path)
        try:
            await play(doors)
        finally:
            doors.close()
        await asyncio.sleep(0)
        return doors

    return asyncio.run(run())


def test_nothing_is_told_before_it_is_written_and_the_loop_waits_for_none_of_it(tmp_path):
    async def play(doors):
        is_free, threads = threading.Event(), []
        record = doors.store.record

        def slow(one):
            threads.append(threading.current_thread())
            assert is_free.wait(PATIENCE_S)
            record(one)

        doors.store.record = slow
        doors.memory.record_target_dir(
            disk_actions.RecordTargetDir(TargetDir("/mnt/x", "/src", 1, 1))
        )
        doors.memory.record_build(build(1, units=3000))
        doors.memory.record_build(build(2))
        doors.memory.tell_history(actions.TellHistory(7, 10, None, failed=False))
        doors.memory.tell_build(actions.TellBuild(8, "b9", 9))
        doors.memory.tell_build(actions.TellBuild(9, "b1", 1))
        await asyncio.sleep(0)
        assert doors.sent.empty(), "the disk is slow, and the loop goes on"
        is_free.set()
        conn, history = await doors.answer()
        assert (conn, [one["id"] for one in history["builds"]]) == (7, ["b2", "b1"])
        assert (await doors.answer())[1]["slug"] == "no-such-build"
        assert (await doors.answer())[1]["build"]["id"] == "b1"
        assert threads != [threading.current_thread()]
        assert len(doors.memories.learned(now_s=6.0)) == 3000

    played(tmp_path / "db", play)


def test_a_daemon_that_ends_writes_down_what_is_left(tmp_path):
    async def play(doors):
        for number in range(1, 200):
            doors.memory.record_build(build(number))
            doors.memory.keep_next_build(actions.KeepNextBuild(number + 1))

    played(tmp_path / "db", play)
    database = Database(str(tmp_path / "db"))
    assert Store(database).next_build() == 200
    assert len(Memories(database).builds(500)) == 199
    database.close()


def test_of_what_is_asked_in_several_threads_nothing_is_lost(tmp_path):
    """A second transaction on one connection would fail while the first is open."""

    async def play(doors):
        def forget_and_look():
            for number in range(100):
                doors.memory.forget_target_dir(f"/mnt/{number}")
                doors.memory.target_dirs()

        for number in range(100):
            doors.store.record(TargetDir(f"/mnt/{number}", None, 1, 1))
        other = threading.Thread(target=forget_and_look)
        other.start()
        for number in range(100):
            doors.memory.record_build(build(number + 1, units=20))
        await asyncio.to_thread(other.join)
        assert doors.memory.target_dirs() == {}

    doors = played(tmp_path / "db", play)
    assert doors.bugs == []


@pytest.mark.parametrize("broken", ["record", "builds"])
def test_a_door_that_fails_is_reported_and_what_comes_after_is_done(tmp_path, broken):
    async def play(doors):
        def fail(*_values, **_named):
            raise RuntimeError("a bug")

        setattr(doors.memories, broken, fail)
        doors.memory.record_build(build(1))
        doors.memory.tell_history(actions.TellHistory(7, 10, None, failed=False))
        doors.memory.keep_next_build(actions.KeepNextBuild(9))

    doors = played(tmp_path / "db", play)
    (bug,) = doors.bugs
    assert str(bug["exception"]) == "a bug"
    database = Database(str(tmp_path / "db"))
    assert Store(database).next_build() == 9
    database.close()
