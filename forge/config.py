"""forge.toml: what may be set, what it means, and what holds when it is not set.

`SETTINGS` is the one list of settings: the parser, `forge config`, the shipped documentation and
its test all read it. `tomllib` reads (toml 0.10.2 drops parts of valid TOML), `toml` writes.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forge.config_servers import read_key_file, read_urls
from forge.core.disk import DiskKind
from forge.core.memory_map import REFERENCE_ROWS, MemoryMap, propose
from forge.core.service import Misread, Service, read_service
from forge.core.service_order import check_order
from forge.core.units import parse_size_mib
from forge.errors import ConfigInvalid


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its dotted key, what is right for it, its meaning, and how it is read.

    `default` is what `forge config show` prints for a setting that is absent; "auto" means that it
    is computed from the machine.
    """

    key: str
    expects: str
    default: Any
    meaning: str
    read: Callable[[Any], Any]


def _one_of(*allowed: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in allowed:
            raise ValueError
        return str(value)

    return read


def _size(value: Any) -> int | None:
    if value == "auto":
        return None
    if not isinstance(value, str):
        raise ValueError
    return parse_size_mib(value)


def _some_size(value: Any) -> int:
    size_mib = _size(value)
    if not size_mib:
        raise ValueError
    return size_mib


def _count(low: int, high: int) -> Callable[[Any], int | None]:
    def read(value: Any) -> int | None:
        if value == "auto":
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError
        return value

    return read


def _absolute_path(value: Any) -> str | None:
    if value == "auto":
        return None
    if not isinstance(value, str) or not os.path.isabs(os.path.expanduser(value)):
        raise ValueError
    return os.path.normpath(os.path.expanduser(value))


def _volume_name(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}", value):
        raise ValueError
    return value


def _yes_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


_SIZE = 'a size such as "64GiB", or "auto"'
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
        _one_of("auto", "none", *DiskKind),
    ),
    Setting(
        "disk.size", _SIZE, "auto",
        "Size of the RAM disk, and its row of the memory map. `auto`: its part of what the models"
        " and the operating system leave, at most 64GiB.",
        _size,
    ),
    Setting(
        "disk.mount_point", 'an absolute path, or "auto"', "auto",
        "Where a tmpfs is mounted, or where the directory is for the kinds shm and directory."
        " macOS takes disk.volume_name instead.",
        _absolute_path,
    ),
    Setting(
        "disk.volume_name", "letters, digits, blanks, `_`, `.` and `-`, at most 63", "OptaBuilds",
        "Name of the volume on macOS: it is mounted at /Volumes/NAME.",
        _volume_name,
    ),
    Setting(
        "disk.inodes", 'a whole number from 1000 to 1000000000, or "auto"', "auto",
        "How many files a tmpfs may hold. `auto`: one for each 4 KiB.",
        _count(1000, 1_000_000_000),
    ),
    Setting(
        "builds.override_config_target_dir", "true or false", True,
        "Whether a `build.target-dir` in a cargo configuration file gives way to the RAM disk."
        " `--target-dir` and CARGO_TARGET_DIR always win.",
        _yes_no,
    ),
    Setting(
        "builds.gates", "true or false", True,
        "Whether each rustc and each linker starts through the native shim, which Forge compiles"
        " once with your rustc.",
        _yes_no,
    ),
    Setting(
        "builds.cgroup", "true or false", True,
        "Whether builds run in a cgroup of their own, on Linux where one can be had: without swap,"
        " and with a ceiling that leaves the low water to everybody else.",
        _yes_no,
    ),
    Setting(
        "builds.at_once", 'a whole number from 1 to 1000, or "auto"', "auto",
        "How many builds may compile at the same time; the others wait in line, an editor's short"
        " checks beside them. `auto`: as many as there are cores, and at least 2.",
        _count(1, 1000),
    ),
    Setting(
        "builds.rerun_killed", "true or false", True,
        "Whether a build of which a rustc or a linker was killed for memory runs once more, with"
        " that known. FORGE_RERUN=0 says no for one.",
        _yes_no,
    ),
    Setting(
        "builds.link_target", "true or false", False,
        "Whether to put a link named `target` into a project that has none.",
        _yes_no,
    ),
    Setting(
        "host.memory", _SIZE, "auto",
        "Memory of the machine. `auto`: what is measured; a cgroup's limit counts.",
        _size,
    ),
    Setting(
        "host.cores", 'a whole number from 1 to 4096, or "auto"', "auto",
        "Cores that Forge may plan with. `auto`: those this process may run on.",
        _count(1, 4096),
    ),
    Setting(
        "host.low_water", _SIZE, "auto",
        "Memory that must stay available: below it builds give way, step by step. `auto`: 4 % of"
        " the machine, at least 384MiB and at most 8GiB.",
        _size,
    ),
    *(
        Setting(
            row.setting, _SIZE, "auto",
            f"The row `{row.tenant}` of the memory map. `auto`: {_ROWS_BY_THEMSELVES[row.key]}.",
            _size,
        )
        for row in REFERENCE_ROWS
        if row.key in _ROWS_BY_THEMSELVES
    ),
    Setting(
        "inference.url", "an http or https address, or a list of them", "http://127.0.0.1:8080",
        "Where the llama-server answers, or all of several.",
        read_urls,
    ),
    Setting(
        "inference.api_key_file", "an absolute path, or nothing", "",
        "A file that has the key of the servers in its first line, where they want one.",
        read_key_file,
    ),
    Setting(
        "inference.enabled", "true or false", True,
        "Whether Forge looks after inference servers: looks at them, keeps cores and memory for"
        " them, and has builds give way.",
        _yes_no,
    ),
    Setting(
        "inference.cores", 'a whole number from 0 to 4096, or "auto"', "auto",
        "Cores that builds leave free while a server generates or loads; at least one is left to"
        " builds. `auto`: its threads (`-t`), half of the cores at most; one in eight where they"
        " are not known.",
        _count(0, 4096),
    ),
    Setting(
        "inference.build_nice", "a whole number from 0 to 19", 10,
        "How far builds step back on the cores for a server, as a nice: the cgroup of builds gets"
        " the weight that this means while a server works, and where it has none, builds that start"
        " while a server is there have it. 0: not at all.",
        _count(0, 19),
    ),
    Setting(
        "inference.protect", "true or false", False,
        "Whether Forge may tell the kernel to spare the server, on Linux and as far as the user"
        " that runs it may: a low `oom_score_adj`, and `memory.low` of a cgroup that is the"
        " server's own.",
        _yes_no,
    ),
    Setting(
        "services.watch", "true or false", True,
        "Whether the daemon starts services again that died, where they have no manager of their"
        " own. `forge services watch off` turns it off until it is turned on.",
        _yes_no,
    ),
    Setting(
        "daemon.log_size", 'a size such as "10MiB"', "10MiB",
        "Size at which the decision log is rotated; three older ones are kept.",
        _some_size,
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


def memory_map(cfg: Config, total_mib: int, file: str) -> MemoryMap:
    """Return the memory map of a machine with these settings.

    Raises ConfigInvalid with `file` and the setting to change when it does not fit the memory.
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
    try:
        return propose(total_mib, {key: mib for key, mib in wanted.items() if mib is not None})
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
