"""Performs what the core wants of inference servers, and of builds for their sake.

A look at a server that hangs lasts as long as its deadlines allow, so looks have a thread of their
own, and nothing else waits for it.
"""

from forge.core import events
from forge.core.inference_actions import LookAtInference, LowerBuilds, ProtectServer, WeighBuilds
from forge.daemon.ports import Ports
from forge.host import processes
from forge.host.inference_protect import protect
from forge.host.small_files import reason_of


class InferenceDoors:
    """Servers and their standing, as actions."""

    def __init__(self, ports: Ports) -> None:
        self._watcher = ports.inference
        self._cgroups = ports.build_cgroups
        self._watches = ports.watches

    def look(self, action: LookAtInference) -> events.Event:
        """Look at all servers."""
        seen = self._watcher.look(action.servers, deep=action.deep)
        places = {
            one.name: place
            for one in seen
            if one.process and (place := self._cgroups.place_of(one.process.pid))
        }
        return events.InferenceSeen(seen, places)

    def weigh(self, action: WeighBuilds) -> events.Event:
        """Weigh the cgroup of builds."""
        try:
            self._cgroups.weigh(action.file, action.value)
        except OSError as error:
            return events.BuildsWeighed(action.weight, reason_of(error))
        return events.BuildsWeighed(action.weight)

    def lower(self, action: LowerBuilds) -> None:
        """Lower the priority of builds that run."""
        for key in action.cargos:
            process = self._watches.process(key)
            if process:
                processes.lower_tree(process, action.nice)

    def protect(self, action: ProtectServer) -> events.Event:
        """Protect a server, if its pid still is its own."""
        process = processes.identify(action.pid)
        if process is None:
            return events.ServerProtected(action.name, (), ("the process is gone",))
        done, refused = protect(
            action.pid, action.need_bytes, is_same=lambda: processes.is_alive(process)
        )
        return events.ServerProtected(action.name, tuple(done), tuple(refused))
