"""Whether a command builds on the RAM disk, and who decided.

The user's own word wins: `--target-dir`, CARGO_TARGET_DIR, `--config build.target-dir=`,
CARGO_BUILD_TARGET_DIR. A `build.target-dir` in a cargo configuration file was written for plain
cargo, so it gives way, said once, unless forge.toml keeps it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from forge.core import cargo_args
from forge.core.cargo_args import UNREDIRECTED_BUILD_VERBS, CargoArgs
from forge.core.settings import Settings
from forge.core.target_modes import TargetMode
from forge.core.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Redirect:
    """The decision. `wanted` False leaves the target dir to cargo; `why` says whose word it is.

    `mode` is what is redirected. `note` is a line for the user, None when there is nothing to
    report. `unset` names variables that an enclosing build of Forge's has left in the environment.
    """

    wanted: bool
    why: str
    note: str | None = None
    mode: TargetMode = TargetMode.TARGET_DIR
    unset: tuple[str, ...] = ()


def decide(
    args: CargoArgs,
    env: Mapping[str, str],
    workspace: Workspace,
    settings: Settings,
    mode: TargetMode = TargetMode.TARGET_DIR,
) -> Redirect:
    """Say whether this command line is redirected; `mode` is the project's."""
    inherited = env.get("FORGE_TARGET_DIR")
    ours = inherited is not None and env.get("CARGO_TARGET_DIR") == inherited
    unset = ("CARGO_TARGET_DIR", "FORGE_TARGET_DIR") if ours else ()
    user = _users_word(args, env, workspace, ours=ours)
    if user:
        return Redirect(wanted=False, why=user)
    if workspace.root is None:
        return Redirect(wanted=False, why=workspace.outside, unset=unset)
    if args.verb in UNREDIRECTED_BUILD_VERBS:
        return Redirect(
            wanted=False, why=f"`cargo {args.verb}` has a directory of its own", unset=unset
        )
    if settings.disk is None:
        return Redirect(wanted=False, why='disk.kind is "none"', unset=unset)
    if mode is TargetMode.BUILD_DIR and cargo_args.takes_config(args):
        theirs = _users_build_dir(args, env)
        if theirs:
            return Redirect(wanted=False, why=theirs, unset=unset)
        return Redirect(wanted=True, why="default", mode=mode, unset=unset)
    config = workspace.config
    if config.target_dir is None:
        return Redirect(wanted=True, why="default", unset=unset)
    place = f"build.target-dir of {config.target_dir_file}"
    if not settings.override_config_target_dir:
        return Redirect(wanted=False, why=place, unset=unset)
    return Redirect(
        wanted=True,
        why="default",
        note=f"{place} ({config.target_dir}) gives way to the RAM disk;"
        " builds.override_config_target_dir = false keeps it",
        unset=unset,
    )


def _users_word(
    args: CargoArgs, env: Mapping[str, str], workspace: Workspace, *, ours: bool
) -> str | None:
    if args.target_dir is not None:
        return "--target-dir"
    if env.get("CARGO_TARGET_DIR") and not ours:
        return "CARGO_TARGET_DIR"
    if workspace.config.target_dir_by_option:
        return "--config build.target-dir"
    if env.get("CARGO_BUILD_TARGET_DIR"):
        return "CARGO_BUILD_TARGET_DIR"
    return None


def _users_build_dir(args: CargoArgs, env: Mapping[str, str]) -> str | None:
    if any(config.startswith("build.build-dir") for config in args.configs):
        return "--config build.build-dir"
    return "CARGO_BUILD_BUILD_DIR" if env.get("CARGO_BUILD_BUILD_DIR") else None
