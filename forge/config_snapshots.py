"""Settings of snapshots: what is saved of target dirs, where, and how much of it."""

from forge.config_values import (
    SIZE,
    Setting,
    count_of,
    read_absolute_path,
    read_auto_or_yes_no,
    read_duration_s,
    read_size,
)

SNAPSHOT_SETTINGS: tuple[Setting, ...] = (
    Setting(
        "snapshots.enabled", 'true, false or "auto"', "auto",
        "Whether target dirs are saved on the SSD by themselves: when idle, before the disk is"
        " unmounted and when the daemon is ended; false also keeps builds from restoring them."
        " `auto`: where the SSD has 64 GiB or more.",
        read_auto_or_yes_no,
    ),
    Setting(
        "snapshots.dir", 'an absolute path, or "auto"', "auto",
        "Where snapshots are kept. `auto`: `snapshots` in the state directory.",
        read_absolute_path,
    ),
    Setting(
        "snapshots.max_size", SIZE, "auto",
        "How much all snapshots together may take. `auto`: a quarter of what is free there, at"
        " most 128GiB.",
        read_size,
    ),
    Setting(
        "snapshots.keep", "a whole number from 1 to 100", 2,
        "How many snapshots of each target dir are kept.",
        count_of(1, 100),
    ),
    Setting(
        "snapshots.idle_after", 'a duration such as "15m", or "0" for never', "15m",
        "How long a target dir is not used before it is saved.",
        read_duration_s,
    ),
)  # fmt: skip
