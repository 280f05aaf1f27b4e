"""From forge.toml and the measured machine to the settings that the core works with."""

import os
from collections.abc import Mapping
from pathlib import Path

from forge import config, paths
from forge.config_inference import launch_of
from forge.core.disk import DiskKind, DiskSpec
from forge.core.inference_policy import InferencePolicy
from forge.core.inference_settings import ServerSpec
from forge.core.settings import Settings
from forge.core.snapshots import SnapshotSettings
from forge.core.units import MIB
from forge.errors import ConfigInvalid
from forge.host import machine
from forge.host.inference_files import found_rows
from forge.host.ramdisk import RamDisk
from forge.host.small_files import read_text, reason_of

INODE_BYTES = 4096
LAUNCHD_LABEL = "com.opta.forge"
"""What launchd calls us, in XPC_SERVICE_NAME: hooks/launchd."""


def load_settings(
    file: str, ramdisk: RamDisk, env: Mapping[str, str]
) -> tuple[config.Config, Settings]:
    """Read forge.toml and fill in what it leaves to the machine. Raises ConfigInvalid."""
    cfg = config.load(Path(file))
    found = found_rows(launch_of(cfg))
    total_mib = cfg["host.memory"] or machine.memory_mib()
    memory_map = config.memory_map(cfg, total_mib, file, found.mib)
    return cfg, Settings(
        disk=_disk_spec(cfg, memory_map.size_mib("ram_disk"), ramdisk),
        memory_map=memory_map,
        cores=cfg["host.cores"] or machine.cores(),
        socket_path=paths.socket_path(env),
        jobserver_dir=os.path.join(paths.state_dir(env), "jobs"),
        gates=cfg["builds.gates"],
        cgroup=cfg["builds.cgroup"],
        low_water_mib=cfg["host.low_water"],
        builds_at_once=cfg["builds.at_once"],
        rerun_killed=cfg["builds.rerun_killed"],
        override_config_target_dir=cfg["builds.override_config_target_dir"],
        link_target=cfg["builds.link_target"],
        seeds=cfg["builds.seed"],
        grow_disk=cfg["disk.grow"],
        spill_dir=cfg["disk.spill_dir"] or paths.spill_dir(env),
        snapshots=_snapshots(cfg, env),
        inference=InferencePolicy(
            servers=servers(cfg) if cfg["inference.enabled"] else (),
            cores=cfg["inference.cores"],
            protect=cfg["inference.protect"],
            build_nice=cfg["inference.build_nice"],
        ),
        tmp_dir=cfg["builds.tmp_dir"],
        mount_at_start=_mounts_at_start(cfg, env),
        config_file=str(cfg.path) if cfg.path else None,
        services=tuple(cfg.services.values()),
        watch_services=cfg["services.watch"],
    )


def _mounts_at_start(cfg: config.Config, env: Mapping[str, str]) -> bool:
    """Say whether the disk is mounted before anybody asks: where a manager has started us."""
    wanted = cfg["disk.mount_at_start"]
    if wanted is not None:
        return bool(wanted)
    return "NOTIFY_SOCKET" in env or env.get("XPC_SERVICE_NAME") == LAUNCHD_LABEL


def _snapshots(cfg: config.Config, env: Mapping[str, str]) -> SnapshotSettings:
    max_mib = cfg["snapshots.max_size"]
    return SnapshotSettings(
        directory=cfg["snapshots.dir"] or paths.snapshots_dir(env),
        enabled=cfg["snapshots.enabled"],
        max_bytes=None if max_mib is None else max_mib * MIB,
        keep=cfg["snapshots.keep"],
        idle_s=cfg["snapshots.idle_after"],
    )


def servers(cfg: config.Config) -> tuple[ServerSpec, ...]:
    """Return the servers that are set. Raises ConfigInvalid for a key that cannot be read."""
    file = cfg["inference.api_key_file"]
    key = None
    if file:
        try:
            key = (read_text(file).splitlines() or [""])[0].strip() or None
        except OSError as error:
            raise ConfigInvalid(
                f"`inference.api_key_file` cannot be read: {reason_of(error)}",
                hint="it has the key in its first line, and only you may read it",
            ) from None
    return tuple(ServerSpec(name=url, url=url, api_key=key) for url in cfg["inference.url"])


def _disk_spec(cfg: config.Config, size_mib: int, ramdisk: RamDisk) -> DiskSpec | None:
    wanted = cfg["disk.kind"]
    if wanted == "none" or not size_mib:
        return None  # to tmpfs, a size of 0 is none at all
    kind = None if wanted == "auto" else DiskKind(wanted)
    likely, place = ramdisk.place_of(kind)
    if likely in (DiskKind.APFS, DiskKind.APFS_WIRED):
        place = f"{place.rpartition('/')[0]}/{cfg['disk.volume_name']}"
    return DiskSpec(
        mount_point=cfg["disk.mount_point"] or place,
        size_mib=size_mib,
        inodes=cfg["disk.inodes"] or size_mib * 1024 * 1024 // INODE_BYTES,
        kind=kind,
    )
