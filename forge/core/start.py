"""What a launcher is told: cargo's command line, its environment, its jobserver.

Only variables that leave cargo's fingerprints alone are set (measured, cargo 1.95): RUSTC_WRAPPER,
CARGO_BUILD_JOBS, CARGO_TARGET_DIR. Never RUSTFLAGS, CARGO_TARGET_*_LINKER or a profile's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from forge.core import cargo_args
from forge.core.builds import Build
from forge.core.cargo_args import UNREDIRECTED_BUILD_VERBS, Kind
from forge.core.jobs import cap_of, take_jobs
from forge.core.settings import Settings
from forge.core.shim import Shim


@dataclass(frozen=True, slots=True)
class Start:
    """How cargo is to be started. `tokens` None: it gets no jobserver from us."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    unset: tuple[str, ...]
    tokens: int | None


def plan_start(build: Build, settings: Settings, shim: Shim | None) -> Start:
    """Put a build's command line and environment together. `shim` None: no gates."""
    verb = build.config.alias_of or build.args.verb
    env = {"FORGE_BUILD": build.id}
    args = build.args
    tokens = None
    if args.kind is Kind.BUILD and not is_inside_a_jobserver(build.env):
        argv, cap = take_jobs(args, verb, settings.cores)
        if cap is not None:
            env["CARGO_BUILD_JOBS"] = str(cap)
            args = cargo_args.parse(argv)
        cap = cap or cap_of(build.env.get("CARGO_BUILD_JOBS"), settings.cores)
        cap = cap or cap_of(build.config.jobs, settings.cores)
        tokens = max(0, min(cap or settings.cores, settings.cores) - 1)
    argv = args.argv
    if build.target_dir:
        argv, more = cargo_args.redirected(args, build.target_dir, alias_of=build.config.alias_of)
        env |= more
    if build.root:
        env["FORGE_ROOT"] = build.root
    unset = {*build.unset, "FORGE_RUSTC_WRAPPER"}  # an enclosing build's is not this one's
    if shim and args.kind is Kind.BUILD and verb != "miri":
        env |= _gates(build, settings, shim)
    return Start(argv, env, tuple(sorted(unset - env.keys())), tokens)


def is_inside_a_jobserver(env: Mapping[str, str]) -> bool:
    """Say whether cargo would find a jobserver in its environment: make's, or an outer build's.

    jobserver-rs looks at the first of the three that exists, and at no other.
    """
    for name in ("CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS"):
        if name in env:
            return "--jobserver-auth=" in env[name] or "--jobserver-fds=" in env[name]
    return False


def users_rustc_wrapper(build: Build, shim: Shim) -> str | None:
    """Return the wrapper that the user has asked for; ours of an enclosing build is none."""
    for name in ("RUSTC_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"):
        written = build.env.get(name)
        if written is not None and written != shim.rustc_gate:
            return written or None
        if written is not None:
            return build.env.get("FORGE_RUSTC_WRAPPER") or None
    return build.config.rustc_wrapper


def _gates(build: Build, settings: Settings, shim: Shim) -> dict[str, str]:
    env = {
        "RUSTC_WRAPPER": shim.rustc_gate,
        "FORGE_LINKER_DIR": shim.linker_dir,
        "FORGE_SOCKET": settings.socket_path,
    }
    wrapper = users_rustc_wrapper(build, shim)
    if wrapper:
        env["FORGE_RUSTC_WRAPPER"] = wrapper
    return env


def is_gated(build: Build) -> bool:
    """Say whether a build wants gates: it compiles, in a workspace or by `cargo install`."""
    return build.args.kind is Kind.BUILD and (
        build.root is not None or build.args.verb in UNREDIRECTED_BUILD_VERBS
    )
