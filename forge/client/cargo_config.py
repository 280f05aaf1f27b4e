"""What Forge recommends for cargo's own configuration: shown, merged in, taken out again.

The text of a person is never written anew. We insert lines, each ending in `# opta-forge`, and take
out lines that end so. A TOML table can be written in many ways (a header, dotted keys, in a line),
so where a line fits is not reasoned out: each place is tried, and the first counts after which a
TOML parser reads exactly what was there plus the new key. Taking out is checked in the same way.
"""

import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge.client.profile_block import Change, read_file
from forge.config import Config
from forge.core.disk import DiskKind
from forge.errors import ForgeError
from forge.host.ramdisk_linux import LinuxRamDisk
from forge.paths import cache_dir, home, state_dir

TEMPLATE = "cargo-config.template.toml"
EXTRAS = ("build-dir",)
MARK = "# opta-forge"
_HEAD = f"# from `forge cargo-config install`; `forge cargo-config remove` takes it out {MARK}"
_MADE = f"# this file was made by `forge cargo-config install` {MARK}"
_CONDITION = "#: "

Names = tuple[str, ...]
"""The names that lead to a value, from the outermost table inwards."""


class CargoConfigInvalid(ForgeError):
    """Cargo's configuration file does not parse, or cannot be changed without harm."""

    slug = "cargo-config-invalid"
    exit_code = os.EX_CONFIG


@dataclass(frozen=True, slots=True)
class Merge:
    """What `install` does: keys that are added, and keys that somebody has set already."""

    file: str
    change: Change | None
    added: tuple[str, ...]
    kept: tuple[str, ...]


def template_file() -> Path:
    """Return the template: inside the installed package, or at the top of the checkout."""
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "_hooks" / TEMPLATE, package.parent / TEMPLATE):
        if candidate.is_file():
            return candidate
    raise CargoConfigInvalid(f"{TEMPLATE} is not installed", hint="install opta-forge again")


def render(extras: tuple[str, ...], mount_point: str, platform: str = sys.platform) -> str:
    """Return what is recommended on this machine, with the reasons.

    In the template a line `#: CONDITION` rules what follows it, up to the next one: `always`, `on
    linux`, `with build-dir`.
    """
    conditions = {"always", f"on {platform}", *(f"with {extra}" for extra in extras)}
    shown, lines = True, []
    for line in template_file().read_text(encoding="utf-8").splitlines():
        if line.startswith(_CONDITION):
            shown = line.removeprefix(_CONDITION) in conditions
        elif shown:
            lines.append(line.replace("@MOUNT_POINT@", _escaped(mount_point)))
    return "\n".join(lines).strip("\n") + "\n"


def default_mount_point(cfg: Config, env: Mapping[str, str]) -> str | None:
    """Return where a daemon would mount the RAM disk; None when forge.toml wants no RAM disk."""
    if cfg["disk.kind"] == "none":
        return None
    if sys.platform == "darwin":
        return f"/Volumes/{cfg['disk.volume_name']}"
    door = LinuxRamDisk(Path(state_dir(env)), cache_dir=Path(cache_dir(env)))
    wanted = None if cfg["disk.kind"] == "auto" else DiskKind(cfg["disk.kind"])
    return str(cfg["disk.mount_point"] or door.place_of(wanted)[1])


def config_files(env: Mapping[str, str]) -> list[str]:
    """Return the user's configuration files of cargo, the one that counts first.

    Where both exist, cargo reads `config` and warns: the cargo book, "Configuration".
    """
    cargo_home = os.path.abspath(env.get("CARGO_HOME") or os.path.join(home(env), ".cargo"))
    old, new = (os.path.join(cargo_home, name) for name in ("config", "config.toml"))
    return [old, new] if os.path.lexists(old) else [new]


def merging(recommended: str, env: Mapping[str, str]) -> Merge:
    """Return how the recommended keys get into the user's file. Raises CargoConfigInvalid."""
    file = config_files(env)[0]
    old = read_file(file)
    text = _decoded(old or b"", file)
    document = _parsed(text, file)
    added, kept = [], []
    for names, value in _leaves(tomllib.loads(recommended)):
        if _has(document, names):
            kept.append(_dotted(names))
            continue
        text = _inserted(text, names, value, file)
        document = tomllib.loads(text)
        added.append(_dotted(names))
    if old is None and added:
        text = f"{_MADE}\n{text}"
    change = Change(file, text.encode()) if added else None
    before = None if old is None else without_marked(_decoded(old, file), file)
    if change and without_marked(text, file) != before:
        raise CargoConfigInvalid(
            f"{file} is written so that the change could not be undone",
            hint="copy from `forge cargo-config show` by hand",
        )
    return Merge(file, change, tuple(added), tuple(kept))


def removing(env: Mapping[str, str]) -> list[Change]:
    """Return the changes that take out what Forge added. Raises CargoConfigInvalid."""
    changes = []
    for file in config_files(env):
        old = read_file(file)
        if old is None or MARK.encode() not in old:
            continue
        text = without_marked(_decoded(old, file), file)
        new = None if text is None else text.encode()
        if new != old:
            changes.append(Change(file, new))
    return changes


def without_marked(text: str, file: str) -> str | None:
    """Return the text without the lines that Forge added; None when the file was Forge's alone.

    A table of Forge's in which somebody has set a key since stays, with that key. Raises
    CargoConfigInvalid when more than that would change.
    """
    lines = text.split("\n")
    keep = [not _is_marked(line) or _has_own_keys(lines, i) for i, line in enumerate(lines)]
    rest = [line for line, stays in zip(lines, keep, strict=True) if stays]
    if rest and not keep[-1]:
        rest[-1] = rest[-1].removesuffix("\r")  # the last line had no end, nor has ours
    left = "\n".join(rest)
    before = dict(_leaves(_parsed(text, file)))
    after = dict(_leaves(_parsed(left, file)))
    dropped = [line for line, stays in zip(lines, keep, strict=True) if not stays]
    keys = sum(1 for line in dropped if "=" in line.partition("#")[0])
    if not after.items() <= before.items() or len(before) - len(after) != keys:
        raise CargoConfigInvalid(
            f"{file}: a line that ends in `{MARK}` was changed so that it cannot be taken out",
            hint="take these lines out by hand",
        )
    made = any(line.rstrip() == _MADE for line in dropped)
    return None if made and not left.strip() else left


def _inserted(text: str, names: Names, value: Any, file: str) -> str:
    """Return the text with one more key, at the first place where it means what it should."""
    wanted = _with(tomllib.loads(text), names, value)
    for draft in _drafts(text, names, _literal(value)):
        try:
            if tomllib.loads(draft) == wanted:
                return draft
        except tomllib.TOMLDecodeError:
            continue
    raise CargoConfigInvalid(
        f"{file} is written so that `{_dotted(names)}` cannot be added as a line",
        hint="copy it from `forge cargo-config show` by hand",
    )


def _drafts(text: str, names: Names, literal: str) -> Iterator[str]:
    """Try below the header of the table, at the end with a new header, then with dotted keys."""
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.split("\n")
    for depth in range(len(names) - 1, -1, -1):
        setting = f"{_dotted(names[depth:])} = {literal} {MARK}"
        for number in _headers(lines, names[:depth]) if depth else [-1]:
            if number == len(lines) - 1:
                yield f"{text}{newline}{setting}"  # no line ends here: the file ends as it did
            else:
                below = [setting + newline.removesuffix("\n")]
                yield "\n".join(lines[: number + 1] + below + lines[number + 1 :])
        if depth == len(names) - 1:
            header = f"[{_dotted(names[:depth])}] {MARK}"
            chunk = newline.join(([] if _HEAD in text else [_HEAD]) + [header, setting])
            ended = not text or text.endswith("\n")
            yield f"{text}{chunk}{newline}" if ended else f"{text}{newline}{chunk}"


def _headers(lines: list[str], names: Names) -> list[int]:
    """Return the lines that look like the header of a table; one may be inside a string."""
    parts = (rf"(?:{re.escape(name)}|\"{re.escape(name)}\"|'{re.escape(name)}')" for name in names)
    pattern = re.compile(r"\s*\[\s*" + r"\s*\.\s*".join(parts) + r"\s*\]\s*(#.*)?")
    return [number for number, line in enumerate(lines) if pattern.fullmatch(line)]


def _is_marked(line: str) -> bool:
    return line.rstrip().endswith(MARK)


def _has_own_keys(lines: list[str], header: int) -> bool:
    """Say whether line `header` is one of a table in which there are keys that are not marked."""
    if not lines[header].lstrip().startswith("["):
        return False
    for line in lines[header + 1 :]:
        word = line.strip()
        if word.startswith("["):
            return False
        if word and not word.startswith("#") and not _is_marked(line):
            return True
    return False


def _leaves(table: Mapping[str, Any], above: Names = ()) -> Iterator[tuple[Names, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name), value


def _has(document: Mapping[str, Any], names: Names) -> bool:
    """Say whether a key is there, or something that is no table where its table would be."""
    here: Any = document
    for name in names:
        if not isinstance(here, dict):
            return True
        if name not in here:
            return False
        here = here[name]
    return True


def _with(document: Mapping[str, Any], names: Names, value: Any) -> dict[str, Any]:
    name, *rest = names
    inner = _with(document.get(name, {}), tuple(rest), value) if rest else value
    return {**document, name: inner}


def _dotted(names: Names) -> str:
    return ".".join(
        name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{_escaped(name)}"' for name in names
    )


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{_escaped(value)}"' if isinstance(value, str) else str(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _decoded(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CargoConfigInvalid(f"{file}:{line}: not UTF-8") from None


def _parsed(text: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(.*) \(at line (\d+), column \d+\)", str(error))
        last = text.count("\n") + 1
        what, line = (found[1], found[2]) if found else (str(error).split(" (at end")[0], last)
        raise CargoConfigInvalid(
            f"{file}:{line}: {what}", hint="cargo does not read it either: mend it first"
        ) from None
