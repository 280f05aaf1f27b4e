"""Where the time of a build went, and the sentence that says so."""

from typing import Any

import pytest

from forge.core.account import Account, account, cores_busy
from forge.core.verdict import verdict

RG = {"build": "b11", "root": "/src/ripgrep"}
FD = {"build": "b10", "root": "/src/fd"}


def a_record(**changes: Any) -> dict[str, Any]:
    """A build of 63 s, on 2 cores, of which cargo ran 60 s."""
    return {
        "id": "b12", "outcome": "done", "wall_s": 63.0, "cpu_s": 60.0, "cores": 2, "gated": True,
        "waits": {"waiting in line": 3.0, "granted": 0.0, "running": 60.0}, "waited_behind": [RG],
        "at_gates_s": 60.0, "units": 9, "tests": 0, "behind": [], "critical_path": [], **changes,
    }  # fmt: skip


def node(started_s: float, run_s: float, wait_s: float = 0.0, *behind: str) -> dict[str, Any]:
    return {
        "name": f"c{started_s:g}", "started_s": started_s, "run_s": run_s, "wait_s": wait_s,
        "behind": list(behind),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "others_s", "own_s", "path_s"),
    [
        ([], 0, 0, 0),
        ([node(5, 10)], 0, 0, 10),
        ([node(13, 10, 10, "b11")], 10, 0, 10),
        ([node(13, 10, 10)], 0, 10, 10),  # nobody else had cores: its own units did
        ([node(3, 10), node(20, 10, 2)], 0, 2, 20),
        ([node(3, 10), node(8, 15)], 0, 0, 20),  # pipelined: the second began early
        ([node(3, 10), node(14, 10, 6)], 0, 1, 20),  # asked while the first ran: 1 s was lost
        ([node(3, 20), node(5, 10)], 0, 0, 20),  # ended earlier than what it needs
    ],
)
def test_the_parts_of_an_account_add_up_to_the_wall_time(path, others_s, own_s, path_s):
    found = account(a_record(critical_path=path))
    assert (found.others_s, found.own_s, found.path_s) == (others_s, own_s, path_s)
    parts = (found.in_line_s, found.forge_s, found.others_s, found.own_s, found.path_s)
    assert sum(parts) + found.between_s == found.wall_s
    assert found.running_s == 60.0


def test_an_account_of_nothing_is_empty():
    assert account({}) == Account()
    assert cores_busy({}) == 0.0


def test_cores_busy_counts_from_when_cargo_started():
    assert cores_busy(a_record(cpu_s=90.0)) == 1.5


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"waits": {"waiting in line": 41.0, "running": 22.0}},
         "waited 41 s of 1 min 3 s for other builds, b11 (ripgrep)"),
        ({"critical_path": [node(43, 10, 40, "b10")], "behind": [FD]},
         "waited 43 s of 1 min 3 s for other builds, mostly b10 (fd)"),
        ({"waits": {"waiting in line": 41.0, "running": 22.0}, "waited_behind": []},
         "waited 41 s of 1 min 3 s while the machine was held"),
        ({"waits": {"waiting for the shim": 30.0, "resolving": 0.1, "running": 30.0}},
         "waited 30 s of 1 min 3 s for the shim to be compiled"),
        ({"waits": {"waiting for the disk": 30.0, "running": 30.0}},
         "waited 30 s of 1 min 3 s for the RAM disk to be mounted"),
        ({"critical_path": [node(4, 50), node(54, 8)]},
         "bound by its critical path: 58 s of 1 min, longest `c4` with 50 s"),
        ({"critical_path": [node(4, 20)], "cpu_s": 114.0},
         "bound by cores: it kept 1.9 of 2 busy"),
        ({"critical_path": [node(33, 10, 30)]},
         "bound by cores: its units waited 30 s of 1 min for one another"),
        ({"critical_path": [node(33, 10)], "at_gates_s": 10.0},
         "bound by cargo's own work, such as downloads and build scripts: 50 s of 1 min"),
        ({"critical_path": [node(18, 32, 15)], "runs_now": ["c"], "at_gates_s": 1.0},
         "bound by no one thing; its critical path took 32 s of 1 min"),
        ({"critical_path": [node(18, 32, 15)]},
         "bound by no one thing; its critical path took 32 s of 1 min"),
        ({"units": 0}, "nothing was compiled: all was fresh, or it was cargo's own work"),
        ({"units": 0, "outcome": "cancelled", "lost": 2}, "it ended before any of its units had"),
        ({"units": 0, "outcome": "failed"}, "it ended before any of its units had"),
        ({"units": 0, "running": True}, "none of its units has ended so far"),
        ({"units": 0, "gated": False}, "it ran without gates, so nothing is known of its units"),
        ({"waits": {"resolving": 0.2, "waiting in line": 3.0}, "wall_s": 3.2, "running": True,
          "wait": "the machine is held"}, "the machine is held"),
        ({"waits": {"waiting in line": 3.0}, "wall_s": 3.0, "outcome": "cancelled"},
         "cargo never ran: it was cancelled after 3.0 s, behind b11 (ripgrep)"),
        ({"waits": {"waiting in line": 3.0}, "wall_s": 3.0, "outcome": "gave up"},
         "cargo never ran: it gave up after 3.0 s, behind b11 (ripgrep)"),
        ({"waits": {"resolving": 3.0}, "wall_s": 3.0, "outcome": "left", "waited_behind": []},
         "cargo never ran: its launcher went away after 3.0 s"),
    ],
)  # fmt: skip
def test_the_verdict_names_what_a_build_was_bound_by(changes, says):
    assert verdict(a_record(**changes)) == says


def test_short_waits_are_not_worth_a_verdict():
    short = a_record(wall_s=0.5, waits={"waiting in line": 0.4, "running": 0.1}, units=0)
    assert verdict(short).startswith("nothing was compiled")


def test_of_a_build_of_long_ago_the_units_are_forgotten():
    record = a_record()
    del record["critical_path"]
    assert verdict(record) == "its units are forgotten: it is too long ago"
