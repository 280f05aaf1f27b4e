"""The test gate in a build: cargo's target runner, with the user's own runner behind it.

Cargo refuses to start when a runner is a string in one place and a list in another, so the gate
comes in the form of the user's. Where the user's runner cannot be known for certain, there is no
gate: tests without a gate are better than tests without their runner. What was measured is in
docs/design/test-gate.md.
"""

import os
import re
from collections.abc import Iterator
from itertools import pairwise

from forge.core import cargo_args
from forge.core.builds import Build
from forge.core.cargo_args import CargoArgs
from forge.core.shim import Shim

TEST_VERBS = frozenset(("bench", "t", "test"))
"""Cargo's own verbs that run tests. Not `run`: a server would keep its cores for ever."""

NEXTEST_VERBS = frozenset(("bench", "r", "run"))
"""Verbs of nextest's own that run tests."""


def with_test_gate(
    build: Build, args: CargoArgs, shim: Shim
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return argv and variables that put the test gate before the tests of a build.

    Cargo takes it as an option, which nobody inherits. Nextest takes a variable; the gate takes it
    out again, and puts back what the user had set, which is kept beside it.
    """
    argv, env = args.argv, dict[str, str]()
    is_inside_a_test = "FORGE_TEST" in build.env  # it has the cores of that test
    if is_inside_a_test or build.config.hides_runner:
        return argv, env
    by_variable = args.verb == "nextest"
    if not (_runs_nextest(args) if by_variable else args.verb in TEST_VERBS):
        return argv, env
    for triple in _triples(build, args, shim.host):
        own = users_runner(build, triple, shim, by_variable=by_variable)
        if own is None:
            continue
        chain = (shim.test_gate, str(len(own)), *own)
        if by_variable:
            env |= _as_variable(build, variable(triple), chain)
        else:
            argv = _as_option(build, argv, triple, chain)
    return argv, env


def users_runner(
    build: Build, triple: str, shim: Shim, *, by_variable: bool
) -> tuple[str, ...] | None:
    """Return the words of the user's own runner for a target; None: it cannot be chained.

    An option beats the variable, which beats a file. A gate left in the variable by an enclosing
    build is not the user's, but what it chains is.
    """
    configured = build.config.runners.get(triple)
    if configured and not configured.words:
        return None  # cargo refuses it: let it say so
    if configured and configured.by_option:
        return None if by_variable else configured.words  # nextest does not see such an option
    written = build.env.get(variable(triple))
    if written is None:
        return configured.words if configured else ()
    words = tuple(written.split())
    if words[:1] == (shim.test_gate,):
        return words[2:]
    if not words:
        return None
    program = os.path.join(build.base, words[0]) if "/" in words[0] else words[0]
    return (program, *words[1:])


def variable(triple: str) -> str:
    """Name the variable that sets the runner of a target."""
    return f"CARGO_TARGET_{triple.upper().replace('-', '_')}_RUNNER"


def _runs_nextest(args: CargoArgs) -> bool:
    return args.argv[args.verb_index + 1 : args.verb_index + 2] in [(v,) for v in NEXTEST_VERBS]


def _as_variable(build: Build, name: str, chain: tuple[str, ...]) -> dict[str, str]:
    if not _survives_splitting(chain):
        return {}
    users = {f"FORGE_{name}": build.env[name]} if name in build.env else {}
    return {name: " ".join(chain), **users}


def _as_option(
    build: Build, argv: tuple[str, ...], triple: str, chain: tuple[str, ...]
) -> tuple[str, ...]:
    configured = build.config.runners.get(triple)
    if not _is_text(chain):
        return argv
    if configured is None or configured.is_list:
        value = f"[{', '.join(map(cargo_args.toml_string, chain))}]"
    elif _survives_splitting(chain):
        value = cargo_args.toml_string(" ".join(chain))
    else:
        return argv
    setting = f"target.{cargo_args.toml_string(triple)}.runner={value}"
    return cargo_args.configured(cargo_args.parse(argv), setting) or argv


def _is_text(words: tuple[str, ...]) -> bool:
    """Say whether words can be in an option: cargo takes only UTF-8 there."""
    try:
        "".join(words).encode()
    except UnicodeEncodeError:  # bytes that are none came as lone surrogates
        return False
    return True


def _survives_splitting(words: tuple[str, ...]) -> bool:
    """Say whether cargo, which splits a string at blanks, would find these words again."""
    return all(word.split() == [word] for word in words)


def _triples(build: Build, args: CargoArgs, host: str) -> list[str]:
    """Return all targets whose tests may run: those named anywhere, and the host's."""
    asked = [host, *_target_options(args), *build.config.targets]
    asked.append(build.env.get("CARGO_BUILD_TARGET", ""))
    names = [host if one == "host-tuple" else os.path.basename(one) for one in asked]
    triples = [name.removesuffix(".json") for name in names]  # a target specification's stem
    return [one for one in dict.fromkeys(triples) if re.fullmatch(r"[A-Za-z0-9_.-]+", one)]


def _target_options(args: CargoArgs) -> Iterator[str]:
    words = args.argv[args.verb_index + 1 :]
    if "--" in words:
        words = words[: words.index("--")]
    for word, following in pairwise((*words, "")):
        if word == "--target":
            yield following
        elif word.startswith("--target="):
            yield word.removeprefix("--target=")
