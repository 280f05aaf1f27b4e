import json
from datetime import UTC, datetime

from forge.daemon.log import DecisionLog


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
