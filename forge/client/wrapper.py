"""The shim as people meet it: compiled, looked at, and installed as `cargo` in PATH.

What goes into PATH is a directory with a link to `<cache_dir>/gates/bin/cargo`, and the marker that
keeps everybody from taking it for the real cargo. When the cache is deleted the link leads nowhere,
and shells fall through to the next cargo on PATH: a build without Forge is the worst that happens.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from forge import paths
from forge.client.cargo_path import WRAPPER_MARK, find_cargo
from forge.client.profile_block import UserFileUnwritable
from forge.errors import CargoMissing, DeadlineExceeded, ForgeError, ShimUnavailable
from forge.host.cargo_config import CargoConfigFiles
from forge.host.commands import run_command
from forge.host.shim import LINK_NAME, current_shim
from forge.host.shim_build import build_shim, find_rustc, shim_key, source_dir
from forge.host.state_dir import note_commands, private_dir
from forge.host.toml_files import TomlFiles

ANSWER_DEADLINE_S = 30.0
_LINK_END = os.path.join(LINK_NAME, "bin", "cargo")


class CargoInTheWay(ForgeError):
    """Where the wrapper would go there is a `cargo` that is not Forge's."""

    slug = "cargo-in-the-way"
    exit_code = os.EX_CANTCREAT


@dataclass(frozen=True, slots=True)
class Built:
    """The shim that is in use; `compiled` tells that this call made it."""

    path: str
    key: str
    compiled: bool
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Order:
    """Which cargo a shell would run (None: there is none), and which real one is behind it."""

    first: str | None
    real: str | None
    wrapper_is_first: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `forge shim check`; `level` is ok, warning or failure."""

    what: str
    level: str
    says: str


def build(env: Mapping[str, str], *, force: bool = False) -> Built:
    """Compile the shim unless it is there; `force` compiles it in any case.

    Raises ShimUnavailable.
    """
    began = time.monotonic()
    cache = _cache(env)
    if force:
        _compile_again(cache, env)
    built = build_shim(cache, env)
    current_shim(cache, env)
    return Built(str(built.path), built.key, force or built.built, time.monotonic() - began)


def shim_path(env: Mapping[str, str]) -> str:
    """Return the absolute path of the shim in use. Raises ShimUnavailable when there is none."""
    path = os.path.realpath(_cache(env) / LINK_NAME / "forge-shim")
    if not os.access(path, os.X_OK):
        raise ShimUnavailable("no shim is compiled yet", hint="`forge shim build` compiles it")
    return path


def default_dir(env: Mapping[str, str]) -> str:
    """Return where the wrapper goes when nobody says otherwise."""
    return os.path.join(paths.home(env), ".local", "share", "opta-forge", "bin")


def is_installed(directory: str, env: Mapping[str, str]) -> bool:
    """Say whether `directory` has the wrapper. Raises CargoInTheWay: its `cargo` is not Forge's."""
    link = os.path.join(directory, "cargo")
    if not os.path.lexists(link):
        return False
    goal = os.readlink(link) if os.path.islink(link) else ""
    marked = os.path.lexists(os.path.join(directory, WRAPPER_MARK))
    if goal == _goal(env):
        return marked
    if marked and goal.endswith(f"/{_LINK_END}"):
        return False  # ours, with another cache directory behind it
    raise CargoInTheWay(
        f"{link} is not Forge's" + (f": it leads to {goal}" if goal else ""),
        hint="take another directory with `--dir`",
    )


def install(directory: str, env: Mapping[str, str]) -> bool:
    """Put the wrapper into `directory`; False when it was there already.

    Raises CargoInTheWay, UserFileUnwritable, and ShimUnavailable: there is nothing to install then.
    """
    if is_installed(directory, env) and os.access(_goal(env), os.X_OK):
        return False
    build(env)
    private_dir(paths.state_dir(env))
    note_commands(paths.state_dir(env))
    draft = os.path.join(directory, f".cargo-{os.getpid()}")
    try:
        os.makedirs(directory, exist_ok=True)
        Path(directory, WRAPPER_MARK).touch()
        if not is_installed(directory, env):
            os.symlink(_goal(env), draft)
            os.replace(draft, os.path.join(directory, "cargo"))
    except OSError as error:
        with suppress(OSError):
            os.unlink(draft)
        raise UserFileUnwritable(f"{directory} cannot be written: {error.strerror}") from None
    return True


def uninstall(directory: str, env: Mapping[str, str], *, dry_run: bool = False) -> list[str]:
    """Take the wrapper, the marker and the empty directory away; return what is gone.

    What is not Forge's stays. Raises UserFileUnwritable.
    """
    link, mark = os.path.join(directory, "cargo"), os.path.join(directory, WRAPPER_MARK)
    gone = [path for path in (link, mark) if os.path.lexists(path)]
    try:
        is_installed(directory, env)
    except CargoInTheWay:
        gone.remove(link)
    if not gone:
        return []
    if dry_run:
        return gone
    try:
        for path in gone:
            os.unlink(path)
    except OSError as error:
        raise UserFileUnwritable(f"{directory} cannot be written: {error.strerror}") from None
    for place in (directory, os.path.dirname(directory)):
        if place in (directory, os.path.dirname(default_dir(env))):
            with suppress(OSError):  # not empty: something of somebody else's
                os.rmdir(place)
                gone.append(place)
    return gone


def order(env: Mapping[str, str], directory: str | None = None) -> Order:
    """Say which cargo comes first, and whether it is the wrapper (the one in `directory`)."""
    first = shutil.which("cargo", path=_absolute(env))
    try:
        real = find_cargo(env)
    except CargoMissing:
        real = None
    if first is None:
        return Order(None, real, wrapper_is_first=False)
    place = os.path.dirname(first)
    ours = os.path.lexists(os.path.join(place, WRAPPER_MARK))
    same = directory is None or os.path.realpath(place) == os.path.realpath(directory)
    return Order(first, real, wrapper_is_first=ours and same)


def check(env: Mapping[str, str]) -> list[Finding]:
    """Look at everything that gates and wrapper depend on."""
    return [
        *_check_shim(env),
        _check_installed(env),
        _check_order(env),
        _check_users_wrapper(env),
        _check_cache(env),
    ]


def _check_shim(env: Mapping[str, str]) -> list[Finding]:
    version = None
    try:
        rustc = find_rustc(env)
        version = _answer([rustc, "-vV"], env)
        found = [Finding("rustc", "ok", f"{version.splitlines()[0]}, {rustc}")]
    except ForgeError as error:
        found = [Finding("rustc", "failure", _line(error))]
    try:
        source = source_dir()
        found.append(Finding("source", "ok", str(source)))
    except ForgeError as error:
        return [*found, Finding("source", "failure", _line(error))]
    try:
        path = shim_path(env)
    except ForgeError as error:
        return [*found, Finding("shim", "warning", _line(error))]
    if version and os.path.basename(os.path.dirname(path)) != shim_key(source, version, None):
        says = f"{path} is of another source or toolchain; the next build compiles a new one"
        return [*found, Finding("shim", "warning", says)]
    return [*found, _check_runs(path, env)]


def _check_runs(path: str, env: Mapping[str, str]) -> Finding:
    """Check that the program runs: as cargo, with a verb that it passes on."""
    try:
        says = _answer([_goal(env), "--version"], env).strip()
    except ForgeError as error:
        return Finding("shim", "failure", _line(error))
    return Finding("shim", "ok", f"{path}, runs {says}")


def _check_installed(env: Mapping[str, str]) -> Finding:
    places = [*_absolute(env).split(os.pathsep), default_dir(env)]
    found = [
        place
        for place in dict.fromkeys(places)
        if os.path.lexists(os.path.join(place, WRAPPER_MARK))
        and os.path.islink(os.path.join(place, "cargo"))
    ]
    if not found:
        says = "not installed; `forge shim install` makes plain `cargo` build under Forge too"
        return Finding("wrapper", "ok", says)
    for place in found:
        if not os.path.exists(os.path.join(place, "cargo")):
            says = f"{place}/cargo leads nowhere; `forge shim install` sees to it"
            return Finding("wrapper", "warning", says)
    return Finding("wrapper", "ok", ", ".join(found))


def _check_order(env: Mapping[str, str]) -> Finding:
    now = order(env)
    if now.real is None:
        return Finding("PATH", "failure", "there is no cargo on PATH but Forge's own")
    says = f"`cargo` is {now.first or 'not on PATH'}, the real one is {now.real}"
    installed = os.path.lexists(os.path.join(default_dir(env), WRAPPER_MARK))
    if installed and not now.wrapper_is_first:
        return Finding("PATH", "warning", f"{says}; the wrapper is installed, but not first")
    return Finding("PATH", "ok", says)


def _check_users_wrapper(env: Mapping[str, str]) -> Finding:
    named, source = _users_wrapper(env)
    if not named:
        return Finding("RUSTC_WRAPPER", "ok", "none of yours")
    if shutil.which(named, path=env.get("PATH", os.defpath)) is None:
        says = f"{named}, of {source}, does not exist: no build can start"
        return Finding("RUSTC_WRAPPER", "failure", says)
    return Finding("RUSTC_WRAPPER", "ok", f"{named}, of {source}, runs behind the gate")


def _users_wrapper(env: Mapping[str, str]) -> tuple[str | None, str]:
    for name in ("RUSTC_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"):
        if name in env:
            return env[name], name
    cargo_home = env.get("CARGO_HOME") or os.path.join(paths.home(env), ".cargo")
    try:
        base = os.getcwd()
    except OSError:  # it was deleted: only the user's own file counts
        base = "/"
    files = CargoConfigFiles(TomlFiles(), base, cargo_home)
    return files.config(()).rustc_wrapper, "cargo's configuration"


def _check_cache(env: Mapping[str, str]) -> Finding:
    cache = _cache(env)
    place = cache
    while not place.exists() and place != place.parent:
        place = place.parent
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return Finding("cache", "ok", f"{cache} can be written")
    return Finding("cache", "failure", f"{cache} cannot be written; set FORGE_CACHE_DIR")


def _compile_again(cache: Path, env: Mapping[str, str]) -> None:
    """Compile beside what is there, then take its place in one step: builds may be using it."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".forced-") as scratch:
            made = build_shim(Path(scratch), env)
            place = cache / "shim" / made.key
            if place.is_dir():
                made.path.replace(place / made.path.name)
            else:
                place.parent.mkdir(exist_ok=True)
                made.root.replace(place)
    except OSError as error:
        raise ShimUnavailable(f"{cache} cannot be written: {error.strerror}") from None


def _answer(argv: list[str], env: Mapping[str, str]) -> str:
    """Return what a program prints. Raises ShimUnavailable when it does not run well."""
    try:
        result = run_command(argv, deadline_s=ANSWER_DEADLINE_S, env=env)
    except OSError as error:
        raise ShimUnavailable(f"`{argv[0]}` does not run: {error.strerror}") from None
    except DeadlineExceeded as error:
        raise ShimUnavailable(error.message) from None
    if result.exit_code != 0 or not result.stdout:
        said = result.stderr.strip().splitlines()[-1:] or [f"exit code {result.exit_code}"]
        raise ShimUnavailable(f"`{' '.join(argv)}` says: {said[0]}")
    return result.stdout


def _cache(env: Mapping[str, str]) -> Path:
    return Path(os.path.abspath(paths.cache_dir(env)))


def _goal(env: Mapping[str, str]) -> str:
    return str(_cache(env) / _LINK_END)


def _absolute(env: Mapping[str, str]) -> str:
    """Return PATH without its empty and relative entries."""
    entries = env.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(entry for entry in entries if os.path.isabs(entry))


def _line(error: ForgeError) -> str:
    return error.message + (f"; {error.hint}" if error.hint else "")
