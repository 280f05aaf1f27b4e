"""Which part of the state takes which event, and which message."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from forge.core import disk_events, events, messages, room_events, service_actions
from forge.core.actions import Action, LoadSettings
from forge.core.moment import Moment

if TYPE_CHECKING:
    from forge.core.state import State

Steps = dict[type, Callable[[Any, Moment], list[Action]]]
Requests = dict[type, Callable[[int, Any, Moment], list[Action]]]


def steps(state: "State") -> Steps:
    """Return who takes which event."""
    return {
        events.Received: state.received,
        events.Closed: state.closed,
        events.Gone: state.leases.gone,
        events.Resolved: state.where.resolved,
        disk_events.TargetDirReady: state.launches.target_dir_ready,
        disk_events.TargetDirFailed: state.launches.target_dir_failed,
        disk_events.TargetDirsFound: state.target_index.found,
        disk_events.TargetDirMeasured: state.spills.measured,
        events.SnapshotsFound: state.tasks.found,
        events.TaskProgressed: state.tasks.progressed,
        events.TaskDone: state.tasks.done,
        events.TaskFailed: state.tasks.failed,
        events.Ending: state.snapshot_requests.ending,
        disk_events.DiskReady: state.disk_watch.ready,
        disk_events.DiskFailed: state.disk_watch.failed,
        disk_events.DiskAbsent: state.disk_watch.absent,
        disk_events.DiskUnmounted: state.disk_watch.unmounted,
        disk_events.DiskMeasured: state.disk_watch.measured,
        disk_events.DiskLost: state.disk_watch.lost,
        disk_events.DiskSighted: state.disk_watch.sighted,
        disk_events.DiskUnmeasured: state.disk_watch.unmeasured,
        events.ShimReady: state.shim_ready,
        events.ShimMissing: state.shim_missing,
        events.JobserverMade: state.launches.jobserver_made,
        events.TokensSeen: state.jobservers.seen,
        events.TokensMoved: state.jobservers.moved,
        events.HoldersCounted: state.jobservers.counted,
        events.MemoryMeasured: state.memory.measured,
        events.MemoryUnmeasured: state.memory.unmeasured,
        events.InferenceSeen: state.inference.seen,
        events.InferenceUnseen: state.inference.unseen,
        events.BuildsWeighed: state.inference.ranking.weighed,
        events.ServerProtected: state.inference.ranking.has_protected,
        events.LockSeen: state.line.lock_seen,
        events.BuildCgroupOpened: state.cgroup.opened,
        events.BuildCgroupMissing: state.cgroup.missing,
        events.BuildsLimited: state.cgroup.limited,
        events.LauncherSeen: state.launches.launcher_seen,
        events.SettingsLoaded: state.settings_loaded,
        events.SettingsRefused: state.settings_refused,
        events.TargetDirEvicted: state.room.evicted,
        room_events.CheckoutsSeen: state.room.checkouts_seen,
        room_events.StaleFound: state.stale.found,
        service_actions.ServicesSeen: state.services.seen,
        service_actions.ServiceNotStarted: state.services.not_started,
        events.Tick: state.tick,
    }


def requests(state: "State") -> Requests:
    """Return who takes which message of a client."""
    return {
        messages.Begin: state.launches.begin,
        messages.Started: state.leases.started,
        messages.Ended: state.leases.ended,
        messages.Adopt: state.leases.adopt,
        messages.Unit: state.gates.unit,
        messages.UnitEnded: state.killed.ended,
        messages.Link: state.gates.link,
        messages.LinkEnded: state.killed.ended,
        messages.Cancelled: state.gates.cancelled,
        messages.Test: state.test,
        messages.TestEnded: state.gates.ended,
        messages.Reserve: state.reserved.reserve,
        messages.ReserveEnded: state.reserved.ended,
        messages.CancelBuild: state.steering.cancel_build,
        messages.SetPriority: state.steering.set_priority,
        messages.Hold: state.steering.hold,
        messages.History: state.past_builds.history,
        messages.Explain: state.past_builds.explain,
        messages.Forget: state.past_builds.forget,
        messages.Squeezes: state.inference.squeezes.tell,
        messages.Status: state.status,
        messages.Resolve: state.where.ask,
        messages.DiskRequest: state.disk_watch.request,
        messages.SnapshotRequest: state.snapshot_requests.snapshot,
        messages.MoveRequest: state.snapshot_requests.move,
        messages.RoomRequest: state.room.request,
        messages.SetTargetMode: state.target_modes.request,
        messages.AboutPath: state.about_paths.ask,
        messages.Reload: lambda conn, _message, _now: [LoadSettings(conn)],
        messages.Stop: state.stop,
    }
