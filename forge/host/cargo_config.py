"""Cargo's configuration, as far as it bears on a build.

Source: the cargo book, "Configuration": `--config` options, then every `.cargo/config.toml` from
the working directory upwards, then the one in CARGO_HOME; the nearest that has a key wins; `config`
without an ending is read first where both exist. A program path with a slash is relative to the
directory that holds `.cargo`, in an option to the working directory.
"""

import os
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any

from forge.core.workspace import CargoConfig
from forge.host.cargo_runners import Document, hides_runner, runners
from forge.host.toml_files import TomlFiles, upwards


class CargoConfigFiles:
    """The configuration files that hold for a cargo that runs in `base`."""

    def __init__(self, files: TomlFiles, base: str, cargo_home: str) -> None:
        self._files = files
        self._base = base
        places = [os.path.join(directory, ".cargo") for directory in upwards(base)]
        self._found = [_first_of(files, place) for place in dict.fromkeys([*places, cargo_home])]

    def aliases(self) -> dict[str, tuple[str, ...]]:
        """Return all aliases and the words that they stand for."""
        aliases: dict[str, tuple[str, ...]] = {}
        for _, document in reversed(self._found):
            table = document.get("alias")
            for name, value in table.items() if isinstance(table, dict) else ():
                words = value.split() if isinstance(value, str) else value
                if isinstance(words, list) and all(isinstance(word, str) for word in words):
                    aliases[name] = tuple(words)
        return aliases

    def config(self, options: Iterable[str]) -> CargoConfig:
        """Return what holds with these `--config` options."""
        found: dict[str, tuple[Any, str, bool]] = {}
        by_option = [(path, document, True) for path, document in self._options(options)]
        by_file = [(path, document, False) for path, document in self._found]
        documents: list[Document] = [*reversed(by_option), *by_file]
        for path, document, option in documents:
            build = document.get("build")
            for key in ("target-dir", "jobs", "rustc-wrapper", "target"):
                if isinstance(build, dict) and key in build:
                    found.setdefault(key, (build[key], path, option))
        target_dir, file, option = found.get("target-dir", (None, None, False))
        is_set = isinstance(target_dir, str)
        jobs = found.get("jobs", (None,))[0]
        wrapper, wrapper_file, _ = found.get("rustc-wrapper", (None, "", False))
        targets = found.get("target", (None,))[0]
        return CargoConfig(
            target_dir=target_dir if is_set else None,
            target_dir_file=file if is_set else None,
            target_dir_by_option=option and is_set,
            jobs=jobs if isinstance(jobs, int) and not isinstance(jobs, bool) else None,
            rustc_wrapper=_program(wrapper, wrapper_file) if isinstance(wrapper, str) else None,
            targets=tuple(_strings(targets)),
            runners=runners(documents, _program),
            hides_runner=hides_runner(documents),
        )

    def _options(self, options: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield what each `--config` says: a TOML expression or a file."""
        here = os.path.join(self._base, ".cargo", "config.toml")  # what paths are relative to
        for option in options:
            path = os.path.join(self._base, option)
            if os.path.isfile(path):
                yield path, self._files.read(path)
                continue
            try:
                yield here, tomllib.loads(option)
            except (ValueError, RecursionError):
                continue  # cargo refuses it


def _first_of(files: TomlFiles, place: str) -> tuple[str, dict[str, Any]]:
    for name in ("config", "config.toml"):
        path = os.path.join(place, name)
        document = files.read(path)
        if document:
            return path, document
    return "", {}


def _strings(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str)]


def _program(written: str, file: str) -> str | None:
    if "/" in written and not os.path.isabs(written):
        return os.path.join(os.path.dirname(os.path.dirname(file)), written)
    return written or None
