"""Build keys: written into authorized_keys, taken out of it, and listed."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from forge import paths
from forge.core.authorized_keys import (
    KeyLine,
    KeyRefused,
    PublicKey,
    has_key,
    read_line,
    read_public_key,
    write_line,
)
from forge.core.remote_policy import KeyRules
from forge.errors import KeyInvalid, KeyTaken, NoSuchKey
from forge.host.authorized_keys import locked, read_lines, replace_lines
from forge.serve.environment import HostPlaces

COMMAND = (sys.executable, "-E", "-P", "-m", "forge.cli.main", "serve")
"""How sshd starts us: no variable that a client sets, and no directory, has a say in it."""

MAX_FILE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class KeysFile:
    """One authorized_keys."""

    path: str

    def lines(self) -> list[KeyLine]:
        """Return the lines that are ours."""
        return [own for line in read_lines(self.path) if (own := read_line(line))]

    def check(self, key: PublicKey, name: str) -> None:
        """Raise KeyTaken where the key, or the name, is in use."""
        if has_key(read_lines(self.path), key):
            raise KeyTaken(
                f"that key is in {self.path} already",
                hint="sshd takes its first line: take that out, or make a key for builds",
            )
        if any(own.name == name for own in self.lines()):
            raise KeyTaken(
                f"there is a key `{name}` already", hint=f"`forge remote revoke {name}` ends it"
            )

    def add(self, key: PublicKey, name: str, line: str) -> None:
        """Let a key in. Raises KeyTaken and KeysFileUnsafe."""
        with locked(self.path):
            self.check(key, name)
            lines = read_lines(self.path)
            while lines and not lines[-1]:
                lines.pop()
            replace_lines(self.path, [*lines, line])

    def remove(self, name: str) -> None:
        """Take a key out. Raises NoSuchKey and KeysFileUnsafe."""
        with locked(self.path):
            lines = read_lines(self.path)
            kept = [line for line in lines if not _is_of(line, name)]
            if len(kept) == len(lines):
                raise NoSuchKey(
                    f"there is no key `{name}` in {self.path}",
                    hint="`forge remote list` shows them",
                )
            replace_lines(self.path, kept)


def _is_of(line: str, name: str) -> bool:
    own = read_line(line)
    return own is not None and own.name == name


def default_file(env: Mapping[str, str]) -> str:
    """Return where sshd looks, as a rule."""
    return os.path.join(paths.home(env), ".ssh", "authorized_keys")


def public_key_of(path: str) -> PublicKey:
    """Read a public key from a file. Raises KeyInvalid."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise KeyInvalid(f"{path} is too large for a public key")
        return read_public_key(content.decode())
    except UnicodeDecodeError:
        raise KeyInvalid(f"{path} is no public key: it is not text") from None
    except OSError as error:
        raise KeyInvalid(f"{path} cannot be read: {error.strerror}") from None
    except KeyRefused as refused:
        raise KeyInvalid(f"{path}: {refused}") from None


def line_for(key: PublicKey, rules: KeyRules, places: HostPlaces) -> str:
    """Write the line that lets a key in under its rules. Raises KeyInvalid."""
    words = [*COMMAND, "--key", rules.name, *_options(rules), *_place_options(places)]
    try:
        return write_line(key, words, rules.name)
    except KeyRefused as refused:
        raise KeyInvalid(str(refused)) from None


def _options(rules: KeyRules) -> list[str]:
    """Write rules as options of `forge serve`; only what is not so anyway."""
    usual = KeyRules(rules.name)
    words: list[str] = []
    for project in sorted(rules.projects):
        words += ["--project", project]
    if rules.verbs != usual.verbs:
        words += ["--verbs", ",".join(sorted(rules.verbs))]
    if rules.priority != usual.priority:
        words += ["--priority", rules.priority]
    for name in ("max_builds", "max_bytes", "max_files"):
        if getattr(rules, name) != getattr(usual, name):
            words += [f"--{name.replace('_', '-')}", str(getattr(rules, name))]
    if rules.max_build_s != usual.max_build_s:
        words += ["--max-time", f"{rules.max_build_s:g}s"]
    for allowance in sorted(rules.allowances):
        words += ["--allow", allowance]
    return [*words, *(["--untrusted"] if rules.is_untrusted else [])]


def _place_options(places: HostPlaces) -> list[str]:
    named = {
        "--state-dir": places.state_dir,
        "--cache-dir": places.cache_dir,
        "--config": places.config,
        "--path": places.path,
        "--cargo-home": places.cargo_home,
    }
    return [word for name, value in named.items() if value for word in (name, value)]


def places_of(env: Mapping[str, str], path: str | None) -> HostPlaces:
    """Return where this Forge and its cargo keep things, where that is not the usual place."""
    return HostPlaces(
        state_dir=_absolute(env.get("FORGE_STATE_DIR")),
        cache_dir=_absolute(env.get("FORGE_CACHE_DIR")),
        config=_absolute(env.get("FORGE_CONFIG")),
        path=path,
        cargo_home=_absolute(env.get("CARGO_HOME")),
    )


def _absolute(path: str | None) -> str | None:
    return os.path.abspath(path) if path else None
