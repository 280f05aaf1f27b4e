"""What a cargo command line asks for: its verb, and the options that bear on target directories.

Behind `--`, behind the program's name of `cargo run`, and behind a verb that is not cargo's own,
words are not cargo's. Global options that take a value may come before the verb
(`cargo --color always build`). Source: `cargo help`, cargo 1.95, and the experiments behind
docs/design/redirect.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from forge.core.verbs import (
    BUILTIN_BUILD_VERBS,
    OWN_VERBS,
    REDIRECT_VERBS,
    has_toolchain,
    is_passed,
    own_end,
    verb_index,
)

CONFIG_AFTER_VERBS = frozenset(("clippy",))
"""External subcommands that hand `--config` on to cargo when it follows the verb."""

TARGET_DIR_VERBS = frozenset(("nextest",))
"""External subcommands that take `--target-dir` behind their own verb, as in `nextest run`."""

UNREDIRECTED_BUILD_VERBS = frozenset(("install",))
"""Verbs that build, but in a directory of their own."""


class Kind(StrEnum):
    """How a command line is treated."""

    PASS = "pass"  # noqa: S105  # straight to cargo
    REDIRECT = "redirect"  # told the target dir, nothing else
    BUILD = "build"  # a build, with all that belongs to it


@dataclass(frozen=True, slots=True)
class CargoArgs:
    """A parsed command line.

    `verb_index` is the verb's place in argv, `own_end` where cargo stops reading options.
    `directory` is `-C`'s value, `manifest_path` and `target_dir` are the options of these names,
    as written, None when absent; `configs` are the values of all `--config`.
    """

    argv: tuple[str, ...]
    toolchain: str | None
    verb: str | None
    verb_index: int
    kind: Kind
    directory: str | None
    manifest_path: str | None
    target_dir: str | None
    configs: tuple[str, ...]
    own_end: int
    profile: str


def parse(argv: Sequence[str]) -> CargoArgs:
    """Read what follows `cargo` on the command line; never fails: cargo judges, not we."""
    argv = tuple(argv)
    at = verb_index(argv)
    verb = argv[at] if at < len(argv) else None
    values = _Values(argv, at)
    return CargoArgs(
        argv=argv,
        toolchain=argv[0] if has_toolchain(argv) else None,
        verb=verb,
        verb_index=at,
        kind=_kind(argv, verb),
        directory=values.last("-C", before_verb=True),
        manifest_path=values.last("--manifest-path"),
        target_dir=values.last("--target-dir"),
        configs=tuple(values.all("--config")),
        own_end=own_end(argv),
        profile=_profile(values, verb),
    )


def _kind(argv: tuple[str, ...], verb: str | None) -> Kind:
    if is_passed(argv):
        return Kind.PASS
    return Kind.REDIRECT if verb in REDIRECT_VERBS else Kind.BUILD


class _Values:
    """The values of options, in either of the forms `--name value` and `--name=value`."""

    def __init__(self, argv: tuple[str, ...], verb_index: int) -> None:
        self._words = argv[: own_end(argv)]
        self._verb_index = verb_index

    def all(self, name: str, *, before_verb: bool = False) -> list[str]:
        words = self._words[: self._verb_index] if before_verb else self._words
        found = []
        for index, word in enumerate(words):
            if word == name and index + 1 < len(words):
                found.append(words[index + 1])
            elif name.startswith("--") and word.startswith(name + "="):
                found.append(word[len(name) + 1 :])
            elif (
                len(name) == 2
                and not name.startswith("--")
                and word.startswith(name)
                and word != name
            ):
                found.append(word[2:].removeprefix("="))
        return found

    def last(self, name: str, *, before_verb: bool = False) -> str | None:
        found = self.all(name, before_verb=before_verb)
        return found[-1] if found else None

    def has(self, *names: str) -> bool:
        return any(word in names for word in self._words)


def _profile(values: _Values, verb: str | None) -> str:
    named = values.last("--profile")
    if named:
        return named
    if values.has("--release", "-r") or verb in ("bench", "install"):
        return "release"
    return "dev"


def expanded(argv: Sequence[str], aliases: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Put what an alias stands for in its place, as cargo does; an alias may name another.

    Cargo's own verbs cannot be aliased.
    """
    argv = tuple(argv)
    seen: set[str] = set()
    while True:
        at = verb_index(argv)
        verb = argv[at] if at < len(argv) else ""
        if verb in OWN_VERBS or verb in seen or verb not in aliases:
            return argv
        seen.add(verb)
        argv = argv[:at] + aliases[verb] + argv[at + 1 :]


def redirected(args: CargoArgs, target_dir: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return argv and variables that make cargo build in `target_dir`.

    Where it can be, the directory is an option, which no nested cargo inherits: a build script that
    runs cargo on another workspace would otherwise wait for ever for the lock of this very
    directory. Other external subcommands get CARGO_TARGET_DIR, and FORGE_TARGET_DIR beside it, by
    which a nested wrapper knows that it was not the user who set it.
    """
    if args.verb in TARGET_DIR_VERBS and _takes_target_dir(args):
        at = args.verb_index + 2
        return (*args.argv[:at], "--target-dir", target_dir, *args.argv[at:]), {}
    argv = configured(args, f"build.target-dir={toml_string(target_dir)}")
    if argv:
        return argv, {}
    return args.argv, {"CARGO_TARGET_DIR": target_dir, "FORGE_TARGET_DIR": target_dir}


def takes_config(args: CargoArgs) -> bool:
    """Say whether cargo takes a `--config` of ours with this verb."""
    return configured(args, "") is not None


def with_build_dir(args: CargoArgs, build_dir: str) -> tuple[str, ...]:
    """Return argv that makes cargo keep what lies between in `build_dir`."""
    argv = configured(args, f"build.build-dir={toml_string(build_dir)}")
    assert argv, "only what takes --config is told a build-dir"
    return argv


def configured(args: CargoArgs, setting: str) -> tuple[str, ...] | None:
    """Return argv with `--config SETTING` in it; None where the verb would not hand it on."""
    at = args.verb_index
    if args.verb in BUILTIN_BUILD_VERBS or args.verb in REDIRECT_VERBS or args.verb == "install":
        return (*args.argv[:at], "--config", setting, *args.argv[at:])
    if args.verb in CONFIG_AFTER_VERBS:
        return (*args.argv[: at + 1], "--config", setting, *args.argv[at + 1 :])
    return None


def _takes_target_dir(args: CargoArgs) -> bool:
    verb_of_its_own = args.argv[args.verb_index + 1 : args.verb_index + 2]
    return verb_of_its_own in (("run",), ("r",), ("list",), ("archive",), ("bench",))


def toml_string(text: str) -> str:
    """Write text as a TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return (
        '"'
        + "".join(f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else c for c in escaped)
        + '"'
    )
