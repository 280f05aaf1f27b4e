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


def has_toolchain(argv: list[str] | tuple[str, ...]) -> bool:
    """Say whether the command line begins with rustup's `+toolchain`."""
    return bool(argv) and len(argv[0]) > 1 and argv[0].startswith("+")


def verb_index(argv: list[str] | tuple[str, ...]) -> int:
    """Return where the verb is; len(argv) when there is none."""
    index = 1 if has_toolchain(argv) else 0
    while index < len(argv) and argv[index].startswith("-"):
        index += 2 if argv[index] in GLOBAL_WITH_VALUE else 1
    return min(index, len(argv))


def is_passed(argv: list[str] | tuple[str, ...]) -> bool:
    """Say whether cargo answers this without building or telling where it builds."""
    at = verb_index(argv)
    if at == len(argv) or argv[at] in PASS_VERBS or not ANSWERED_AT_ONCE.isdisjoint(argv[:at]):
        return True
    for word in argv[at + 1 :]:
        if word == "--":
            return False
        if word in ("-h", "--help"):
            return True
    return False
