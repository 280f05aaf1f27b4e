"""What a build key may do: which verbs and options of cargo, with which environment.

All lists name what is allowed, so that an option which a later cargo brings is refused until
somebody has looked at it. They are no wall against code: a build script does what it likes
(docs/design/remote.md). They keep the protocol narrow and the keys apart.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forge.core.remote_tree import path_refusal
from forge.core.remote_values import to_bytes
from forge.core.shares import Priority
from forge.core.verbs import ENDED_BY_A_POSITIONAL

DEFAULT_VERBS = (
    "bench",
    "build",
    "check",
    "clean",
    "clippy",
    "doc",
    "fetch",
    "generate-lockfile",
    "metadata",
    "run",
    "test",
    "tree",
    "update",
)
VERBS = (*DEFAULT_VERBS, "rustc", "rustdoc")
"""The last ones take any option of the compiler: a key has them only where it names them."""

SHORT_VERBS = {"b": "build", "c": "check", "d": "doc", "r": "run", "t": "test"}
ALLOWANCES = ("config", "toolchain", "network")
"""What a key may be allowed beyond: `--config`, `+toolchain`, and the network in the sandbox."""

MAX_BYTES = 8 << 30
MAX_FILES = 200_000
MAX_BUILD_S = 4 * 3600.0
MAX_BUILDS = 8

_FLAGS = frozenset(
    (
        "--all",
        "--all-features",
        "--all-targets",
        "--benches",
        "--bins",
        "--doc",
        "--document-private-items",
        "--dry-run",
        "--examples",
        "--frozen",
        "--future-incompat-report",
        "--help",
        "--ignore-rust-version",
        "--keep-going",
        "--lib",
        "--locked",
        "--no-default-features",
        "--no-dedupe",
        "--no-deps",
        "--no-fail-fast",
        "--no-run",
        "--offline",
        "--quiet",
        "--release",
        "--tests",
        "--timings",
        "--verbose",
        "--workspace",
        "-h",
    )
)
_VALUED = frozenset(
    (
        "--bench",
        "--bin",
        "--charset",
        "--color",
        "--crate-type",
        "--depth",
        "--edges",
        "--example",
        "--exclude",
        "--features",
        "--filter-platform",
        "--format-version",
        "--invert",
        "--jobs",
        "--manifest-path",
        "--message-format",
        "--package",
        "--prefix",
        "--profile",
        "--target",
        "--test",
    )
)
_SHORT_VALUED = frozenset("Feijp")
_SHORT_FLAGS = frozenset("dqrv")
_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9@._+:-]{0,64}", re.ASCII)

_PLAIN_VARIABLES = frozenset(("COLORTERM", "LANG", "LC_ALL", "LC_CTYPE", "TERM"))
"""Variables that libraries make paths of: their values are plain words."""

_VARIABLES = _PLAIN_VARIABLES | {
    "CARGO_BUILD_JOBS",
    "CARGO_INCREMENTAL",
    "CARGO_NET_OFFLINE",
    "CARGO_TERM_COLOR",
    "CARGO_TERM_PROGRESS_WHEN",
    "CARGO_TERM_PROGRESS_WIDTH",
    "CARGO_TERM_QUIET",
    "CARGO_TERM_UNICODE",
    "CARGO_TERM_VERBOSE",
    "CI",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLUMNS",
    "LINES",
    "NO_COLOR",
    "PROPTEST_CASES",
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "RUST_LOG",
    "RUST_TEST_NOCAPTURE",
    "RUST_TEST_THREADS",
    "SOURCE_DATE_EPOCH",
}
_PROFILE_VARIABLE = re.compile(
    r"CARGO_PROFILE_[A-Z][A-Z0-9_]{0,40}_(CODEGEN_UNITS|DEBUG|DEBUG_ASSERTIONS|INCREMENTAL|LTO"
    r"|OPT_LEVEL|OVERFLOW_CHECKS|PANIC|SPLIT_DEBUGINFO|STRIP)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class KeyRules:
    """What the line of a build key says about it. No `projects`: any."""

    name: str
    projects: frozenset[str] = frozenset()
    verbs: frozenset[str] = frozenset(DEFAULT_VERBS)
    priority: Priority = Priority.INTERACTIVE
    max_builds: int = MAX_BUILDS
    is_untrusted: bool = False
    allowances: frozenset[str] = frozenset()
    max_bytes: int = MAX_BYTES
    max_files: int = MAX_FILES
    max_build_s: float = MAX_BUILD_S


def may_send(name: str) -> bool:
    """Say whether a variable of the client's environment may go with a build."""
    return name in _VARIABLES or bool(_PROFILE_VARIABLE.fullmatch(name))


def environment_refusal(env: Mapping[str, str]) -> str:
    """Say what is wrong with the variables that a client sends; empty when nothing is."""
    for name, value in env.items():
        if not may_send(name):
            return f"variable `{name[:80]}` does not go with a remote build"
        if name in _PLAIN_VARIABLES and not _PLAIN.fullmatch(value):
            return f"variable `{name}` takes a plain word"
    return ""


def project_refusal(rules: KeyRules, project: str) -> str:
    """Say why a key may not send a project; empty when it may."""
    if rules.projects and project not in rules.projects:
        return f"key `{rules.name}` is not for project `{project}`"
    return ""


def argv_refusal(rules: KeyRules, argv: Sequence[str]) -> str:
    """Say why a key may not run a command line; empty when it may."""
    words = list(argv)
    if words and words[0].startswith("+"):
        if "toolchain" not in rules.allowances or not _TARGET.fullmatch(words[0][1:]):
            return f"key `{rules.name}` does not choose the toolchain"
        words = words[1:]
    if not words:
        return "there is no verb"
    verb = SHORT_VERBS.get(words[0], words[0])
    if verb not in rules.verbs or verb not in VERBS:
        return f"key `{rules.name}` does not run `{words[0][:80]}`"
    return _options_refusal(rules, verb, words[1:])


def _options_refusal(rules: KeyRules, verb: str, words: Sequence[str]) -> str:
    at = 0
    while at < len(words) and words[at] != "--":
        word = words[at]
        at += 1
        if not word.startswith("-"):
            if verb in ENDED_BY_A_POSITIONAL:
                return ""  # what follows is the program's own
            continue
        name, value = _split(word)
        if name in _FLAGS or _is_cluster_of_flags(word):
            continue
        if not _takes_value(rules, name):
            return f"option `{name[:80]}` is not for remote builds"
        if value is None:
            value = words[at] if at < len(words) else ""
            if value.startswith("-"):  # cargo would read it as the next option
                return f"option `{name}` needs a value"
            at += 1
        refusal = _value_refusal(name, value)
        if refusal:
            return refusal
    return ""


def _split(word: str) -> tuple[str, str | None]:
    """Split an option from the value that is in the same word; None where there is none."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return name, value if equals else None
    if len(word) > 2 and word[1] in _SHORT_VALUED:
        return word[:2], word[2:].removeprefix("=")
    return word, None


def _is_cluster_of_flags(word: str) -> bool:
    return len(word) > 1 and word[1] != "-" and set(word[1:]) <= _SHORT_FLAGS


def _takes_value(rules: KeyRules, name: str) -> bool:
    if name == "--config":
        return "config" in rules.allowances
    return name in _VALUED or (len(name) == 2 and name[1] in _SHORT_VALUED)


def _value_refusal(name: str, value: str) -> str:
    if name == "--manifest-path" and path_refusal(to_bytes(value.removeprefix("./"))):
        return "`--manifest-path` takes a plain path inside the tree"
    if name in ("--target", "--filter-platform") and not _TARGET.fullmatch(value):
        return f"`{name}` takes the name of a target"
    return ""


def cwd_refusal(cwd: str) -> str:
    """Say what is wrong with the directory to run in; empty when nothing is."""
    if cwd != "." and path_refusal(to_bytes(cwd)):
        return "`cwd` takes a plain path inside the tree"
    return ""
