"""`forge log`."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from forge.cli.decision_log import DecisionLog
from tests.cli.conftest import Forge
from tests.daemon.harness import RealDaemon

NOW = datetime.now(UTC)


@pytest.fixture
def log(place: Path) -> Path:
    (place / "state").mkdir()
    return place / "state" / "forged.log"


def line(number: int, build: str = "b1", age_s: float = 0.0) -> str:
    at = (NOW - timedelta(seconds=age_s)).isoformat()
    entry = {"at": at, "decision": "build.started", "build": build, "wait_s": number}
    return json.dumps(entry) + "\n"


def write(path: Path, *lines: str) -> None:
    path.write_text("".join(lines))


def numbers(out: str) -> list[int]:
    return [json.loads(one)["wait_s"] for one in out.splitlines()]


def test_each_decision_is_a_line_with_its_time(forge: Forge, log: Path):
    write(log, line(2))
    result = forge("log")
    at = NOW.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    assert (result.code, result.err) == (0, "")
    assert result.out == f"{at}  b1 cargo started after 2.0 s\n"


def test_the_last_50_are_shown_and_rotated_files_are_read_when_needed(forge: Forge, log: Path):
    write(log.with_name("forged.log.2"), *map(line, range(30)))
    write(log.with_name("forged.log.1"), *map(line, range(30, 60)))
    write(log, *map(line, range(60, 70)))
    assert numbers(forge("log", "--json").out) == list(range(20, 70))
    assert numbers(forge("log", "--json", "-n", "3").out) == [67, 68, 69]
    assert numbers(forge("log", "--json", "--lines", "1000").out) == list(range(70))
    assert forge("log", "-n", "0").out == ""


def test_one_build_is_looked_for_in_all_files(forge: Forge, log: Path):
    write(log.with_name("forged.log.1"), line(1, "b1"), line(2, "b2"))
    write(log, line(3, "b12"), line(4, "b1"), line(5, "b2"))
    assert numbers(forge("log", "--build", "b1", "--json").out) == [1, 4]
    assert numbers(forge("log", "--build", "b1", "--json", "-n", "1").out) == [4]
    assert forge("log", "--build", "b7").out == ""


def test_since_shows_all_that_is_younger(forge: Forge, log: Path):
    write(log, *[line(n, age_s=7200) for n in range(10)], *[line(n) for n in range(10, 100)])
    assert numbers(forge("log", "--since", "1h", "--json").out) == list(range(10, 100))
    assert numbers(forge("log", "--since", "1h", "-n", "2", "--json").out) == [98, 99]
    assert len(numbers(forge("log", "--since", "3h", "--build", "b1", "--json").out)) == 100


@pytest.mark.parametrize("duration", ["yesterday", "-1", "", "999999999d"])
def test_a_since_that_is_no_duration_is_a_mistake(forge: Forge, duration):
    result = forge("log", f"--since={duration}")
    assert result.code == os.EX_USAGE
    assert "--since" in result.err


def test_garbage_and_a_torn_last_line_do_no_harm(forge: Forge, log: Path):
    log.write_bytes(line(1).encode() + b"\xff\x1b[2J rubbish\n[1]\n\n" + b'{"at": "2026')
    shown = [one.strip() for one in forge("log").out.splitlines()]
    assert shown[0].endswith("b1 cargo started after 1.0 s")
    assert shown[1:] == [r"\xff\x1b[2J rubbish", "[1]", ""]
    assert numbers(forge("log", "--build", "b1", "--json").out) == [1]
    assert numbers(forge("log", "--since", "1h", "--json").out) == [1]


def test_no_log_is_one_clear_line(forge: Forge, place: Path):
    result = forge("log")
    assert (result.code, result.out) == (0, "")
    assert result.err == f"forge: no log yet: {place}/state/forged.log\n"


class Follower:
    """`forge log --follow --json`, read line by line."""

    def __init__(self, env, *argv: str) -> None:
        command = [sys.executable, "-m", "forge.cli.main", "log", "-f", "--json", *argv]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)

    def read(self) -> int:
        assert self.process.stdout
        return int(json.loads(self.process.stdout.readline())["wait_s"])

    def close(self) -> None:
        self.process.terminate()
        self.process.communicate()


@pytest.fixture
def follower(env, log: Path) -> Iterator[Follower]:
    write(log, line(0), line(1))
    one = Follower(env, "-n", "1", "--build", "b1")
    yield one
    one.close()


def append(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.write("".join(lines))


def test_following_shows_what_is_added_and_asked_for(follower: Follower, log: Path):
    assert follower.read() == 1
    append(log, line(2, "b2"), line(3), line(4)[:20])
    assert follower.read() == 3
    append(log, line(4)[20:])
    assert follower.read() == 4


def test_following_survives_rotations(follower: Follower, log: Path):
    assert follower.read() == 1
    append(log, line(2))
    log.rename(log.with_name("forged.log.1"))
    write(log, line(3))
    assert [follower.read(), follower.read()] == [2, 3]
    log.with_name("forged.log.1").rename(log.with_name("forged.log.2"))
    log.rename(log.with_name("forged.log.1"))
    write(log, line(4))
    assert follower.read() == 4


def test_following_begins_before_there_is_a_log(env, place: Path):
    (place / "state").mkdir()
    one = Follower(env)
    try:
        write(place / "state" / "forged.log", line(7))
        assert one.read() == 7
    finally:
        one.close()


@pytest.fixture
def reader(log: Path) -> Iterator[DecisionLog]:
    write(log, line(0))
    one = DecisionLog(str(log))
    one.last(1)
    yield one
    one.close()


def followed(reader: DecisionLog, *steps) -> list[int]:
    """What is followed while `steps` happen, one at each sleep."""
    left = list(steps)

    def sleep(_: float) -> None:
        if not left:
            raise TimeoutError
        left.pop(0)()

    found = []
    with pytest.raises(TimeoutError):
        for one in reader.follow(sleep):
            found.append(json.loads(one)["wait_s"])  # noqa: PERF401  # it ends by an exception
    return found


def test_no_line_is_lost_when_two_rotations_come_at_once(reader: DecisionLog, log: Path):
    def rotate_twice() -> None:
        append(log, line(1))
        log.rename(log.with_name("forged.log.2"))
        write(log.with_name("forged.log.1"), line(2))
        write(log, line(3))

    assert followed(reader, rotate_twice) == [1, 2, 3]


def test_a_file_that_was_emptied_or_deleted_is_followed_from_its_begin(
    reader: DecisionLog, log: Path
):
    def replace() -> None:
        write(log.with_name("forged.log.1"), line(99))  # long ago
        log.unlink()
        write(log, line(2), line(3))

    def empty() -> None:
        os.truncate(log, 0)

    def add() -> None:
        append(log, line(4))

    assert followed(reader, replace, empty, add) == [2, 3, 4]


def test_half_a_line_at_a_files_end_is_not_glued_to_the_next_file(reader: DecisionLog, log: Path):
    def tear() -> None:
        append(log, line(1).rstrip("\n"))
        log.rename(log.with_name("forged.log.1"))
        write(log, line(2))

    assert followed(reader, tear) == [1, 2]


def test_a_file_that_was_rotated_since_it_was_opened_is_read_once(log: Path):
    write(log, line(0))
    reader = DecisionLog(str(log))
    log.rename(log.with_name("forged.log.1"))
    write(log, line(1))
    try:
        assert [json.loads(one)["wait_s"] for one in reader.last(10)] == [0]
        assert followed(reader) == [1]
    finally:
        reader.close()


def test_following_survives_a_restart_of_a_real_daemon():
    real = RealDaemon('[disk]\nkind = "none"\n')
    follower = None
    try:
        real.start()
        command = [sys.executable, "-m", "forge.cli.main", "log", "--follow"]
        follower = subprocess.Popen(command, env=real.env, stdout=subprocess.PIPE, text=True)
        assert follower.stdout
        subprocess.run(
            [sys.executable, "-m", "forge.cli.main", "daemon", "restart"],
            env=real.env, check=True, capture_output=True,
        )  # fmt: skip
        started = 0
        for shown in follower.stdout:
            started += " has started (pid " in shown
            if started == 2:
                break
        assert started == 2
    finally:
        if follower:
            follower.terminate()
            follower.communicate()
        subprocess.run(
            [sys.executable, "-m", "forge.cli.main", "daemon", "stop"],
            env=real.env, check=True, capture_output=True,
        )  # fmt: skip
        real.close()
