"""The user's own word on parallelism: `-j N` and its kin become the cap of that build.

With a jobserver from outside, cargo ignores `-j` and says so on every build. So the option is taken
out of the command line, the jobserver gets N - 1 tokens, and CARGO_BUILD_JOBS=N carries the number
to build scripts (NUM_JOBS), which cargo does not warn about (measured, cargo 1.95).
"""

import re
from collections.abc import Sequence

from forge.core.cargo_args import BUILTIN_BUILD_VERBS, CONFIG_AFTER_VERBS, CargoArgs

JOBS_VERBS = BUILTIN_BUILD_VERBS | CONFIG_AFTER_VERBS | {"install"}
"""Verbs whose `-j` is cargo's own. `cargo nextest -j` for one counts tests."""


def take_jobs(args: CargoArgs, verb: str | None, cores: int) -> tuple[tuple[str, ...], int | None]:
    """Return argv without its `-j` options and the cap they ask for; None when there is none.

    What cargo would refuse (`-j 0`, `-j x`) is left for cargo to refuse.
    """
    if verb not in JOBS_VERBS:
        return args.argv, None
    kept: list[str] = list(args.argv[: args.verb_index + 1])
    rest = args.argv[args.verb_index + 1 :]
    cap: int | None = None
    index = 0
    while index < len(rest) and rest[index] != "--":
        value, words = _jobs_at(rest, index)
        number = None if value is None else _number(value, cores)
        if value is not None and number is None:
            return args.argv, None
        if number is not None:
            cap = number
        else:
            kept += rest[index : index + words]
        index += words
    return (*kept, *rest[index:]), cap


def cap_of(written: str | int | None, cores: int) -> int | None:
    """Return the cap that CARGO_BUILD_JOBS or build.jobs asks for; None when there is none."""
    return None if written is None else _number(str(written), cores)


def _jobs_at(words: Sequence[str], index: int) -> tuple[str | None, int]:
    """Return the value of a jobs option at `index`, if one is there, and how many words it is."""
    word = words[index]
    if word in ("-j", "--jobs"):
        return (words[index + 1], 2) if index + 1 < len(words) else ("", 1)
    match = re.fullmatch(r"--jobs=(.*)|-j=?(.+)", word, re.DOTALL)
    if match:
        return match[1] if match[1] is not None else match[2], 1
    return None, 1


def _number(value: str, cores: int) -> int | None:
    """Read cargo's number of jobs: negative counts from the cores, `default` is all of them."""
    if value == "default":
        return cores
    if not re.fullmatch(r"-?[0-9]{1,6}", value) or int(value) == 0:
        return None
    number = int(value)
    return number if number > 0 else max(1, cores + number)
