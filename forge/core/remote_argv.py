"""A cargo command line, made ready for another machine.

The host takes the verb first, so global options move behind it. `-C` and `--manifest-path` name
places on the client: they become the directory to run in. The options that only remote builds have
stand where cargo reads options, as all of Forge's own do; without a host cargo itself refuses them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from forge.core.cargo_args import parse
from forge.core.remote_policy import SHORT_VERBS

INTERACTIVE_VERBS = frozenset(("bench", "run", "test"))
"""Verbs that run programs of the project's: they get stdin, and a terminal where we have one."""

FETCHED_VERBS = frozenset(("build", "rustc"))
"""Verbs whose finals come back by default."""

KEEPS_FINALS = frozenset(("check", "clippy", "doc", "fetch", "metadata", "tree"))
"""Verbs that write no finals."""

_FETCH, _NO_FETCH, _DETACH = "--fetch", "--no-fetch", "--detach"


@dataclass(frozen=True, slots=True)
class RemoteCommand:
    """What is run on the host. `argv` begins with the verb, or with `+toolchain` before it.

    `verb` is the verb by its long name, `fetches` whether its finals come back, `message_format`
    the value of that option. `own` is how many words of `argv` cargo reads itself.
    """

    argv: tuple[str, ...]
    verb: str
    own: int
    fetches: bool
    is_detached: bool
    message_format: str = ""
    names_target: bool = False

    @property
    def is_interactive(self) -> bool:
        """Say whether it runs programs of the project's."""
        return self.verb in INTERACTIVE_VERBS

    @property
    def says_json(self) -> bool:
        """Say whether cargo's stdout is JSON."""
        return self.message_format.startswith("json") or self.verb == "metadata"

    def with_messages(self) -> tuple[str, ...]:
        """Return the command line with messages of what was made on stdout, for us to read."""
        at = self.argv.index(self._verb_as_written) + 1
        return (*self.argv[:at], "--message-format=json-render-diagnostics", *self.argv[at:])

    @property
    def _verb_as_written(self) -> str:
        return self.argv[1] if self.argv[0].startswith("+") else self.argv[0]


def remote_command(words: Sequence[str]) -> RemoteCommand:
    """Read a command line without `-C`, its aliases expanded and its paths made relative."""
    args = parse(words)
    at, end = args.verb_index, args.own_end
    toolchain = list(args.argv[:1]) if args.toolchain else []
    given = [word for word in args.argv[:end] if word in (_FETCH, _NO_FETCH, _DETACH)]
    globals_ = _without(args.argv[len(toolchain) : at])
    options = _without(args.argv[at + 1 : end])
    verb = SHORT_VERBS.get(args.verb or "", args.verb or "")
    fetch = [word for word in given if word != _DETACH]
    own = [*toolchain, *args.argv[at : at + 1], *globals_, *options]
    return RemoteCommand(
        argv=(*own, *args.argv[end:]),
        verb=verb,
        own=len(own),
        fetches=fetch[-1] == _FETCH if fetch else verb in FETCHED_VERBS and _DETACH not in given,
        is_detached=_DETACH in given,
        message_format=_last(own, "--message-format"),
        names_target=bool(_last(own, "--target")),
    )


def _without(words: Sequence[str]) -> list[str]:
    return [word for word in words if word not in (_FETCH, _NO_FETCH, _DETACH)]


def _last(words: Sequence[str], name: str) -> str:
    found = ""
    for at, word in enumerate(words):
        if word.startswith(name + "="):
            found = word[len(name) + 1 :]
        elif word == name and at + 1 < len(words):
            found = words[at + 1]
    return found


def replaced(words: Sequence[str], name: str, value: str) -> list[str]:
    """Return a command line with another value of an option; without it where that is empty."""
    end = parse(words).own_end
    kept: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        is_ours = at < end and (word == name or word.startswith(name + "="))
        if is_ours:
            at += 2 if word == name else 1
            if value:
                kept.append(f"{name}={value}")
            continue
        kept.append(word)
        at += 1
    return kept
