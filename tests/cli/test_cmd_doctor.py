"""`forge doctor`."""

import json

from tests.cli.conftest import Forge, StartDaemon
from tests.cli.fakes import a_disk, a_status


def rows(result):
    return {row["name"]: row for row in json.loads(result.out)["rows"]}


def test_without_a_daemon_it_tells_what_it_cannot_know_and_starts_none(forge: Forge, place):
    result = forge("doctor", "--json")
    assert rows(result)["daemon"]["verdict"] == "unknown"
    assert rows(result)["cgroup of builds"]["finding"] == "only a daemon can tell"
    assert not (place / "state").exists()


def test_what_a_daemon_knows_is_shown_with_the_way_out(forge: Forge, daemon: StartDaemon):
    cgroup: dict[str, object] = {
        "directory": None,
        "version": None,
        "failure": "permission denied",
        "caveats": [],
    }
    daemon(status=[a_status(cgroup=cgroup, cores=8)])
    result = forge("doctor")
    assert result.err == ""
    for words in ("warn", "builds can be swapped: permission denied", "Delegate=yes", "8 cores"):
        assert words in result.out


def test_a_failure_is_exit_code_1_and_no_failure_is_0(forge: Forge, daemon: StartDaemon):
    fake = daemon(status=[a_status()])
    well = forge("doctor", "--json")
    assert json.loads(well.out)["ok"] is (well.code == 0)
    fake.replies["status"] = [a_status(disk=a_disk(phase="failed", failure="no memory"))]
    result = forge("doctor", "--json")
    assert (result.code, json.loads(result.out)["ok"]) == (1, False)
    assert rows(result)["RAM disk"] == {
        "name": "RAM disk",
        "verdict": "fail",
        "finding": "no memory",
        "hint": "`forge disk mount`",
        "fix": None,
    }


def test_a_daemon_that_hangs_or_is_of_another_version_is_told(forge: Forge, daemon: StartDaemon):
    fake = daemon(status=[])
    hung = rows(forge("doctor", "--json"))["daemon"]
    assert (hung["verdict"], hung["hint"]) == ("fail", "`forge daemon restart`")
    fake.replies["status"] = [a_status(version="0.0.9")]
    old = rows(forge("doctor", "--json"))["daemon"]
    assert (old["verdict"], "0.0.9" in old["finding"]) == ("warn", True)
    fake.replies["status"] = [{"type": "status", "status": "nonsense"}]
    assert rows(forge("doctor", "--json"))["daemon"]["verdict"] == "fail"


def test_a_daemon_from_before_the_cgroup_is_no_mishap(forge: Forge, daemon: StartDaemon):
    daemon(status=[a_status()])
    assert rows(forge("doctor", "--json"))["cgroup of builds"]["verdict"] == "unknown"
