"""The text of forge.toml: every setting with its meaning, and the value that holds."""

import os
import textwrap
from collections.abc import Mapping
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import toml

import forge
from forge.config import SETTINGS, Config
from forge.config_values import Setting
from forge.errors import ForgeError

WIDTH = 96


class ConfigExists(ForgeError):
    """There is a forge.toml already."""

    slug = "config-exists"
    exit_code = os.EX_CANTCREAT


class ConfigUnwritable(ForgeError):
    """forge.toml cannot be written."""

    slug = "config-unwritable"
    exit_code = os.EX_CANTCREAT


def rows(cfg: Config, computed: Mapping[str, object]) -> list[dict[str, Any]]:
    """Return each setting with the value in force, as forge.toml would have it, and its source."""
    return [
        {
            "key": setting.key,
            "value": _as_written(setting, value),
            "from": source,
            "default": setting.default,
            "expects": setting.expects,
            "meaning": setting.meaning,
        }
        for setting in SETTINGS
        for value, source in [_in_force(setting, cfg, computed)]
    ]


def config_text() -> str:
    """Return a forge.toml in which every setting is explained, and none is set."""
    parts = [
        "# Configuration of Opta Forge. Every setting is optional; a line without its `#` sets it.",
        "# `forge config show` says what holds. `forge config check` checks this file.",
    ]
    for section, settings in groupby(SETTINGS, key=lambda one: one.key.partition(".")[0]):
        parts.append(f"\n[{section}]")
        for setting in settings:
            text = f"{setting.meaning} It takes {setting.expects}."
            parts += [
                "",
                *(f"# {line}" for line in textwrap.wrap(text, WIDTH, break_on_hyphens=False)),
            ]
            name = setting.key.partition(".")[2]
            parts.append(f"# {toml.dumps({name: setting.default}).strip()}")
    return "\n".join(parts) + "\n"


def reference_text() -> str:
    """Return the forge.toml of the reference host: its memory map and its services."""
    package = Path(forge.__file__).parent
    for place in (package / "_examples", package.parent / "docs" / "examples"):
        if place.is_dir():
            names = ("reference-host.toml", "reference-services.toml")
            return "\n".join((place / name).read_text(encoding="utf-8") for name in names)
    raise ConfigUnwritable("the reference host's configuration is not part of this Forge")


def write_config(file: str, *, force: bool, text: str | None = None) -> str | None:
    """Write forge.toml in one step; return where the one that was there is kept.

    `text` is what is written, and else every setting as a comment.

    Raises ConfigExists when there is one and `force` is false, ConfigUnwritable.
    """
    file = os.path.realpath(file)  # a link into a directory of dotfiles stays one
    draft = f"{file}.{os.getpid()}.new"
    try:
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(draft, "x", encoding="utf-8") as out:
            out.write(config_text() if text is None else text)
        return _put(draft, file, force=force)
    except OSError as error:
        raise ConfigUnwritable(f"{file} cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            os.unlink(draft)


def _put(draft: str, file: str, *, force: bool) -> str | None:
    """Give the draft its name. A link never replaces what is there, so nothing can be lost."""
    if not force or not os.path.lexists(file):
        try:
            os.link(draft, file)
        except FileExistsError:
            raise ConfigExists(
                f"{file} is there already", hint="`--force` replaces it and keeps a copy"
            ) from None
        return None
    kept = _free_name(file)
    os.link(file, kept)
    os.replace(draft, file)
    return kept


def _free_name(file: str) -> str:
    kept, number = f"{file}.bak", 1
    while os.path.lexists(kept):
        number += 1
        kept = f"{file}.bak{number}"
    return kept


def _in_force(setting: Setting, cfg: Config, computed: Mapping[str, object]) -> tuple[Any, str]:
    value = cfg[setting.key]
    if value is None or value == "auto":
        return computed.get(setting.key, "auto"), "computed"
    return value, "file" if cfg.is_set(setting.key) else "default"


def _as_written(setting: Setting, value: Any) -> Any:
    if isinstance(value, int) and setting.expects.startswith("a size"):
        return f"{value // 1024}GiB" if value % 1024 == 0 and value else f"{value}MiB"
    return value
