"""Which command lines go straight to cargo. Runs before cargo starts, so it loads nothing.

Source: `cargo help` and `cargo --list`, cargo 1.95.
"""

PASS_VERBS = frozenset(
    (
        "add",
        "config",
        "fetch",
        "fmt",
        "generate-lockfile",
        "git-checkout",
        "help",
        "info",
        "init",
        "locate-project",
        "login",
        "logout",
        "new",
        "owner",
        "pkgid",
        "read-manifest",
        "remove",
        "report",
        "rm",
        "search",
        "tree",
        "uninstall",
        "update",
        "vendor",
        "verify-project",
        "version",
        "yank",
    )
)
"""Verbs of cargo's own that neither build nor tell where things are built."""

GLOBAL_WITH_VALUE = frozenset(("--color", "--config", "-C", "-Z", "--explain"))
"""Options that may precede the verb and whose value is a word of its own."""

ANSWERED_AT_ONCE = frozenset(("-h", "--help", "-V", "--version", "--list", "--explain"))

REDIRECT_VERBS = frozenset(("clean", "metadata"))
"""Verbs that only need to know the target dir."""

BUILTIN_BUILD_VERBS = frozenset(
    (
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
    )
)
"""Verbs of cargo's own that build in the workspace: they take `--config` before the verb."""

OWN_VERBS = PASS_VERBS | REDIRECT_VERBS | BUILTIN_BUILD_VERBS | {"install", "clippy"}
"""Verbs whose options we know to be cargo's. Others are aliases and external subcommands."""

ENDED_BY_A_POSITIONAL = frozenset(("r", "run", "rustc", "rustdoc"))
"""Verbs behind whose first positional nothing is cargo's any more."""

WITH_VALUE = GLOBAL_WITH_VALUE | {
    "--artifact-dir",
    "--bench",
    "--bin",
    "--example",
    "--exclude",
    "--features",
    "--jobs",
    "--lockfile-path",
    "--manifest-path",
    "--message-format",
    "--package",
    "--profile",
    "--target",
    "--target-dir",
    "--test",
    "-F",
    "-j",
    "-p",
}
"""Options whose value is a word of its own, before and behind the verb."""


def has_toolchain(argv: list[str] | tuple[str, ...]) -> bool:
    """Say whether the command line begins with rustup's `+toolchain`."""
    return bool(argv) and len(argv[0]) > 1 and argv[0].startswith("+")


def verb_index(argv: list[str] | tuple[str, ...]) -> int:
    """Return where the verb is; len(argv) when there is none."""
    index = 1 if has_toolchain(argv) else 0
    while index < len(argv) and argv[index].startswith("-"):
        index += 2 if argv[index] in GLOBAL_WITH_VALUE else 1
    return min(index, len(argv))


def own_end(argv: list[str] | tuple[str, ...]) -> int:
    """Return where cargo stops reading options: at `--`, or at what is the program's own."""
    at = verb_index(argv)
    if at < len(argv) and argv[at] not in OWN_VERBS:
        return at + 1
    index = at + 1
    while index < len(argv) and argv[index] != "--":
        word = argv[index]
        if not word.startswith("-") and argv[at] in ENDED_BY_A_POSITIONAL:
            return index
        index += 2 if word in WITH_VALUE else 1
    return min(index, len(argv))


def is_passed(argv: list[str] | tuple[str, ...]) -> bool:
    """Say whether cargo answers this without building or telling where it builds."""
    at = verb_index(argv)
    if at == len(argv) or argv[at] in PASS_VERBS or not ANSWERED_AT_ONCE.isdisjoint(argv[:at]):
        return True
    return not {"-h", "--help"}.isdisjoint(argv[at + 1 : own_end(argv)])
