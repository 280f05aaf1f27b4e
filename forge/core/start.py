"""What a launcher is told: cargo's command line, its environment, its jobserver.

Only what leaves cargo's fingerprints alone is set (measured, cargo 1.95): build.rustc-wrapper,
build.target-dir and targets' runners, as options or by their variables, and CARGO_BUILD_JOBS. Never
RUSTFLAGS, CARGO_TARGET_*_LINKER or a profile's.
"""

import os
from collections.abc import Mapping, Sequence

from forge.core import cargo_args
from forge.core.builds import Build, Start
from forge.core.cargo_args import UNREDIRECTED_BUILD_VERBS, CargoArgs, Kind
from forge.core.jobs import cap_of, take_jobs
from forge.core.runners import with_test_gate
from forge.core.settings import Settings
from forge.core.shim import Shim
from forge.core.target_modes import TargetMode


def plan_start(build: Build, settings: Settings, shim: Shim | None) -> Start:
    """Put a build's command line and environment together. `shim` None: no gates."""
    args, env, tokens = build.args, {"FORGE_BUILD": build.id}, None
    nested = is_inside_a_jobserver(build.env)
    if args.kind is Kind.BUILD and not (nested and build.parent is None):
        argv, cap = take_jobs(args, settings.cores)
        if cap is not None:
            env["CARGO_BUILD_JOBS"] = str(cap)
            args = cargo_args.parse(argv)
        if not nested:
            cap = cap or cap_of(build.env.get("CARGO_BUILD_JOBS"), settings.cores)
            cap = cap or cap_of(build.config.jobs, settings.cores)
            tokens = max(0, min(cap or settings.cores, settings.cores) - 1)
    if build.target_dir and build.mode is TargetMode.BUILD_DIR:
        args = cargo_args.parse(cargo_args.with_build_dir(args, build.target_dir))
    elif build.target_dir:
        argv, more = cargo_args.redirected(args, build.target_dir)
        args, env = cargo_args.parse(argv), env | more
    if build.root:
        env["FORGE_ROOT"] = build.root
    unset = {
        *build.unset,
        "FORGE_RUSTC_WRAPPER",
        "FORGE_TMPDIR",
    }  # an enclosing build's is not this one's
    argv = args.argv
    if shim and args.kind is Kind.BUILD and args.verb != "miri":
        argv, gates = _gated(build, args, settings, shim)
        argv, runners = with_test_gate(build, cargo_args.parse(argv), shim)
        env |= gates | runners
        if build.tmp_dir:
            env["FORGE_TMPDIR"] = build.tmp_dir
    return Start(argv, env, tuple(sorted(unset - env.keys())), tokens)


def is_inside_a_jobserver(env: Mapping[str, str]) -> bool:
    """Say whether cargo would find a jobserver in its environment: make's, or an outer build's.

    jobserver-rs looks at the first of the three that exists, and at no other.
    """
    for name in ("CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS"):
        if name in env:
            return "--jobserver-auth=" in env[name] or "--jobserver-fds=" in env[name]
    return False


def users_rustc_wrapper(build: Build, shim: Shim) -> tuple[str | None, bool]:
    """Return the wrapper that the user has asked for, and whether a variable asks for one.

    Ours, left in the environment by an enclosing build, is none. A path is taken from where cargo
    runs, since rustc runs elsewhere.
    """
    for name in ("RUSTC_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"):
        written = build.env.get(name)
        if written is None:
            continue
        if written == shim.rustc_gate:
            return build.env.get("FORGE_RUSTC_WRAPPER") or build.config.rustc_wrapper, True
        if "/" in written:
            written = os.path.join(build.base, written)
        return written or None, True
    return build.config.rustc_wrapper, False


def _gated(
    build: Build, args: CargoArgs, settings: Settings, shim: Shim
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return argv and variables that put the gates into a build.

    Where it can be, the gate is an option: what `cargo run` starts then inherits no RUSTC_WRAPPER.
    """
    env = {"FORGE_LINKER_DIR": shim.linker_dir, "FORGE_SOCKET": settings.socket_path}
    wrapper, by_variable = users_rustc_wrapper(build, shim)
    if wrapper:
        env["FORGE_RUSTC_WRAPPER"] = wrapper
    option = f"build.rustc-wrapper={cargo_args.toml_string(shim.rustc_gate)}"
    argv = None if by_variable else cargo_args.configured(args, option)
    if argv is None:
        env["RUSTC_WRAPPER"] = shim.rustc_gate
    return argv or args.argv, env


def is_gated(build: Build) -> bool:
    """Say whether a build wants gates: it compiles, in a workspace or by `cargo install`."""
    return build.args.kind is Kind.BUILD and (
        build.root is not None or build.args.verb in UNREDIRECTED_BUILD_VERBS
    )


def without_secrets(argv: Sequence[str]) -> list[str]:
    """Return a command line as it may be logged and shown: registry tokens left out."""
    shown = list(argv)
    for index, word in enumerate(shown):
        if word.startswith("--token="):
            shown[index] = "--token=…"
        elif word == "--token" and index + 1 < len(shown):
            shown[index + 1] = "…"
    return shown
