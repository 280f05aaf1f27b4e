"""The settings that policy works with: the configuration after the machine was measured."""

from dataclasses import dataclass

from forge.core.disk import DiskSpec
from forge.core.memory_map import MemoryMap


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds now. `disk` None: no RAM disk is wanted (`disk.kind = "none"`)."""

    disk: DiskSpec | None
    memory_map: MemoryMap
    cores: int
    override_config_target_dir: bool = True
    link_target: bool = False
    config_file: str | None = None
