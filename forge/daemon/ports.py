"""The doors that the daemon works through, in one value, so that tests can hand in others."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forge.daemon.log import DecisionLog
from forge.daemon.server import Server
from forge.daemon.watches import Watches
from forge.host.build_cgroup import BuildCgroups
from forge.host.fifo import Jobservers
from forge.host.inference import InferenceWatcher
from forge.host.memories import Memories
from forge.host.memory import Memory
from forge.host.ramdisk import RamDisk
from forge.host.store import Store
from forge.host.workspaces import Workspaces


@dataclass(frozen=True, slots=True)
class Ports:
    """What actions are performed with. `identity` is what the status says of the daemon itself."""

    loop: asyncio.AbstractEventLoop
    ramdisk: RamDisk
    workspaces: Workspaces
    jobservers: Jobservers
    env: Mapping[str, str]
    store: Store
    memories: Memories
    memory: Memory
    build_cgroups: BuildCgroups
    inference: InferenceWatcher
    watches: Watches
    server: Server
    log: DecisionLog
    config_file: str
    identity: Mapping[str, Any]
