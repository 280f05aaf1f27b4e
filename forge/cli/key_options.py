"""Options that `forge serve` and `forge remote authorize` share: what a build key may do."""

from collections.abc import Callable
from typing import Any

import click

from forge.core.own_options import PRIORITIES
from forge.core.remote_policy import (
    ALLOWANCES,
    DEFAULT_VERBS,
    MAX_BUILD_S,
    MAX_BUILDS,
    MAX_BYTES,
    MAX_FILES,
    VERBS,
    KeyRules,
)
from forge.core.remote_values import NAME
from forge.core.shares import Priority
from forge.core.units import MIB, parse_duration_s, parse_size_mib


def check_name(_context: click.Context, _param: click.Parameter, value: Any) -> Any:
    """Take names of keys and projects and nothing else."""
    for one in value if isinstance(value, tuple) else (value,):
        if not NAME.fullmatch(one):
            raise click.BadParameter(
                f"`{one[:40]}` is no name: letters, digits, `.`, `_` and `-`, at most 64"
            )
    return value


def _verbs(_context: click.Context, _param: click.Parameter, value: str) -> frozenset[str]:
    verbs = frozenset(value.split(","))
    if unknown := sorted(verbs - set(VERBS)):
        raise click.BadParameter(f"`{unknown[0][:40]}` is none of {', '.join(VERBS)}")
    return verbs


def _duration(_context: click.Context, _param: click.Parameter, value: str) -> float:
    try:
        return parse_duration_s(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _size(_context: click.Context, _param: click.Parameter, value: str) -> int:
    if value.isdecimal():
        return int(value)
    try:
        return int(parse_size_mib(value)) * MIB
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_OPTIONS = (
    click.option(
        "--project", "projects", metavar="P", multiple=True, callback=check_name,
        help="Only this project; may be given several times. Default: any.",
    ),
    click.option(
        "--verbs", metavar="V,…", default=",".join(DEFAULT_VERBS), callback=_verbs,
        help="Only these verbs of cargo, as in build,check,test.",
    ),
    click.option(
        "--priority", type=click.Choice(PRIORITIES), default=Priority.INTERACTIVE.value,
        show_default=True, help="The most urgent that its builds may be.",
    ),
    click.option(
        "--max-builds", metavar="N", type=click.IntRange(1, 1000), default=MAX_BUILDS,
        show_default=True, help="How many of its builds run at once; others wait.",
    ),
    click.option(
        "--max-bytes", metavar="SIZE", default=str(MAX_BYTES), callback=_size,
        help="How much its sources may take. Default: 8GiB.",
    ),
    click.option(
        "--max-files", metavar="N", type=click.IntRange(1, 1_000_000), default=MAX_FILES,
        show_default=True, help="How many files its sources may be.",
    ),
    click.option(
        "--max-time", "max_build_s", metavar="DURATION", default=f"{MAX_BUILD_S:g}s",
        callback=_duration, help="How long one build may take. Default: 4h.",
    ),
    click.option(
        "--allow", "allowances", multiple=True, type=click.Choice(ALLOWANCES),
        help="Allow `--config`, `+toolchain`, or the network in the sandbox.",
    ),
    click.option(
        "--untrusted", "is_untrusted", is_flag=True,
        help="Build in a sandbox of the OS, or not at all.",
    ),
)  # fmt: skip


def key_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say what a key may do."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def rules_from(name: str, given: dict[str, Any]) -> KeyRules:
    """Return the rules that the options say."""
    return KeyRules(
        name=name,
        projects=frozenset(given["projects"]),
        verbs=given["verbs"],
        priority=Priority(given["priority"]),
        max_builds=given["max_builds"],
        is_untrusted=given["is_untrusted"],
        allowances=frozenset(given["allowances"]),
        max_bytes=given["max_bytes"],
        max_files=given["max_files"],
        max_build_s=given["max_build_s"],
    )
