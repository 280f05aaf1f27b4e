"""Cargo's configuration files, as far as they bear on a build.

Source: the cargo book, "Configuration": every `.cargo/config.toml` from the working directory
upwards, then the one in CARGO_HOME; the nearest that has a key wins; `config` without an ending is
read first where both exist. A program path with a slash is relative to the directory that holds
`.cargo`.
"""

import os
from typing import Any

from forge.core.workspace import CargoConfig
from forge.host.toml_files import TomlFiles, upwards


def read_cargo_config(
    files: TomlFiles, base: str, cargo_home: str, verb: str | None
) -> CargoConfig:
    """Read what holds for a cargo that is started in `base` with `verb`."""
    found: dict[str, tuple[Any, str]] = {}
    alias_of = None
    places = [os.path.join(directory, ".cargo") for directory in upwards(base)]
    for place in dict.fromkeys([*places, cargo_home]):
        path, document = _first_of(files, place)
        build, alias = document.get("build"), document.get("alias")
        for key in ("target-dir", "jobs", "rustc-wrapper"):
            if isinstance(build, dict) and key in build:
                found.setdefault(key, (build[key], path))
        if alias_of is None and verb and isinstance(alias, dict):
            alias_of = _first_word(alias.get(verb))
    target_dir, file = found.get("target-dir", (None, None))
    jobs, _ = found.get("jobs", (None, ""))
    wrapper, wrapper_file = found.get("rustc-wrapper", (None, ""))
    return CargoConfig(
        target_dir=target_dir if isinstance(target_dir, str) else None,
        target_dir_file=file if isinstance(target_dir, str) else None,
        jobs=jobs if isinstance(jobs, int) and not isinstance(jobs, bool) else None,
        rustc_wrapper=_program(wrapper, wrapper_file) if isinstance(wrapper, str) else None,
        alias_of=alias_of,
    )


def _first_of(files: TomlFiles, place: str) -> tuple[str, dict[str, Any]]:
    for name in ("config", "config.toml"):
        path = os.path.join(place, name)
        document = files.read(path)
        if document:
            return path, document
    return "", {}


def _program(written: str, file: str) -> str | None:
    if "/" in written and not os.path.isabs(written):
        return os.path.join(os.path.dirname(os.path.dirname(file)), written)
    return written or None


def _first_word(alias: object) -> str | None:
    words = alias.split() if isinstance(alias, str) else alias
    if isinstance(words, list) and words and isinstance(words[0], str):
        return words[0]
    return None
