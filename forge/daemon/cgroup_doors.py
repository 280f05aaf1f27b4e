"""Performs what the core wants done with the cgroup of builds."""

from collections.abc import Callable

from forge.core import actions, events
from forge.core.build_cgroup import BuildCgroup
from forge.daemon.ports import Ports
from forge.host.small_files import reason_of


class CgroupDoors:
    """The cgroup, as actions. `post_next` takes what comes of one, from the loop's thread."""

    def __init__(self, ports: Ports, post_next: Callable[[events.Event], None]) -> None:
        self._door = ports.build_cgroups
        self._post_next = post_next

    def open(self, _action: actions.OpenBuildCgroup) -> None:
        """Make the cgroup: at once, so that no build starts before it is there."""
        found = self._door.open()
        if isinstance(found, BuildCgroup):
            self._post_next(events.BuildCgroupOpened(found))
        else:
            self._post_next(events.BuildCgroupMissing(found.reason))

    def look(self, action: actions.LookAtLauncher) -> None:
        """Look at a launcher: at once, so that it is known before its build starts."""
        self._post_next(events.LauncherSeen(action.build, self._door.limit_left(action.pid)))

    def limit(self, action: actions.LimitBuilds) -> events.Event:
        """Set the ceiling; the kernel may have to make room for that."""
        try:
            ceiling_bytes = self._door.limit(action.directory, action.version, action.ceiling_bytes)
        except (OSError, ValueError) as error:
            return events.BuildsLimited(action.ceiling_bytes, reason_of(error))
        return events.BuildsLimited(ceiling_bytes)
