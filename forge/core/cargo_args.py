"""What a cargo command line asks for: its verb, and the options that bear on target directories.

Only what precedes `--` is cargo's. Global options that take a value may come before the verb
(`cargo --color always build`). Source: `cargo help`, cargo 1.95, and the experiments behind
docs/design/redirect.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from forge.core.verbs import has_toolchain, is_passed, verb_index

REDIRECT_VERBS = frozenset(("clean", "metadata"))
"""Verbs that only need to know the target dir."""

BUILTIN_BUILD_VERBS = frozenset(
    [
        "b",
        "bench",
        "build",
        "c",
        "check",
        "d",
        "doc",
        "fix",
        "package",
        "publish",
        "r",
        "run",
        "rustc",
        "rustdoc",
        "t",
        "test",
    ]
)
"""Verbs of cargo's own that build in the workspace: they take `--config` before the verb."""

CONFIG_AFTER_VERBS = frozenset(("clippy",))
"""External subcommands that hand `--config` on to cargo when it follows the verb."""

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

    `verb_index` is the verb's place in argv. `directory` is `-C`'s value, `manifest_path` and
    `target_dir` are the options of these names; `target_dir_by_config` tells that a `--config`
    option sets build.target-dir. All are as written, None when absent.
    """

    argv: tuple[str, ...]
    toolchain: str | None
    verb: str | None
    verb_index: int
    kind: Kind
    directory: str | None
    manifest_path: str | None
    target_dir: str | None
    target_dir_by_config: bool
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
        target_dir_by_config=any(
            value.replace(" ", "").startswith("build.target-dir=")
            for value in values.all("--config")
        ),
        profile=_profile(values, verb),
    )


def _kind(argv: tuple[str, ...], verb: str | None) -> Kind:
    if is_passed(argv):
        return Kind.PASS
    return Kind.REDIRECT if verb in REDIRECT_VERBS else Kind.BUILD


def _before_separator(argv: Sequence[str]) -> Iterator[str]:
    for word in argv:
        if word == "--":
            return
        yield word


class _Values:
    """The values of options, in either of the forms `--name value` and `--name=value`."""

    def __init__(self, argv: Sequence[str], verb_index: int) -> None:
        self._words = list(_before_separator(argv))
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


def redirected(
    args: CargoArgs, target_dir: str, *, alias_of: str | None = None
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return argv and variables that make cargo build in `target_dir`.

    Verbs of cargo's own get `--config`, which no nested cargo inherits: a build script that runs
    cargo on another workspace would otherwise wait for ever for the lock of this very directory.
    External subcommands drop global options, so they get CARGO_TARGET_DIR and FORGE_TARGET_DIR
    beside it, by which a nested wrapper knows that it was not the user who set it.
    """
    verb = alias_of or args.verb
    option = ("--config", f"build.target-dir={_toml_string(target_dir)}")
    at = args.verb_index
    if verb in BUILTIN_BUILD_VERBS or verb in REDIRECT_VERBS:
        return args.argv[:at] + option + args.argv[at:], {}
    if verb in CONFIG_AFTER_VERBS and args.verb == verb:
        return args.argv[: at + 1] + option + args.argv[at + 1 :], {}
    return args.argv, {"CARGO_TARGET_DIR": target_dir, "FORGE_TARGET_DIR": target_dir}


def _toml_string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return (
        '"'
        + "".join(f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else c for c in escaped)
        + '"'
    )
