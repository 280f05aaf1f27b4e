"""Decisions as sentences."""

import re
from pathlib import Path

import pytest

from forge.cli.decisions import SENTENCES, WRONG, sentence
from forge.config import SETTINGS

TOP = Path(__file__).parent.parent.parent
BUILD = {"build": "b12"}
ENDED = {
    **BUILD, "root": "/src/ripgrep", "exit": 0, "signal": None, "wall_s": 63.0, "units": 41,
    "links": 2, "tests": 1, "lost": 0, "cpu_s": 100.0, "waited_s": 0.5, "peak_kib": 1258291,
}  # fmt: skip
GRANTED = {
    **BUILD, "root": "/src/ripgrep", "argv": ["build", "--release"], "tokens": 3, "gated": True,
    "target_dir": "/mnt/b/ripgrep-1", "why": "default",
}  # fmt: skip
MOUNTED = {
    "kind": "tmpfs", "mount_point": "/mnt/b", "size_mib": 4096, "used_bytes": 1024, "adopted": False
}  # fmt: skip
HELD = {"reservation": "r4", "name": "import", "memory_mib": 40960, "cores": 1}
TARGET_DIR, LINE = "waiting for the target dir", "waiting in line"

SERVER = {"server": "s", "url": "http://h:1", "model": "/m.gguf", "pid": 7, "reason": ""}

CASES = [
    ("build.adopted", {**BUILD, "target_dir": "/mnt/b/x"},
     "b12 was taken over from an earlier daemon; it builds in /mnt/b/x"),
    ("build.cancelled", {**BUILD, "phase": "running"}, "b12 is cancelled; it was running"),
    ("build.compiled", BUILD, "b12 has compiled all: the next may have its target dir"),
    ("build.ended", ENDED,
     "b12 (ripgrep) ended: exit 0, 1 min 3 s, 41 units, 2 links, 1 test, peak 1.2 GiB,"
     " 1 min 40 s of cores"),
    ("build.ended", {**ENDED, "root": None, "exit": None, "signal": 9, "links": 0, "tests": 0,
                     "lost": 2, "cpu_s": 0.0, "waited_s": 12.0, "peak_kib": 0, "units": 1},
     "b12 ended: signal 9, 1 min 3 s, 1 unit, 2 lost, units waited 12 s in all"),
    ("build.ended", {**ENDED, "exit": None, "links": 0, "tests": 0, "cpu_s": 0, "peak_kib": 0},
     "b12 (ripgrep) ended: no exit code known, 1 min 3 s, 41 units"),
    ("build.gone", {**BUILD, "part": "cargo"},
     "b12 is over: its cargo has ended, and nobody told how"),
    ("build.granted", GRANTED,
     "b12 (ripgrep) may start `cargo build --release` in /mnt/b/ripgrep-1"),
    ("build.granted", {**GRANTED, "target_dir": None, "why": "no RAM disk", "gated": False},
     "b12 (ripgrep) may start `cargo build --release` off the RAM disk: no RAM disk;"
     " without gates"),
    ("build.impatient", {**BUILD, "patience_s": 60.0},
     "b12 gave up: it has waited for 1 min, as long as it may"),
    ("build.left", {**BUILD, "phase": LINE},
     "b12 left before its cargo had started; it was waiting in line"),
    ("build.left", {**BUILD, "phase": "granted"},
     "b12 left when it was granted, as `clean` and `metadata` do"),
    ("build.orphaned", BUILD,
     "b12 has lost its launcher, which was killed: its cargo is told to end"),
    ("build.again", {**BUILD, "of": "b7"}, "b12 carries on b7"),
    ("build.requeued", {**BUILD, "root": "/src/ripgrep", "times": 1},
     "b12 (ripgrep) is ended for memory, to go on later (1 time so far)"),
    ("build.held_for_room", {**BUILD, "behind": "b7 (app)"},
     "b12 starts no further unit for want of room; b7 (app) goes first"),
    ("build.ran_out", {**BUILD, "root": "/r", "why": "the RAM disk was full (0 B free)"},
     "b12 has failed: the RAM disk was full (0 B free)"),
    ("build.spilled", {**BUILD, "root": "/r", "why": "the RAM disk had 3 MiB free"},
     "b12 is ended, to go on on the SSD: the RAM disk had 3 MiB free"),
    ("disk.paused_units", {"units": 2},
     "2 rustcs stopped, until what is being deleted has made room"),
    ("disk.resumed_units", {"units": 1}, "1 rustc went on: there is room"),
    ("target.returned", {"root": "/r", "target_dir": "/mnt/b/x", "size_bytes": 2048},
     "/mnt/b/x came back from the SSD, 2.0 KiB"),
    ("target.spilled", {"root": "/r", "target_dir": "/mnt/b/x", "size_bytes": 2048, "to": "/s/x",
                        "why": "the RAM disk had 3 MiB free"},
     "/mnt/b/x went to the SSD, /s/x, 2.0 KiB: the RAM disk had 3 MiB free"),
    ("build.priority", {**BUILD, "priority": "batch"}, "b12 is batch now"),
    ("build.started", {**BUILD, "wait_s": 3.2}, "b12 cargo started after 3.2 s"),
    ("build.started", BUILD, "b12 cargo started"),  # of an older daemon
    ("build.waits", {**BUILD, "root": "/src/ripgrep", "for": TARGET_DIR, "ahead": ["b11"]},
     "b12 (ripgrep) waits for b11, which builds in the same target dir"),
    ("build.waits", {**BUILD, "for": TARGET_DIR, "ahead": ["b9", "b10", "b11"]},
     "b12 waits for b9, which builds in the same target dir; then b10 and b11"),
    ("build.waits", {**BUILD, "for": LINE, "ahead": ["b9", "b10", "b11"]},
     "b12 waits in line, behind b9, b10 and b11"),
    ("build.waits", {**BUILD, "for": LINE, "ahead": []}, "b12 waits in line: it is next"),
    ("config.loaded", {"file": "/f.toml"}, "configuration read: /f.toml"),
    ("config.loaded", {"file": None}, "configuration read: no file, all defaults"),
    ("config.refused", {"reason": "bad", "hint": "do", "kept": "the old one"},
     "configuration refused: bad (do); the old one holds"),
    ("config.unwatched", {"reason": "limit", "instead": "`x`"},
     "changes of forge.toml cannot be noticed: limit (instead: `x`)"),
    ("daemon.bug", {"traceback": "Traceback:\n  x\nKeyError: 'a'\n", "repeats": 2},
     "something nobody foresaw, 2 times more: KeyError: 'a' (`forge daemon logs` has all of it)"),
    ("daemon.ended", {"builds": 1}, "the daemon has ended; 1 build goes on without it"),
    ("daemon.started", {"pid": 7, "version": "0.1.0"}, "daemon 0.1.0 has started (pid 7)"),
    ("daemon.stopping", {"builds": 0}, "the daemon was told to end"),
    ("daemon.unreachable", {"socket": "/s"},
     "the daemon ends: nobody can reach it, as its socket /s was taken away"),
    ("disk.failed", {"reason": "no room", "while": "mounting"},
     "the RAM disk failed while mounting: no room"),
    ("disk.lost", {"reason": "ejected", "while": "mounted"},
     "the RAM disk is gone, and nobody asked for it: ejected"),
    ("disk.read_only", {"mount_point": "/m"},
     "the RAM disk at /m has become read-only: builds go to the SSD"),
    ("disk.writable", {"mount_point": "/m"}, "the RAM disk at /m can be written to again"),
    ("disk.unwatched", {"why": "no watches left", "instead": "it is looked at"},
     "the OS tells no changes of the RAM disk: no watches left (instead: it is looked at)"),
    ("build.lost_disk", {**BUILD, "again": True}, "b12 has lost its disk and goes on with another"),
    ("build.lost_disk", {**BUILD, "again": False}, "b12 has lost its disk and ends"),
    ("target.gone", {"path": "/m/a", "root": "/src/a"},
     "the target dir /m/a is gone, and nobody asked for it"),
    ("target.mode", {"root": "/src/a", "mode": "build-dir", "was": "target-dir"},
     "/src/a is built in the mode build-dir from now on (before: target-dir)"),
    ("tmp.swept", {"path": "/m/.tmp/b1-2"},
     "removed /m/.tmp/b1-2, which a build that crashed had left"),
    ("disk.mounted", MOUNTED, "the RAM disk is mounted: tmpfs, 4.0 GiB at /mnt/b"),
    ("disk.mounted", {**MOUNTED, "adopted": True},
     "the RAM disk that was there is adopted: tmpfs, 4.0 GiB at /mnt/b, 1.0 KiB used"),
    ("disk.mounting", {"size_mib": 512, "mount_point": "/mnt/b"},
     "mounting a RAM disk of 512 MiB at /mnt/b"),
    ("disk.resizing", {"from_mib": 512, "to_mib": 1024},
     "resizing the RAM disk from 512 MiB to 1.0 GiB"),
    ("disk.unmeasured", {"reason": "EIO"}, "the RAM disk could not be looked at: EIO"),
    ("disk.unmounted", {}, "the RAM disk is unmounted"),
    ("disk.unmounting", {"mount_point": "/mnt/b", "force": True},
     "unmounting the RAM disk at /mnt/b, even while it is used"),
    ("disk.unseen", {"why": "x"}, "the disk of an earlier daemon could not be looked for: x"),
    ("cgroup.unweighed", {"reason": "/c/cpu.shares: permission denied"},
     "the cores of builds could not be weighed: /c/cpu.shares: permission denied"),
    ("cgroup.weighed", {"weight": 11}, "builds weigh 11 on the cores, where 100 is usual"),
    ("inference.answers", {"server": "s", "url": "http://h:1", "after_s": 14.0},
     "the server at http://h:1 answers again, after 14 s"),
    ("inference.changed", {**SERVER, "state": "busy", "was": "idle"},
     "the server at http://h:1 is busy; it was idle (/m.gguf)"),
    ("inference.changed", {**SERVER, "state": "idle", "was": "idle"},
     "the server at http://h:1 is idle, with another model (/m.gguf)"),
    ("inference.changed", {**SERVER, "state": "absent", "was": "busy", "reason": "refused"},
     "the server at http://h:1 is absent; it was busy: refused"),
    ("inference.changed", {**SERVER, "state": "squeezed", "was": "busy", "missing": 2 << 30,
                           "expected": 4 << 30, "read_back": 1 << 30},
     "the server at http://h:1 is squeezed; it was busy (/m.gguf):"
     " 2.0 GiB of 4.0 GiB not in memory, 1.0 GiB re-read"),
    ("inference.kept_cores", {"kept": 1, "was": 0}, "1 core kept free for inference; 0 before"),
    ("inference.kept_cores", {"kept": 0, "was": 2}, "builds have 2 cores back from inference"),
    ("inference.protected", {"server": "s", "done": ["oom_score_adj -900"], "refused": []},
     "s is protected: oom_score_adj -900"),
    ("inference.protected", {"server": "s", "done": [], "refused": ["/p: not permitted"]},
     "s is protected: nothing; not done: /p: not permitted"),
    ("inference.slow", {"server": "s", "url": "http://h:1", "state": "busy"},
     "the server at http://h:1 does not answer in time; it is taken to be busy"),
    ("inference.unseen", {"reason": "a bug"}, "inference servers cannot be looked at: a bug"),
    ("jobserver.failed", {**BUILD, "why": "x"},
     "b12 gets no job tokens, so cargo makes its own: x"),
    ("jobserver.healed", {**BUILD, "tokens": 1, "in_fifo": 0},
     "b12 got 1 job token back that went with a killed process"),
    ("jobserver.healed", {**BUILD, "tokens": -2, "in_fifo": 9},
     "b12 had 2 job tokens too many: taken out"),
    ("link.killed", {**BUILD, "link": "app", "reached": 1 << 30, "available": 300 << 20,
                     "needs": 3 << 29},
     "the linker of app in b12 was killed for memory: it had reached 1.0 GiB, 300 MiB was"
     " available; from now on it books 1.5 GiB or more"),
    ("unit.killed", {**BUILD, "unit": "heavy", "reached": 1 << 30, "available": 300 << 20,
                     "needs": 3 << 29},
     "the rustc of heavy in b12 was killed for memory: it had reached 1.0 GiB, 300 MiB was"
     " available; from now on it books 1.5 GiB or more"),
    ("link.cancelled", {**BUILD, "link": "app", "booked": 2 << 30},
     "b12 links app again later: it had booked 2.0 GiB"),
    ("disk.bloated", {"kept": 40 << 30, "used": 1 << 20, "idle_s": 600.0},
     "the RAM disk holds 1 MiB and keeps 40.0 GiB: after 10 min without builds it is made anew,"
     " as nothing on it is lost"),
    ("history.forgotten", {"root": "/src/app", "costs": 12, "with_builds": False},
     "forgotten of /src/app: 12 learned costs"),
    ("history.forgotten", {"root": None, "costs": 1, "with_builds": True},
     "forgotten of all projects: 1 learned cost, and past builds"),
    ("link.ended", {**BUILD, "link": "app", "booked": 2 << 30, "learned": True, "peak": 1 << 30},
     "b12 has linked app: it had booked 2.0 GiB from earlier runs, and needed 1.0 GiB"),
    ("memory.tight", {"rung": "shut units", "available": 1 << 30, "low_water": 2 << 30,
                      "falling": 512 << 20},
     "memory is tight, so Forge goes on to: shut units (1.0 GiB available, low water 2.0 GiB,"
     " falling by 512 MiB/s)"),
    ("memory.eased", {"rung": "calm", "available": 9 << 30, "low_water": 2 << 30, "falling": 0},
     "memory has eased: nothing is held back any more (9.0 GiB available, low water 2.0 GiB)"),
    ("memory.eased", {"rung": "shut units", "available": 9 << 30, "low_water": 2 << 30,
                      "falling": 0},
     "memory has eased: now: shut units (9.0 GiB available, low water 2.0 GiB)"),
    ("reserve.cancelled", {**HELD, "running": True},
     "r4 (import) is cancelled; its command is told to end"),
    ("reserve.cancelled", {**HELD, "running": False}, "r4 (import) is cancelled; it was waiting"),
    ("reserve.ended", {**HELD, "exit": 0, "signal": None, "wall_s": 63.0, "cpu_s": 20.0,
                       "peak_kib": 1024},
     "r4 (import): 40.0 GiB and 1 core are free again: exit 0, 1 min 3 s, peak of a process 1 MiB,"
     " 20 s of cores"),
    ("reserve.ended", {**HELD, "exit": None, "signal": 9, "wall_s": 3.0, "cpu_s": 2.0,
                       "peak_kib": 0},
     "r4 (import): 40.0 GiB and 1 core are free again: signal 9, 3.0 s, 2.0 s of cores"),
    ("reserve.granted", {**HELD, "wait_s": 63.0},
     "r4 (import): 40.0 GiB and 1 core are held for it after 1 min 3 s"),
    ("reserve.granted", {**HELD, "cores": 2, "wait_s": 0.0},
     "r4 (import): 40.0 GiB and 2 cores are held for it"),
    ("reserve.impatient", {**HELD, "patience_s": 300.0},
     "r4 (import) gave up: it has waited for 5 min, as long as it may"),
    ("reserve.left", {**HELD, "running": True},
     "r4 (import): 40.0 GiB and 1 core are given up, as its `forge reserve` is gone; its command"
     " may run on"),
    ("reserve.left", {**HELD, "running": False},
     "r4 (import): 40.0 GiB and 1 core are given up, as its `forge reserve` is gone before it had"
     " started"),
    ("reserve.waits", HELD, "r4 (import): 40.0 GiB and 1 core are not there yet: it waits"),
    ("memory.unmeasured", {"reason": "no /proc"},
     "memory cannot be read, so links go by the linker buffer alone: no /proc"),
    ("unit.paused", {**BUILD, "unit": "syn"}, "b12 has its rustc of syn stopped, for memory"),
    ("unit.resumed", {**BUILD, "unit": "syn"}, "b12 goes on with its rustc of syn"),
    ("jobserver.swept", {"path": "/j"}, "removed /j, whose build ended while no daemon ran"),
    ("machine.held", {"running": 1},
     "the machine is held: nothing starts; 1 unit that runs will end"),
    ("machine.held", {"running": 0}, "the machine is held: nothing starts"),
    ("machine.resumed", {"running": 0},
     "the machine goes on: builds, units and tests start again"),
    ("peer.deaf", {"conn": 3}, "connection 3 closed: its client did not read"),
    ("peer.garbage", {"conn": 3, "reason": "x"}, "connection 3 sent garbage: x"),
    ("peer.oversize", {"conn": 3, "type": "go"},
     "a message of type `go` to connection 3 was too long to send"),
    ("peer.refused", {"uid": 5}, "refused a connection of user 5"),
    ("service.news", {"service": "proxy", "what": "died: exit code 1"},
     "service proxy died: exit code 1"),
    ("shim.missing", {"reason": "no rustc"},
     "there is no shim, so builds have no gates: no rustc"),
    ("shim.ready", {"key": "k"}, "the shim is ready (k): builds have gates"),
    ("store.failed", {"why": "full", "then": "builds go on"},
     "the database could not be written: full; builds go on"),
    ("cgroup.missing", {"reason": "permission denied"},
     "builds have no cgroup, so they may be swapped: permission denied"),
    ("cgroup.opened", {"directory": "/c", "swap_off": True},
     "builds run in a cgroup of their own, /c, and are never swapped"),
    ("cgroup.opened", {"directory": "/c", "swap_off": False},
     "builds run in a cgroup of their own, /c, and may be swapped"),
    ("cgroup.unlimited", {"reason": "busy"}, "the ceiling of builds could not be set: busy"),
    ("daemon.saving", {"target_dirs": 2},
     "the daemon was told to end, and saves 2 target dirs before that"),
    ("target.saved", {"snapshot": "s", "target_dir": "app-1", "stored_bytes": 1 << 20},
     "snapshot s of app-1 was made: 1 MiB"),
    ("target.swept", {"path": "/d"}, "deleted /d, which a daemon that was killed had half made"),
    ("target.task_done", {"task": "restore", "target_dir": "/m/a", "size_bytes": 1 << 30,
                          "took_s": 2.0},
     "/m/a was restored: 1.0 GiB in 2.0 s"),
    ("target.task_failed", {"task": "save", "target_dir": "/m/a", "reason": "no space"},
     "/m/a could not be saved: no space"),
    ("target.task_stopped", {"task": "save", "target_dir": "/m/a", "reason": "stopped"},
     "/m/a was not saved to the end: stopped"),
    ("target.unsaved", {"snapshot": "s", "target_dir": "app-1"},
     "snapshot s of app-1 was deleted"),
    ("target.evicting", {"target_dir": "/r/a", "size_bytes": 2 << 30, "for": "room for builds",
                         "because": "not used for 3.0 days, 90 s to build again"},
     "/r/a goes (2.0 GiB) for room for builds: not used for 3.0 days, 90 s to build again"),
    ("target.evicted", {"target_dir": "/r/a", "freed_bytes": 2 << 30, "why": "old"},
     "/r/a was evicted, 2.0 GiB: old"),
    ("target.kept", {"target_dir": "/r/a", "why": "used by cargo (pid 7): the directory"},
     "/r/a was to be evicted, and stays: used by cargo (pid 7): the directory"),
    ("target.left", {"what": "x: Operation not permitted"},
     "could not be deleted from the RAM disk: x: Operation not permitted"),
    ("target.unlinked", {"link": "/l", "why": "x"}, "the link /l could not be made: x"),
]  # fmt: skip


@pytest.mark.parametrize(("decision", "fields", "says"), CASES)
def test_a_decision_is_a_sentence_with_its_numbers(decision, fields, says):
    entry = {"at": "2026-01-02T03:04:05+00:00", "decision": decision, **fields}
    assert sentence(entry).plain == says


def test_every_sentence_is_among_the_cases():
    assert {decision for decision, _, _ in CASES} == set(SENTENCES)


def test_every_decision_of_the_daemon_has_a_sentence_and_none_is_of_the_past():
    settings = {setting.key for setting in SETTINGS}
    calls = re.compile(r"(?:Log|log|write|_log_from_thread)\(\s*\"(\w+\.\w+)\"")
    prefixes = {decision.partition(".")[0] for decision in SENTENCES}
    quoted = re.compile(rf"\"((?:{'|'.join(sorted(prefixes))})\.[a-z_]+)\"")
    used = set()
    for layer in ("core", "daemon"):
        for path in (TOP / "forge" / layer).rglob("*.py"):
            code = path.read_text(encoding="utf-8")
            used |= set(calls.findall(code)) | set(quoted.findall(code))
    assert used - settings == set(SENTENCES)


def test_what_went_wrong_is_known_by_its_name_or_its_exit_code():
    assert set(SENTENCES) >= WRONG
    assert sentence({"decision": "build.ended", **ENDED}).style == ""
    for changes in ({"exit": 101}, {"exit": None, "signal": 9}):
        assert sentence({"decision": "build.ended", **ENDED, **changes}).style == "red"
    assert sentence({"decision": "shim.missing", "reason": "x"}).style == "red"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"decision": "moon.risen", "phase": "full"}, "moon.risen  phase=full"),
        ({"decision": "build.priority", "build": "b1"}, "build.priority  build=b1"),
        ({"decision": "build.ended", "build": "b1", "wall_s": "x"},
         "build.ended  build=b1  wall_s=x"),
        ({"decision": "daemon.bug", "traceback": ""}, "daemon.bug\n"),
        ({"decision": None}, "None"),
        ({"n": 1}, "?  n=1"),
    ],
)  # fmt: skip
def test_what_has_no_sentence_is_shown_as_it_is(entry, says):
    assert sentence(entry).plain == says


def test_names_from_outside_cannot_drive_the_terminal():
    entry = {"decision": "build.priority", "build": "b1\x1b[2J\n", "priority": "x"}
    assert sentence(entry).plain == r"b1\x1b[2J\n is x now"
