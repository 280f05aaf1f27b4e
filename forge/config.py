"""forge.toml: what may be set, what it means, and what holds when it is not set.

`SETTINGS` is the one list of settings: the parser, `forge config`, the shipped documentation and
its test all read it. `tomllib` reads (toml 0.10.2 drops parts of valid TOML), `toml` writes.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forge.config_inference import INFERENCE_SETTINGS
from forge.config_remote import REMOTE_SETTINGS
from forge.config_servers import SERVER_SETTINGS
from forge.config_snapshots import SNAPSHOT_SETTINGS
from forge.config_values import (
    SIZE,
    Setting,
    count_of,
    one_of,
    read_absolute_path,
    read_size,
    read_some_size,
    read_volume_name,
    read_yes_no,
    read_yes_no_or_auto,
)
from forge.core.disk import DiskKind
from forge.core.memory_map import REFERENCE_ROWS, MemoryMap, propose
from forge.core.service import Misread, Service, read_service
from forge.core.service_order import check_order
from forge.errors import ConfigInvalid

_KINDS = ", ".join(f'"{kind}"' for kind in DiskKind)
_ROWS_BY_THEMSELVES = {
    "model": "78GiB on a machine of exactly 256GiB, which is taken for the reference host; nothing"
    " on any other",
    "draft_model": "3GiB beside a model of 78GiB that nobody has set; else nothing",
    "agent_context": "its part of what the models and the operating system leave; nothing without"
    " a model",
    "operating_system": "4GiB and a sixteenth of the machine, or half of what the models leave if"
    " that is less",
    "linker_buffer": "what the other rows leave",
}

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "disk.kind", f'"auto", {_KINDS} or "none"', "auto",
        "What the RAM disk is made of. `auto` takes the best that this user can have; `none` leaves"
        " every target dir where cargo puts it.",
        one_of("auto", "none", *DiskKind),
    ),
    Setting(
        "disk.size", SIZE, "auto",
        "Size of the RAM disk, and its row of the memory map. `auto`: its part of what the models"
        " and the operating system leave, at most 64GiB.",
        read_size,
    ),
    Setting(
        "disk.mount_point", 'an absolute path, or "auto"', "auto",
        "Where a tmpfs is mounted, or where the directory is for the kinds shm and directory."
        " macOS takes disk.volume_name instead.",
        read_absolute_path,
    ),
    Setting(
        "disk.volume_name", "letters, digits, blanks, `_`, `.` and `-`, at most 63", "OptaBuilds",
        "Name of the volume on macOS: it is mounted at /Volumes/NAME.",
        read_volume_name,
    ),
    Setting(
        "disk.inodes", 'a whole number from 1000 to 1000000000, or "auto"', "auto",
        "How many files a tmpfs may hold. `auto`: one for each 4 KiB.",
        count_of(1000, 1_000_000_000),
    ),
    Setting(
        "disk.grow", "true or false", True,
        "Whether a RAM disk that runs full takes more memory, if its kind can (tmpfs) and nobody"
        " was promised it. It gives it back when nothing is built.",
        read_yes_no,
    ),
    Setting(
        "disk.spill_dir", 'an absolute path, or "auto"', "auto",
        "Where target dirs go for which the RAM disk has no room: a directory of Forge's own, which"
        " it makes. `auto`: `spilled` in the cache directory.",
        read_absolute_path,
    ),
    Setting(
        "disk.mount_at_start", 'true, false or "auto"', "auto",
        "Whether the daemon mounts the RAM disk when it starts, so that the first build finds it."
        " `auto`: when systemd or launchd starts it, as at each boot.",
        read_yes_no_or_auto,
    ),
    Setting(
        "builds.tmp_dir", "true or false", True,
        "Whether rustc and linkers put their temporary files on the RAM disk, where TMPDIR is not"
        " set and there is room.",
        read_yes_no,
    ),
    Setting(
        "builds.override_config_target_dir", "true or false", True,
        "Whether a `build.target-dir` in a cargo configuration file gives way to the RAM disk."
        " `--target-dir` and CARGO_TARGET_DIR always win.",
        read_yes_no,
    ),
    Setting(
        "builds.gates", "true or false", True,
        "Whether each rustc and each linker starts through the native shim, which Forge compiles"
        " once with your rustc.",
        read_yes_no,
    ),
    Setting(
        "builds.cgroup", "true or false", True,
        "Whether builds run in a cgroup of their own, on Linux where one can be had: without swap,"
        " and with a ceiling that leaves the low water to everybody else.",
        read_yes_no,
    ),
    Setting(
        "builds.at_once", 'a whole number from 1 to 1000, or "auto"', "auto",
        "How many builds may compile at the same time; the others wait in line, an editor's short"
        " checks beside them. `auto`: as many as there are cores, and at least 2.",
        count_of(1, 1000),
    ),
    Setting(
        "builds.rerun_killed", "true or false", True,
        "Whether a build of which a rustc or a linker was killed for memory runs once more, with"
        " that known. FORGE_RERUN=0 says no for one.",
        read_yes_no,
    ),
    Setting(
        "builds.link_target", "true or false", False,
        "Whether to put a link named `target` into a project that has none.",
        read_yes_no,
    ),
    Setting(
        "builds.seed", "true or false", True,
        "Whether the first target dir of a checkout is made from that of another checkout of the"
        " same repository.",
        read_yes_no,
    ),
    *SNAPSHOT_SETTINGS,
    Setting(
        "host.memory", SIZE, "auto",
        "Memory of the machine. `auto`: what is measured; a cgroup's limit counts.",
        read_size,
    ),
    Setting(
        "host.cores", 'a whole number from 1 to 4096, or "auto"', "auto",
        "Cores that Forge may plan with. `auto`: those this process may run on.",
        count_of(1, 4096),
    ),
    Setting(
        "host.low_water", SIZE, "auto",
        "Memory that must stay available: below it builds give way, step by step. `auto`: 4 % of"
        " the machine, at least 384MiB and at most 8GiB.",
        read_size,
    ),
    *(
        Setting(
            row.setting, SIZE, "auto",
            f"The row `{row.tenant}` of the memory map. `auto`: {_ROWS_BY_THEMSELVES[row.key]}.",
            read_size,
        )
        for row in REFERENCE_ROWS
        if row.key in _ROWS_BY_THEMSELVES
    ),
    *SERVER_SETTINGS,
    *INFERENCE_SETTINGS,
    Setting(
        "services.watch", "true or false", True,
        "Whether the daemon starts services again that died, where they have no manager of their"
        " own. `forge services watch off` turns it off until it is turned on.",
        read_yes_no,
    ),
    *REMOTE_SETTINGS,
    Setting(
        "daemon.log_size", 'a size such as "10MiB"', "10MiB",
        "Size at which the decision log is rotated; three older ones are kept.",
        read_some_size,
    ),
)  # fmt: skip

BY_KEY: Mapping[str, Setting] = {setting.key: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class Config:
    """Settings as read: by dotted key; a setting that is absent or "auto" holds None.

    `services` are those that are declared, by name, in the order of the file.
    """

    values: Mapping[str, Any]
    path: Path | None = None
    services: Mapping[str, Service] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        if key in self.values:
            return self.values[key]
        setting = BY_KEY[key]
        return setting.read(setting.default)

    def is_set(self, key: str) -> bool:
        """Say whether the file sets `key`."""
        return key in self.values


def memory_map(
    cfg: Config, total_mib: int, file: str, found_mib: Mapping[str, int] | None = None
) -> MemoryMap:
    """Return the memory map of a machine with these settings.

    What is found counts where it fits: a model that is too large must not stop builds. Raises
    ConfigInvalid with `file` and the setting to change when what is set does not fit the memory.
    """
    wanted = {row.key: cfg[row.setting] for row in REFERENCE_ROWS}
    if cfg["disk.kind"] == "none":
        wanted["ram_disk"] = 0
    low_water_mib = cfg["host.low_water"] or 0
    if low_water_mib >= total_mib:
        raise ConfigInvalid(
            f"{file}: all {total_mib} MiB of memory are below the low water;"
            f" lower `host.low_water` ({low_water_mib} MiB)"
        )
    asked = {key: mib for key, mib in wanted.items() if mib is not None}
    try:
        if found_mib:
            with suppress(ValueError):
                return propose(total_mib, asked, found_mib)
        return propose(total_mib, asked)
    except ValueError as error:
        raise ConfigInvalid(f"{file}: {error}") from None


def load(path: Path) -> Config:
    """Read forge.toml; a missing file is an empty one. Raises ConfigInvalid with file and line."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return Config({}, None)
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"{path}: not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise ConfigInvalid(f"{path}: cannot be read: {error.strerror}") from None
    return parse(text, path)


def parse(text: str, path: Path) -> Config:
    """Read the text of forge.toml. Raises ConfigInvalid with file, line, key and value."""
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigInvalid(f"{path}: {error}", hint="it must be TOML 1.0") from None
    values: dict[str, Any] = {}
    services = _services(document, text, path)
    for key, value in _flatten(document):
        where = f"{path}:{_line_of(text, key)}"
        setting = BY_KEY.get(key)
        if setting is None:
            raise ConfigInvalid(f"{where}: there is no setting `{key}`", hint=_nearest(key))
        try:
            values[key] = setting.read(value)
        except ValueError as error:
            detail = f" ({error})" if str(error) else ""
            raise ConfigInvalid(
                f"{where}: `{key}` cannot be {value!r}{detail}", hint=f"write {setting.expects}"
            ) from None
    return Config(values, path, services)


def _services(document: dict[str, Any], text: str, path: Path) -> dict[str, Service]:
    """Take the declarations of services out of the document, and read them."""
    section = document.get("services")
    if not isinstance(section, dict):
        return {}
    tables = {name: table for name, table in section.items() if isinstance(table, dict)}
    document["services"] = {name: one for name, one in section.items() if name not in tables}
    services: dict[str, Service] = {}
    for name, table in tables.items():
        try:
            services[name] = read_service(name, table)
        except Misread as error:
            key = f"services.{name}" + (f".{error.key}" if error.key else "")
            where = f"{path}:{_line_of(text, key)}"
            if error.unknown:
                raise ConfigInvalid(
                    f"{where}: services have no `{error.key}`", hint=f"write {error.expects}"
                ) from None
            what = "is missing" if error.value is None else f"cannot be {error.value!r}"
            raise ConfigInvalid(f"{where}: `{key}` {what}", hint=f"write {error.expects}") from None
    try:
        check_order(services)
    except ValueError as error:
        raise ConfigInvalid(f"{path}: {error}", hint="change `after`") from None
    return services


def _flatten(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in table.items():
        key = f"{prefix}{name}"
        sections = {known.split(".")[0] for known in BY_KEY}
        if isinstance(value, dict) and key in sections:
            found += _flatten(value, f"{key}.")
        else:
            found.append((key, value))
    return found


def _line_of(text: str, key: str) -> int:
    """Find the line that sets `key`: in its section, or dotted, or inline; 1 if hidden deeper."""
    section, _, name = key.rpartition(".")
    here = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([^\]]+?)\s*\]", line)
        if header:
            here = header[1].replace(" ", "").replace('"', "")
            if here == key:
                return number
            continue
        word = re.match(r'\s*"?([A-Za-z0-9_."-]+?)"?\s*=', line)
        if word:
            full = f"{here}.{word[1]}" if here else word[1]
            if full == key or (full == section and name in line):
                return number
    return 1


def _nearest(key: str) -> str:
    import difflib

    close = difflib.get_close_matches(key, BY_KEY, n=1, cutoff=0.5)
    if close:
        return f"did you mean `{close[0]}`?"
    return "`forge config show` lists all settings"
