"""The settings that policy works with: the configuration after the machine was measured."""

from dataclasses import dataclass, field

from forge.core.disk import DiskSpec
from forge.core.inference_policy import InferencePolicy
from forge.core.memory_map import MemoryMap
from forge.core.service import Service
from forge.core.snapshots import SnapshotSettings


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds now. `disk` None: no RAM disk is wanted (`disk.kind = "none"`).

    `socket_path` is where gates reach the daemon, `jobserver_dir` where builds' FIFOs are.
    `low_water_mib` is what stays available; None: proposed from the machine's size.
    `builds_at_once` None: as many as the cores make sense for.
    `services` are those that are declared; the daemon starts them again where that is wanted.
    `seeds`: a checkout's first target dir is made from that of a sibling.
    `tmp_dir`: compilers put temporary files on the disk. `mount_at_start`: the daemon mounts it
    before anybody asks.
    `grow_disk`: a disk that can takes memory that nobody was promised; `spill_dir` is where target
    dirs go for which it has no room, empty: nowhere.
    `rerun_killed`: a build of which a part was killed for memory runs once more.
    """

    disk: DiskSpec | None
    memory_map: MemoryMap
    cores: int
    socket_path: str = ""
    jobserver_dir: str = ""
    gates: bool = True
    cgroup: bool = True
    low_water_mib: int | None = None
    builds_at_once: int | None = None
    rerun_killed: bool = True
    override_config_target_dir: bool = True
    link_target: bool = False
    seeds: bool = False
    grow_disk: bool = True
    spill_dir: str = ""
    snapshots: SnapshotSettings = field(default_factory=SnapshotSettings)
    inference: InferencePolicy = field(default_factory=InferencePolicy)
    tmp_dir: bool = False
    mount_at_start: bool = False
    config_file: str | None = None
    services: tuple[Service, ...] = ()
    watch_services: bool = True
