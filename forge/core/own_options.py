"""Forge's own options on a cargo command line: taken out before anybody else reads it.

Cargo must never see them, with a daemon or without. They may stand wherever cargo reads options;
behind a verb that is not cargo's own that is up to `--`. The native launcher takes them out too:
tests/data/vectors/options.json holds both together. Runs before cargo starts, so it loads little.
"""

import os
from collections.abc import Mapping, Sequence
from itertools import islice

from forge.core.text import printable
from forge.core.units import parse_duration_s
from forge.core.verbs import (
    ENDED_BY_A_POSITIONAL,
    GLOBAL_WITH_VALUE,
    OWN_VERBS,
    WITH_VALUE,
    has_toolchain,
)

VARIABLES = {
    "--forge-priority": "FORGE_PRIORITY",
    "--forge-wait-timeout": "FORGE_WAIT_TIMEOUT",
    "--on": "FORGE_ON",
}
"""Each option, and the variable that says the same for every build."""

HERE = "here"
"""The host that is this machine: for one build, when others go elsewhere."""

PRIORITIES = ("interactive", "batch")

_HOSTS = "a name that ssh knows, as in `studio` or `user@studio`, or `here`"
_DURATIONS = "seconds, or as in `90s`, `5m` or `1h`; `0`: do not wait"
_SHOWN_CHARACTERS = 40
MAX_HOST_BYTES = 255


class WrongValue(ValueError):
    """A value that does not fit; `hint` says what would."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def take(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Split a command line into cargo's and the variables that Forge's options set.

    Raises WrongValue.
    """
    cargos: list[str] = []
    variables: dict[str, str] = {}
    verb = None
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name in VARIABLES:
            variables[VARIABLES[name]] = _checked(name, value if equals else next(words, ""))
            continue
        cargos.append(word)
        is_option = word.startswith("-")
        if word == "--" or (verb in ENDED_BY_A_POSITIONAL and not is_option):
            break
        if _takes_the_next(word, verb):
            cargos += islice(words, 1)
        elif verb is None and not is_option and not (len(cargos) == 1 and has_toolchain(cargos)):
            verb = word
    return [*cargos, *words], variables


def ignored(env: Mapping[str, str]) -> list[str]:
    """Say which variables of the environment are wrong and go for nothing, in lines for people."""
    lines = []
    for name in VARIABLES.values():
        try:
            if env.get(name):
                _checked(name, env[name])
        except WrongValue as wrong:
            lines.append(f"{name} is ignored: {wrong.message} ({wrong.hint})")
    return lines


def is_host(text: str) -> bool:
    """Say whether ssh would take this for a host: no option, no blanks, nothing unprintable."""
    is_visible = all(" " < character != "\x7f" for character in text)
    return 0 < len(os.fsencode(text)) <= MAX_HOST_BYTES and is_visible and text[0] != "-"


def _takes_the_next(word: str, verb: str | None) -> bool:
    if verb is None:
        return word in GLOBAL_WITH_VALUE
    return verb in OWN_VERBS and word in WITH_VALUE


def _checked(name: str, value: str) -> str:
    """Return the value of an option or variable if it fits. Raises WrongValue."""
    if name.lower().endswith("priority"):
        fits, what, takes = value in PRIORITIES, "priority", "`interactive` or `batch`"
    elif name.lower().endswith("on"):
        fits, what, takes = is_host(value), "host", _HOSTS
    else:
        fits, what, takes = _is_duration(value), "duration", _DURATIONS
    if fits:
        return value
    problem = (
        f"`{printable(value[:_SHOWN_CHARACTERS])}` is no {what}"
        if value
        else f"`{name}` needs a value"
    )
    raise WrongValue(problem, f"`{name}` takes {takes}")


def _is_duration(text: str) -> bool:
    try:
        parse_duration_s(text)
    except ValueError:
        return False
    return True
