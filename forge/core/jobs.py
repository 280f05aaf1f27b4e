"""The user's own word on parallelism: `-j N` and its kin become the cap of that build.

With a jobserver from outside, cargo ignores `-j` and says so on every build. So the option is taken
out of the command line, the jobserver gets N - 1 tokens, and CARGO_BUILD_JOBS=N carries the number
to build scripts (NUM_JOBS), which cargo does not warn about (measured, cargo 1.95).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from forge.core.cargo_args import CONFIG_AFTER_VERBS, CargoArgs
from forge.core.verbs import BUILTIN_BUILD_VERBS, WITH_VALUE

JOBS_VERBS = BUILTIN_BUILD_VERBS | CONFIG_AFTER_VERBS | {"install"}
"""Verbs whose `-j` is cargo's own. `cargo nextest -j` for one counts tests."""


def take_jobs(args: CargoArgs, cores: int) -> tuple[tuple[str, ...], int | None]:
    """Return argv without its `-j` options and the cap they ask for; None when there is none.

    What cargo would refuse (`-j 0`, `-j x`) is left for cargo to refuse.
    """
    if args.verb not in JOBS_VERBS:
        return args.argv, None
    kept: list[str] = list(args.argv[: args.verb_index + 1])
    own = args.argv[args.verb_index + 1 : args.own_end]
    cap: int | None = None
    index = 0
    while index < len(own):
        jobs = _jobs_at(own, index)
        if jobs is None:
            words = 2 if own[index] in WITH_VALUE else 1
            kept += own[index : index + words]
            index += words
            continue
        cap = _number(jobs.value, cores)
        if cap is None:
            return args.argv, None
        kept += jobs.rest
        index += jobs.words
    return (*kept, *args.argv[args.own_end :]), cap


def cap_of(written: str | int | None, cores: int) -> int | None:
    """Return the cap that CARGO_BUILD_JOBS or build.jobs asks for; None when there is none."""
    return None if written is None else _number(str(written), cores)


@dataclass(frozen=True, slots=True)
class _Jobs:
    """A jobs option: its value, how many words it is, and what else its first word says."""

    value: str
    words: int
    rest: tuple[str, ...] = ()


def _jobs_at(words: Sequence[str], index: int) -> _Jobs | None:
    """Return the jobs option at `index`, if one is there: `-j 4`, `-rj4`, `--jobs=4`."""
    word = words[index]
    match = re.fullmatch(r"--jobs=(.*)", word, re.DOTALL)
    if match:
        return _Jobs(match[1], 1)
    match = re.fullmatch(r"-([qrv]*)j=?(.*)", word, re.DOTALL)
    if word != "--jobs" and not match:
        return None
    rest = (f"-{match[1]}",) if match and match[1] else ()
    if match and match[2]:
        return _Jobs(match[2], 1, rest)
    return _Jobs(words[index + 1] if index + 1 < len(words) else "", 2, rest)


def _number(value: str, cores: int) -> int | None:
    """Read cargo's number of jobs: negative counts from the cores, `default` is all of them."""
    if value == "default":
        return cores
    if not re.fullmatch(r"-?[0-9]{1,6}", value) or int(value) == 0:
        return None
    number = int(value)
    return number if number > 0 else max(1, cores + number)
