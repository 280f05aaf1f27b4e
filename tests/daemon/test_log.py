import asyncio
import json
import os
import resource
from datetime import UTC, datetime

from forge.daemon.log import BugLog, DecisionLog


def test_each_decision_is_one_line_with_its_numbers(tmp_path):
    log = DecisionLog(
        str(tmp_path / "log"), 10_000, now=lambda: datetime(2026, 11, 1, 12, tzinfo=UTC)
    )
    log.write("disk.mounted", {"size_mib": 64, "name": "\udcff\n"})
    log.close()
    (line,) = (tmp_path / "log").read_text().splitlines()
    entry = json.loads(line)
    assert entry["decision"] == "disk.mounted"
    assert entry["size_mib"] == 64
    assert datetime.fromisoformat(entry["at"]) == datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_a_long_log_is_rotated_and_three_older_ones_kept(tmp_path):
    log = DecisionLog(str(tmp_path / "log"), 1000)
    for number in range(200):
        log.write("tick", {"number": number})
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1", "log.2", "log.3"]
    lines = "".join((tmp_path / f"log{end}").read_text() for end in (".3", ".2", ".1", ""))
    numbers = [json.loads(line)["number"] for line in lines.splitlines()]
    assert numbers == list(range(numbers[0], 200))


def test_a_log_that_cannot_be_written_loses_lines_and_nothing_else(tmp_path):
    log = DecisionLog("/dev/full", 1000)
    log.write("tick", {})
    log.close()


def numbers_in(*paths):
    lines = [line for path in paths for line in path.read_text().splitlines()]
    return [json.loads(line)["number"] for line in lines]


def test_without_a_free_descriptor_the_log_keeps_the_one_it_has(tmp_path):
    log = DecisionLog(str(tmp_path / "log"), 1000)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        for number in range(40):
            log.write("tick", {"number": number})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    with open(tmp_path / "strangers", "w"):  # takes the number that a closed log would leave
        assert numbers_in(tmp_path / "log") == list(range(40))
        for number in range(40, 45):
            log.write("tick", {"number": number})
    assert (tmp_path / "strangers").read_text() == ""
    log.close()
    assert sorted(os.listdir(tmp_path)) == ["log", "log.1", "strangers"], "a later try succeeded"
    assert numbers_in(tmp_path / "log.1", tmp_path / "log") == list(range(45))


def test_a_rotation_that_fails_loses_no_line_and_is_not_tried_on_every_line(tmp_path, capsys):
    (tmp_path / "log.3" / "kept").mkdir(parents=True)  # a file cannot replace it
    (tmp_path / "log.2").touch()
    log = DecisionLog(str(tmp_path / "log"), 1000, echo=True)
    for number in range(40):
        log.write("tick", {"number": number})
    size = (tmp_path / "log").stat().st_size
    complaints = capsys.readouterr().err.count("the log cannot be rotated")
    assert 1 < complaints <= (size - 1000) // 100 + 1 < 30
    assert numbers_in(tmp_path / "log") == list(range(40))
    assert not (tmp_path / "log.new").exists()
    (tmp_path / "log.2").unlink()
    for number in range(40, 44):
        log.write("tick", {"number": number})
    log.close()
    assert (tmp_path / "log.3" / "kept").exists()
    assert numbers_in(tmp_path / "log.1", tmp_path / "log") == list(range(44))


def test_a_bug_that_repeats_is_logged_now_and_then_with_the_number_left_out(tmp_path):
    log = DecisionLog(str(tmp_path / "log"))

    async def crash():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(BugLog(log, every_s=0.1))
        for _ in range(500):
            loop.call_exception_handler({"message": "no more files"})
        loop.call_exception_handler({"message": "failed", "exception": KeyError("other")})
        await asyncio.sleep(0.35)  # the sum is said once, and then all is quiet
        loop.call_exception_handler({"message": "no more files"})

    asyncio.run(crash())
    log.close()
    entries = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(entry["traceback"], entry.get("repeats")) for entry in entries] == [
        ("no more files", None),
        ("KeyError: 'other'\n", None),
        ("no more files", 499),
        ("no more files", None),
    ]
