"""What a service of the host is: how it runs, when it is ready, what it needs.

Services are declared in `[services.NAME]` of forge.toml and coded nowhere. Reading a declaration is
pure: whoever reads it says which key cannot be what it is.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from forge.core.memory_map import REFERENCE_ROWS
from forge.core.units import MIB, parse_duration_s, parse_size_mib

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9@_.:-]{0,126}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_URL = re.compile(r"https?://[^\s/]+(/\S*)?")
ROWS = tuple(row.key for row in REFERENCE_ROWS)


class Runs(StrEnum):
    """How a service runs, and who is asked about it."""

    SCREEN = "screen"  # in a detached session of screen(1), to be attached to
    LAUNCHD = "launchd"
    SYSTEMD = "systemd"  # a unit of the user's manager
    SYSTEM = "systemd-system"  # a unit of the machine's manager
    PROCESS = "process"  # started by Forge, in a session of its own
    RAM_DISK = "ram-disk"  # the RAM disk, built in


MANAGED = (Runs.LAUNCHD, Runs.SYSTEMD, Runs.SYSTEM)
"""Kinds that have a manager of their own, which starts them again if it is told to."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What shows that a service is ready; nothing set: that its process is there.

    `expects` are fields of a JSON object that must be in the answer of `url`.
    """

    url: str | None = None
    status: int = 200
    expects: tuple[tuple[str, Any], ...] = ()
    tcp: bool = False
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """One service as declared. Times are seconds, sizes bytes; paths may begin with `~`.

    `unit` is the session's name, the label or the unit. `rows` are rows of the memory map that the
    service lives on, `memory_bytes` is what it needs beside the map.
    """

    name: str
    title: str
    runs: Runs
    unit: str
    command: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    directory: str = "~"
    port: int | None = None
    after: tuple[str, ...] = ()
    ready: Ready = Ready()
    ready_within_s: float = 60.0
    stop_within_s: float = 30.0
    rows: tuple[str, ...] = ()
    memory_bytes: int = 0
    log: str | None = None
    version: tuple[str, ...] = ()
    restart: bool = True


def read_service(name: str, table: Mapping[str, Any]) -> Service:
    """Read one declaration. Raises Misread with the key that is wrong."""
    if not NAME.fullmatch(name):
        raise Misread("", name, "a name of letters, digits, `_`, `.` and `-`")
    for key in table:
        if key not in _KEYS:
            raise Misread(key, table[key], f"one of the keys {', '.join(_KEYS)}", unknown=True)
    read = {key: _read(key, table[key]) for key in table}
    if "runs" not in read:
        raise Misread("runs", None, _KEYS["runs"][1])
    runs = Runs(read["runs"])
    if runs in (Runs.SCREEN, Runs.PROCESS) and not read.get("command"):
        raise Misread("command", None, f"the command, since it runs as `{runs}`")
    rows, memory_bytes = read.get("memory", ((), 0))
    port = read.get("port")
    ready = _ready(read, port)
    return Service(
        name=name,
        title=read.get("title", name),
        runs=runs,
        unit=read.get("unit", name),
        command=read.get("command", ()),
        env=read.get("env", ()),
        directory=read.get("directory", "~"),
        port=port,
        after=read.get("after", ()),
        ready=ready,
        ready_within_s=read.get("ready_within", 60.0),
        stop_within_s=read.get("stop_within", 30.0),
        rows=rows,
        memory_bytes=memory_bytes,
        log=read.get("log"),
        version=read.get("version", ()),
        restart=read.get("restart", runs not in (*MANAGED, Runs.RAM_DISK)),
    )


def _ready(read: Mapping[str, Any], port: int | None) -> Ready:
    url, command = read.get("ready_url"), read.get("ready_command", ())
    if url is None and ("ready_status" in read or "ready_json" in read):
        raise Misread("ready_url", None, "the address that `ready_status` and `ready_json` are of")
    return Ready(
        url=url,
        status=read.get("ready_status", 200),
        expects=read.get("ready_json", ()),
        tcp=port is not None and url is None and not command,
        command=command,
    )


class Misread(ValueError):
    """A declaration cannot be what it is: the key, the value, and what would be right."""

    def __init__(self, key: str, value: Any, expects: str, *, unknown: bool = False) -> None:
        self.key, self.value, self.expects, self.unknown = key, value, expects, unknown
        super().__init__(f"`{key}` cannot be {value!r}: write {expects}")


def _read(key: str, value: Any) -> Any:
    read, expects = _KEYS[key]
    try:
        return read(value)
    except (ValueError, TypeError):
        raise Misread(key, value, expects) from None


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError
    return value


def _matching(pattern: re.Pattern[str]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError
        return value

    return read


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError
    if not all(isinstance(word, str) and "\0" not in word for word in value):
        raise ValueError
    return tuple(value)


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError
    return tuple(_matching(NAME)(name) for name in value)


def _env(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise ValueError
    for name, text in value.items():
        if not _VARIABLE.fullmatch(name) or not isinstance(text, str) or "\0" in text:
            raise ValueError
    return tuple(value.items())


def _json_fields(value: Any) -> tuple[tuple[str, Any], ...]:
    if not isinstance(value, dict):
        raise ValueError
    if not all(isinstance(one, str | int | float | bool) for one in value.values()):
        raise ValueError
    return tuple(value.items())


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError
        return value

    return read


def _duration_s(value: Any) -> float:
    if not isinstance(value, str):
        raise ValueError
    return parse_duration_s(value)


def _memory(value: Any) -> tuple[tuple[str, ...], int]:
    if isinstance(value, str):
        return (), parse_size_mib(value) * MIB
    if not isinstance(value, list) or not all(row in ROWS for row in value):
        raise ValueError
    return tuple(value), 0


def _yes_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


_LIST = 'a list of words, as in ["llama-server", "--port", "8080"]'
_KEYS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "title": (_text, "a short text"),
    "runs": (Runs, "one of " + ", ".join(f'"{one}"' for one in Runs)),
    "unit": (_matching(_LABEL), "the session's name, the label or the unit"),
    "command": (_words, _LIST),
    "env": (_env, 'a table of texts, as in { PATH = "/usr/bin" }'),
    "directory": (_text, "a directory"),
    "port": (_whole(1, 65535), "a port from 1 to 65535"),
    "after": (_names, "a list of services that are started first"),
    "ready_url": (_matching(_URL), "an http or https address"),
    "ready_status": (_whole(100, 599), "a status of HTTP"),
    "ready_json": (_json_fields, 'fields of the answer, as in { status = "ok" }'),
    "ready_command": (_words, _LIST),
    "ready_within": (_duration_s, 'a duration such as "15m"'),
    "stop_within": (_duration_s, 'a duration such as "60s"'),
    "memory": (_memory, f'a size such as "200MiB", or a list of rows of {", ".join(ROWS)}'),
    "log": (_text, "a file"),
    "version": (_words, _LIST),
    "restart": (_yes_no, "true or false"),
}
"""What may be declared of a service, how it is read, and what is right for it."""

KEYS = tuple(_KEYS)
