"""Which build has a target dir's lock, and who waits for it.

Cargo locks `.cargo-lock` of the profile's directory while it compiles and gives it back before it
runs what it built (facts: cargo 1.95; `cargo check` and `cargo build` lock each other out, dev and
release do not). A cargo that finds it taken says so and sleeps with its job tokens; here the second
build waits before its cargo is started, with a name to wait for and nothing in its hands.

Whether a cargo still holds its lock is looked up, not guessed: `seen` takes in what was found.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from forge.core.cargo_args import UNREDIRECTED_BUILD_VERBS, CargoArgs, Kind
from forge.core.shares import Priority
from forge.core.workspace import Workspace

LOCK_NAME = ".cargo-lock"

NEVER_LOCKED_S = 2.0
"""A cargo that was not seen to lock anything for so long, and compiles nothing, does not."""

PROFILE_DIRS = {"dev": "debug", "test": "debug", "bench": "release"}
"""Profiles whose directory has another name. Source: the cargo book, "Build cache"."""


def lock_path(
    args: CargoArgs, env: Mapping[str, str], workspace: Workspace, redirected_to: str | None
) -> str | None:
    """Return the lock file of a build; None when it takes none that another could want."""
    if args.kind is not Kind.BUILD or args.verb in UNREDIRECTED_BUILD_VERBS:
        return None
    if workspace.root is None:
        return None
    target_dir = redirected_to or _own_target_dir(args, env, workspace)
    return os.path.join(target_dir, profile_dir(args), LOCK_NAME)


def profile_dir(args: CargoArgs) -> str:
    """Return the name of the directory that a build's profile has."""
    profile = _nextest_profile(args) if args.verb == "nextest" else args.profile
    return PROFILE_DIRS.get(profile, profile)


def _own_target_dir(args: CargoArgs, env: Mapping[str, str], workspace: Workspace) -> str:
    """Return where cargo builds by itself. Relative paths are taken from where cargo runs."""
    named = (
        args.target_dir
        or env.get("CARGO_TARGET_DIR")
        or env.get("CARGO_BUILD_TARGET_DIR")
        or workspace.config.target_dir
    )
    if named:
        return os.path.normpath(os.path.join(workspace.base, named))
    return f"{workspace.root}/target"


def _nextest_profile(args: CargoArgs) -> str:
    """Read cargo's profile from nextest's own options: its `--profile` is another thing."""
    words = args.argv[args.verb_index + 1 :]
    words = words[: words.index("--")] if "--" in words else words
    for index, word in enumerate(words):
        if word == "--cargo-profile":
            return words[index + 1] if index + 1 < len(words) else "dev"
        if word.startswith("--cargo-profile="):
            return word.partition("=")[2]
    return "release" if {"-r", "--release"} & set(words) else "dev"


@dataclass(slots=True)
class _Holder:
    build: str
    was_locked: bool = False
    free_since_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    build: str
    priority: Priority
    order: int


@dataclass(slots=True)
class BuildLocks:
    """Holders and waiting builds, by lock file. Invariant: nobody waits for a lock that is free."""

    _holders: dict[str, _Holder] = field(default_factory=dict)
    _waiting: dict[str, list[_Waiting]] = field(default_factory=dict)

    def take(self, path: str, build: str, priority: Priority, order: int) -> bool:
        """Give the lock to a build if nobody has it, else let it wait by its order of arrival."""
        if path not in self._holders:
            self._holders[path] = _Holder(build)
            return True
        self._waiting.setdefault(path, []).append(_Waiting(build, priority, order))
        return False

    def set_priority(self, path: str, build: str, priority: Priority) -> None:
        """Change a waiting build's place."""
        line = self._waiting.get(path, [])
        self._waiting[path] = [
            _Waiting(one.build, priority, one.order) if one.build == build else one for one in line
        ]
        if not line:
            del self._waiting[path]

    def leave(self, path: str, build: str) -> str | None:
        """Take a build out; return the build that has the lock from now on, if that is another."""
        line = [one for one in self._waiting.pop(path, []) if one.build != build]
        holder = self._holders.get(path)
        following = None
        if holder is not None and holder.build == build:
            del self._holders[path]
            if line:
                first = min(line, key=lambda one: (one.priority is Priority.BATCH, one.order))
                line.remove(first)
                following = first.build
                self._holders[path] = _Holder(following)
        if line:
            self._waiting[path] = line
        return following

    def holder(self, path: str) -> str | None:
        """Return who has a lock."""
        holder = self._holders.get(path)
        return holder.build if holder else None

    def ahead(self, path: str, build: str) -> tuple[str, ...]:
        """Return who has the lock and who comes before a waiting build."""
        line = sorted(
            self._waiting.get(path, []), key=lambda one: (one.priority is Priority.BATCH, one.order)
        )
        names = [one.build for one in line]
        before = names[: names.index(build)] if build in names else names
        holder = self.holder(path)
        return (*((holder,) if holder else ()), *before)

    def wanted(self) -> list[str]:
        """Return the locks that somebody waits for."""
        return list(self._waiting)

    def seen(self, path: str, build: str, *, locked: bool, idle: bool, now_s: float) -> bool:
        """Take in whether the lock file is locked; say whether the holder is through with it.

        `idle`: the holder compiles nothing that we know of.
        """
        holder = self._holders.get(path)
        if holder is None or holder.build != build:
            return False
        if locked:
            holder.was_locked, holder.free_since_s = True, None
            return False
        if holder.was_locked:
            return True
        if holder.free_since_s is None or not idle:
            holder.free_since_s = now_s
        return now_s - holder.free_since_s >= NEVER_LOCKED_S

    def check(self) -> None:
        """Assert the invariant."""
        for path, line in self._waiting.items():
            assert path in self._holders, f"{line[0].build} waits for a lock that is free"
            assert line, f"nobody waits for {path}, yet it is filed"
