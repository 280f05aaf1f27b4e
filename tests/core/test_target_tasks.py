"""Tasks on whole target dirs: what a build waits for, what is saved and when, who is answered."""

from dataclasses import replace

import pytest

from forge.core import actions, disk_actions, disk_events, events, messages
from forge.core.builds import BuildPhase
from forge.core.snapshots import Room, Snapshot, SnapshotSettings
from forge.core.target_dirs import TargetDir
from forge.core.tasks import TaskKind
from forge.core.workspace import target_dir_name
from tests.core.driver import DISK, EMPTY, Driver, settings

ROOM = Room(1 << 40, 1 << 40)
NAME = target_dir_name("/src/app")
PATH = f"/mnt/builds/{NAME}"
SAVED = Snapshot("20260101-000000", NAME, "/src/app", 1.0, 1000, 3, "b", 400, 10, disk="old")


def driver(*snapshots: Snapshot, listed: bool = True, mounted: bool = True, **changes) -> Driver:
    wanted = SnapshotSettings(directory="/state/snapshots")
    made = Driver(settings(**{"snapshots": wanted, "seeds": True, **changes}))
    if listed:
        made.post(events.SnapshotsFound(snapshots, ROOM))
    if mounted:
        made.mount()
    return made


def phase(made: Driver) -> BuildPhase:
    (build,) = made.state.builds.values()
    return build.phase


def task(made: Driver):
    return made.asked(actions.BeginTask)[-1].task


def ended(made: Driver, conn: int, **fields) -> None:
    made.receive(conn, messages.Ended(exit=0))
    made.post(events.Closed(conn))
    made.post(disk_events.TargetDirMeasured(PATH, 5000, 9))


class TestABuild:
    def test_waits_until_its_target_dir_is_restored_and_is_told_how_far_it_is(self):
        made = driver(SAVED)
        made.begin(1)
        assert phase(made) is BuildPhase.RESTORING
        assert (task(made).kind, task(made).snapshot, task(made).path) == (
            TaskKind.RESTORE, SAVED, PATH,
        )  # fmt: skip
        made.post(events.TaskProgressed(task(made).number, 500, 1000))
        made.now_s += 1
        made.post(events.Tick())
        assert "is being restored: 500 B of 1000 B" in made.reply(1, "wait")["reason"]
        made.post(events.TaskDone(task(made).number, 1000, 0.1))
        made.make_target_dirs()
        assert made.reply(1, "go")["target_dir"] == PATH
        (build,) = made.state.builds.values()
        assert not build.is_cold

    def test_goes_on_without_when_the_restore_fails_and_is_told_why(self):
        made = driver(SAVED)
        made.begin(1)
        made.post(events.TaskFailed(task(made).number, "snapshot-refused", "it is damaged"))
        made.make_target_dirs()
        assert made.reply(1, "go")["notes"] == ["it is damaged; building anew"]
        assert len(made.asked(actions.BeginTask)) == 1

    def test_waits_for_the_list_of_snapshots_first(self):
        made = driver(listed=False)
        made.begin(1)
        assert phase(made) is BuildPhase.RESTORING
        made.post(events.SnapshotsFound((SAVED,), ROOM))
        assert task(made).kind is TaskKind.RESTORE

    def test_does_not_wait_where_there_is_nothing_to_restore(self):
        made = driver()
        made.begin(1)
        assert phase(made) is BuildPhase.PREPARING

    @pytest.mark.parametrize(("snapshot", "changes"), [
        (replace(SAVED, disk=DISK.token), {}),  # somebody has deleted it on this disk
        (replace(SAVED, size_bytes=EMPTY.free_bytes), {}),  # it leaves no room for the build
        (SAVED, {"snapshots": SnapshotSettings(directory="/s", enabled=False)}),
    ])  # fmt: skip
    def test_is_cold_where_a_restore_is_not_wanted(self, snapshot, changes):
        made = driver(snapshot, **changes)
        made.begin(1)
        assert phase(made) is BuildPhase.PREPARING

    def test_is_not_given_back_what_it_had_and_lost_on_this_disk(self):
        made = driver()
        made.run(1)
        ended(made, 1)
        made.state.tasks.snapshots = (SAVED,)
        made.post(disk_events.TargetDirMeasured(PATH, None))  # `cargo clean`
        made.begin(2)
        assert phase(made) is BuildPhase.PREPARING

    def test_is_given_back_what_was_evicted(self):
        made = driver()
        made.run(1)
        ended(made, 1)
        made.state.tasks.snapshots = (replace(SAVED, disk=DISK.token),)
        made.post(disk_events.TargetDirMeasured(PATH, None))
        made.state.tasks.evicted(PATH)
        made.begin(2)
        assert task(made).kind is TaskKind.RESTORE

    def test_that_finds_the_disk_lost_is_given_back_what_was_on_it(self):
        made = driver()
        made.run(1)
        ended(made, 1)
        made.state.tasks.snapshots = (replace(SAVED, disk=DISK.token),)
        made.begin(2)
        (asked,) = [one for one in made.asked(disk_actions.MakeTargetDir) if one.conn == 2]
        made.post(disk_events.TargetDirFailed(2, asked.path, "it is gone", disk_lost=True))
        made.post(disk_events.DiskReady(replace(DISK, token="new"), EMPTY))
        assert phase(made) is BuildPhase.RESTORING
        assert task(made).kind is TaskKind.RESTORE

    def test_is_not_given_back_what_was_cleaned(self):
        made = driver()
        made.run(1)
        ended(made, 1)
        made.state.tasks.snapshots = (replace(SAVED, disk="another"),)
        made.state.tasks.forget_disk()  # as for a daemon that found this disk
        made.receive(9, messages.RoomRequest(verb="evict", root="/src/app"))
        made.post(events.TargetDirEvicted(PATH, 5000))
        made.post(disk_events.TargetDirMeasured(PATH, None))
        assert made.reply(9, "room")["freed"]
        made.begin(2)
        assert phase(made) is BuildPhase.PREPARING
        assert made.asked(actions.BeginTask) == []

    def test_does_not_wait_to_say_something_that_builds_nothing(self):
        made = driver(SAVED)
        made.begin(1, "metadata")
        assert made.asked(actions.BeginTask) == []

    def test_in_line_is_restored_meanwhile(self):
        made = driver(SAVED, builds_at_once=1)
        made.run(1, root="/src/other")
        made.begin(2)
        second = list(made.state.builds.values())[1]
        assert second.phase is BuildPhase.QUEUED
        assert task(made).path == PATH
        made.post(events.TaskDone(task(made).number, 1000, 0.1))
        made.receive(1, messages.Ended(exit=0))
        assert str(second.phase) == BuildPhase.PREPARING

    def test_two_of_one_project_wait_for_one_restore(self):
        made = driver(SAVED)
        made.begin(1)
        made.begin(2, "build", "--release")
        assert len(made.asked(actions.BeginTask)) == 1
        made.post(events.TaskDone(task(made).number, 1000, 0.1))
        assert {b.phase for b in made.state.builds.values()} == {BuildPhase.PREPARING}

    def test_stops_a_save_and_begins_when_that_has_ended(self):
        made = driver()
        made.run(1)
        ended(made, 1)
        made.state.target_dirs[PATH] = replace(made.state.target_dirs[PATH], last_used_at=1.0)
        made.now_s += 1000
        made.post(events.Tick())
        save = task(made)
        assert save.kind is TaskKind.SAVE
        made.begin(2)
        assert made.asked(actions.StopTask) == [actions.StopTask(save.number)]
        made.post(events.TaskFailed(save.number, "task-stopped", "stopped"))
        assert phase(made) is BuildPhase.PREPARING

    def test_of_a_new_checkout_waits_for_a_seed_from_one_that_was_used_last(self):
        made = driver()
        for path, root, at in (("/mnt/builds/a", "/src/a", 1.0), ("/mnt/builds/b", "/src/b", 2.0),
                               ("/mnt/builds/c", None, 3.0)):  # fmt: skip
            made.state.target_dirs[path] = TargetDir(path, root, at, at, size_bytes=1)
        made.begin(1)
        assert task(made).kind is TaskKind.SEED
        assert task(made).siblings == (("/mnt/builds/b", "/src/b"), ("/mnt/builds/a", "/src/a"))
        made.post(events.TaskFailed(task(made).number, "tree-refused", "no"))
        assert phase(made) is BuildPhase.PREPARING

    def test_that_goes_away_leaves_the_restore_to_the_next_one(self):
        made = driver(SAVED)
        made.begin(1)
        made.post(events.Closed(1))
        made.begin(2)
        assert len(made.asked(actions.BeginTask)) == 1
        made.post(events.TaskDone(task(made).number, 1000, 0.1))
        assert phase(made) is BuildPhase.PREPARING


def used(made: Driver, idle_s: float = 1000.0) -> None:
    """Let a build come and go, and time pass."""
    made.run(1)
    ended(made, 1)
    made.now_s += idle_s


class TestASave:
    def test_begins_when_a_target_dir_is_idle_and_only_once(self):
        made = driver()
        used(made, 10)
        made.post(events.Tick())
        assert made.asked(actions.BeginTask) == []
        made.now_s += 1000
        made.post(events.Tick())
        made.post(events.TaskDone(task(made).number, 0, 0.1))
        made.post(events.Tick())
        assert len(made.asked(actions.BeginTask)) == 1

    def test_that_failed_is_not_tried_again_before_the_next_build(self):
        made = driver()
        used(made)
        made.post(events.Tick())
        made.post(events.TaskFailed(task(made).number, "snapshot-failed", "no space"))
        made.post(events.Tick())
        assert len(made.asked(actions.BeginTask)) == 1
        made.run(2)
        ended(made, 2)
        made.now_s += 1000
        made.post(events.Tick())
        assert len(made.asked(actions.BeginTask)) == 2

    def test_lets_those_go_that_are_too_many(self):
        first, second = (replace(SAVED, id=f"2026010{n}-000000", at=n, disk="t") for n in (1, 2))
        made = driver(first, second)
        used(made)
        made.post(events.Tick())
        third = replace(SAVED, id="20260103-000000", at=3.0, disk="t")
        made.post(events.TaskDone(task(made).number, 1000, 0.1, third))
        (removed,) = made.asked(actions.RemoveSnapshots)
        assert removed.snapshots == (first,)

    def test_comes_before_an_unmount_which_then_goes_on(self):
        made = driver()
        used(made, 1)
        made.receive(9, messages.DiskRequest(verb="unmount"))
        assert made.asked(disk_actions.UnmountDisk) == []
        made.now_s += 1
        made.post(events.Tick())
        assert "is being saved" in made.reply(9, "wait")["reason"]
        made.post(events.TaskDone(task(made).number, 1000, 0.1, replace(SAVED, disk="t")))
        assert len(made.asked(disk_actions.UnmountDisk)) == 1
        made.post(disk_events.DiskUnmounted())
        assert made.reply(9, "disk")["line"] == "the RAM disk is unmounted"

    def test_does_not_come_before_an_unmount_by_force(self):
        made = driver()
        used(made, 1)
        made.receive(9, messages.DiskRequest(verb="unmount", force=True))
        assert len(made.asked(disk_actions.UnmountDisk)) == 1

    def test_that_fails_does_not_keep_the_disk_mounted(self):
        made = driver()
        used(made, 1)
        made.receive(9, messages.DiskRequest(verb="unmount"))
        made.post(events.TaskFailed(task(made).number, "snapshot-failed", "no space"))
        assert len(made.asked(disk_actions.UnmountDisk)) == 1
        made.post(disk_events.DiskUnmounted())
        line = made.reply(9, "disk")["line"]
        assert line == "the RAM disk is unmounted; what has changed could not be saved: no space"

    def test_that_failed_before_is_tried_once_more_before_an_unmount(self):
        made = driver()
        used(made)
        made.post(events.Tick())
        made.post(events.TaskFailed(task(made).number, "snapshot-failed", "no space"))
        made.receive(9, messages.DiskRequest(verb="unmount"))
        assert len(made.asked(actions.BeginTask)) == 2
        made.post(events.TaskDone(task(made).number, 1000, 0.1, replace(SAVED, disk="t")))
        made.post(disk_events.DiskUnmounted())
        assert made.reply(9, "disk")["line"] == "the RAM disk is unmounted"

    def test_comes_before_the_end_of_the_daemon_when_that_is_told_to_end(self):
        made = driver()
        used(made, 1)
        assert made.asked(actions.Quit) == []
        made.post(events.Ending())
        assert made.asked(actions.Quit) == []
        made.post(events.TaskDone(task(made).number, 1000, 0.1, SAVED))
        assert len(made.asked(actions.Quit)) == 1

    def test_before_the_end_is_cut_short_by_time_or_by_being_told_again(self):
        for end in ("time", "again"):
            made = driver()
            used(made, 1)
            made.post(events.Ending())
            made.now_s += 60 if end == "time" else 0
            made.post(events.Tick() if end == "time" else events.Ending())
            assert len(made.asked(actions.Quit)) == 1

    def test_is_not_made_where_nobody_wants_one(self):
        made = driver(snapshots=SnapshotSettings(directory="/s", enabled=False))
        used(made)
        made.post(events.Tick())
        made.post(events.Ending())
        assert made.asked(actions.BeginTask) == []
        assert len(made.asked(actions.Quit)) == 1


class TestARequest:
    def test_to_save_all_is_answered_when_the_last_is_done(self):
        made = driver()
        used(made, 1)
        other = "/mnt/builds/other-1"
        made.state.target_dirs[other] = TargetDir(other, "/src/other", 1.0, 1.0, size_bytes=1)
        made.receive(9, messages.SnapshotRequest(verb="save"))
        first, second = (one.task.number for one in made.asked(actions.BeginTask))
        made.post(events.TaskDone(first, 1000, 0.1, SAVED))
        made.post(events.TaskFailed(second, "snapshot-failed", "no space"))
        reply = made.reply(9, "targets")
        assert [one["snapshot"]["id"] for one in reply["results"]] == [SAVED.id]
        assert reply["failure"] == "no space"

    def test_that_fails_altogether_is_refused_with_the_reason(self):
        made = driver()
        used(made, 1)
        made.receive(9, messages.SnapshotRequest(verb="save", root="/src/app"))
        made.post(events.TaskFailed(task(made).number, "snapshot-failed", "no space", "make some"))
        refusal = made.reply(9, "error")
        assert (refusal["slug"], refusal["hint"]) == ("snapshot-failed", "make some")

    @pytest.mark.parametrize("request_", [
        messages.SnapshotRequest(verb="save", root="/src/app"),
        messages.SnapshotRequest(verb="restore", root="/src/app", replace=True),
        messages.MoveRequest(verb="adopt", root="/src/app"),
        messages.MoveRequest(verb="disown", root="/src/app"),
    ])  # fmt: skip
    def test_for_what_a_build_uses_is_refused(self, request_):
        made = driver(SAVED)
        made.begin(1)
        made.post(events.TaskDone(task(made).number, 1000, 0.1))
        made.make_target_dirs()
        made.done.clear()
        made.receive(9, request_)
        assert made.reply(9, "error")["slug"] == "target-busy"
        assert made.asked(actions.BeginTask) == []

    @pytest.mark.parametrize(("request_", "slug"), [
        (messages.SnapshotRequest(verb="restore", root="/src/none"), "no-such-snapshot"),
        (messages.SnapshotRequest(verb="remove", id="20000101-000000"), "no-such-snapshot"),
        (messages.SnapshotRequest(verb="restore"), "no-such-snapshot"),
        (messages.SnapshotRequest(verb="save", root="/src/none"), "no-such-snapshot"),
        (messages.SnapshotRequest(verb="burn"), "usage-mistake"),
        (messages.MoveRequest(verb="burn", root="/src/app"), "usage-mistake"),
    ])  # fmt: skip
    def test_for_what_is_not_there_is_refused(self, request_, slug):
        made = driver(SAVED)
        made.receive(9, request_)
        assert made.reply(9, "error")["slug"] == slug

    def test_to_adopt_needs_a_disk_but_into_a_snapshot_none(self):
        made = driver(mounted=False)
        made.receive(9, messages.MoveRequest(verb="adopt", root="/src/app"))
        assert made.reply(9, "error")["slug"] == "disk-unavailable"
        made.receive(9, messages.MoveRequest(verb="adopt", root="/src/app", to_snapshot=True))
        assert (task(made).kind, task(made).source) == (TaskKind.KEEP, "/src/app/target")

    def test_to_remove_deletes_one_and_says_which(self):
        made = driver(SAVED)
        made.receive(9, messages.SnapshotRequest(verb="remove", id=SAVED.id))
        assert made.asked(actions.RemoveSnapshots)[0].snapshots == (SAVED,)
        assert made.reply(9, "targets")["results"][0]["id"] == SAVED.id
        made.receive(9, messages.SnapshotRequest(verb="list"))
        assert made.reply(9, "targets")["results"] == []

    def test_whose_client_goes_away_is_finished_all_the_same(self):
        made = driver()
        used(made, 1)
        made.receive(9, messages.SnapshotRequest(verb="save", root="/src/app"))
        made.post(events.Closed(9))
        made.post(events.TaskDone(task(made).number, 1000, 0.1, SAVED))
        assert made.state.tasks.snapshots == (SAVED,)
