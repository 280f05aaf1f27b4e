"""Build the native shim with the user's own rustc, once for each source and toolchain.

`<cache_dir>/shim/<key>/` holds one build, complete or absent: it is made beside its place and
renamed into it under a lock, so ten builds that start at once compile once.

    forge-shim           the program
    bin/cargo            symlink: the directory that goes into PATH
    gate/rustc-gate      symlink: RUSTC_WRAPPER
    gate/test-gate       symlink: the runner of tests
    gate/forge           symlink: launcher of `forge VERB`; in PATH it would hide `forge`
    .opta-forge-shim     marker, in each of the three: a shim never takes another for cargo

Symlinks, because macOS ends copied binaries. The answer to `rustc -vV` is kept beside the builds,
by what the program is and what rustup chooses it by; it is asked in the current directory.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from forge.errors import DeadlineExceeded, ShimUnavailable
from forge.host.commands import run_command

KEPT_KEYS = 3
COMPILE_DEADLINE_S = 120.0
PROBE_DEADLINE_S = 30.0
LOCK_INTERVAL_S = 0.02
MARKER = ".opta-forge-shim"
LINKS = ("bin/cargo", "gate/forge", "gate/rustc-gate", "gate/test-gate")
_FLAGS = ("-O", "-C", "strip=symbols", "-C", "panic=abort", "--edition", "2021")


@dataclass(frozen=True, slots=True)
class Shim:
    """A shim that is ready to run; `built` tells that this call compiled it.

    `host` is the target triple that the user's rustc compiles for unasked.
    """

    path: Path
    key: str
    built: bool
    host: str = ""

    @property
    def root(self) -> Path:
        """The directory of this build."""
        return self.path.parent

    @property
    def bin_dir(self) -> Path:
        """The directory that goes into PATH: `cargo` is in it."""
        return self.root / "bin"

    @property
    def cargo(self) -> Path:
        """The launcher under cargo's name."""
        return self.bin_dir / "cargo"

    @property
    def forge(self) -> Path:
        """The launcher under Forge's name."""
        return self.root / "gate" / "forge"

    @property
    def rustc_gate(self) -> Path:
        """What RUSTC_WRAPPER is to be."""
        return self.root / "gate" / "rustc-gate"

    @property
    def test_gate(self) -> Path:
        """What runs test binaries."""
        return self.root / "gate" / "test-gate"


def source_dir() -> Path:
    """Return the crate's directory: inside the installed package, or in the checkout."""
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "_hooks" / "shim", package.parent / "hooks" / "shim"):
        if (candidate / "src" / "main.rs").is_file():
            return candidate
    raise ShimUnavailable(
        "the source of the native shim is not installed", hint="install opta-forge again"
    )


def build_shim(
    cache_dir: Path,
    env: Mapping[str, str],
    *,
    source: Path | None = None,
    target: str | None = None,
    deadline_s: float = COMPILE_DEADLINE_S,
) -> Shim:
    """Return the shim for this source and toolchain, compiling it when there is none.

    Raises ShimUnavailable without a rustc, when it does not compile, and when it takes longer than
    `deadline_s`, waiting for another one that compiles included.
    """
    ends_at = time.monotonic() + deadline_s
    source = source or source_dir()
    rustc = find_rustc(env)
    builds = cache_dir / "shim"
    try:
        builds.mkdir(parents=True, exist_ok=True)
        version = _version(rustc, env, builds / "rustc.json")
        key = shim_key(source, version, target)
        host = _host(version)
        if not _is_complete(builds / key):
            with _locked(builds / "build.lock", ends_at):
                if not _is_complete(builds / key):  # another one may have built it meanwhile
                    _compile(rustc, env, source, target, builds / key, ends_at)
                    _prune(builds, keep=key)
                    return Shim(builds / key / "forge-shim", key, built=True, host=host)
        with contextlib.suppress(OSError):  # a cache that became read-only still serves
            os.utime(builds / key)  # in use: prune others first
    except OSError as error:
        raise ShimUnavailable(
            f"the native shim cannot be kept in {builds}: {error.strerror or error}",
            hint="make the directory writable, or set FORGE_CACHE_DIR",
        ) from None
    return Shim(builds / key / "forge-shim", key, built=False, host=host)


def find_rustc(env: Mapping[str, str]) -> str:
    """Return the absolute path of the user's rustc: RUSTC, else the one on PATH."""
    wanted = env.get("RUSTC") or "rustc"
    found = shutil.which(wanted, path=env.get("PATH", os.defpath))
    if found is None:
        raise ShimUnavailable(
            f"there is no `{wanted}` to build the native shim with",
            hint="install Rust, or add the directory of rustc to PATH",
        )
    return os.path.abspath(found)  # a proxy must keep its name: do not resolve


def shim_key(source: Path, rustc_version: str, target: str | None) -> str:
    """Name a build: sha256 of the source files, `rustc -vV`, the flags and the target."""
    digest = hashlib.sha256()
    for file in sorted(source.glob("src/**/*.rs")):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(source).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    digest.update("\0".join((rustc_version, *_FLAGS, target or "")).encode())
    return digest.hexdigest()[:32]


def _version(rustc: str, env: Mapping[str, str], cache: Path) -> str:
    """Return what `rustc -vV` prints, from the cache while nothing that decides it has changed."""
    found = Path(rustc).stat()
    settings = Path(env.get("RUSTUP_HOME") or Path(env.get("HOME") or "~") / ".rustup")
    identity = [
        rustc,
        found.st_mtime_ns,
        found.st_size,
        env.get("RUSTUP_TOOLCHAIN", ""),
        _mtime_ns(settings / "settings.toml"),  # `rustup default` writes it
        _mtime_ns(settings / "update-hashes"),  # `rustup update` writes below it
        os.getcwd(),
    ]
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(cache.read_text())
        if kept["identity"] == identity and isinstance(kept["version"], str):
            return kept["version"]
    version = _probe(rustc, env)
    _write_atomically(cache, json.dumps({"identity": identity, "version": version}))
    return version


def _host(version: str) -> str:
    lines = [line for line in version.splitlines() if line.startswith("host: ")]
    return lines[0].removeprefix("host: ").strip() if lines else ""


def _probe(rustc: str, env: Mapping[str, str]) -> str:
    try:
        result = run_command([rustc, "-vV"], deadline_s=PROBE_DEADLINE_S, env=env)
    except (OSError, DeadlineExceeded) as error:
        raise ShimUnavailable(f"`{rustc} -vV` does not answer: {error}") from None
    if result.exit_code != 0:
        raise ShimUnavailable(f"`{rustc} -vV` says: {_last_line(result.stderr)}")
    return result.stdout


def _mtime_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0  # not there: no rustup


def _write_atomically(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(name).replace(path)


@contextlib.contextmanager
def _locked(path: Path, ends_at: float) -> Iterator[None]:
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= ends_at:
                    raise ShimUnavailable(
                        "another process builds the native shim and does not finish"
                    ) from None
                time.sleep(LOCK_INTERVAL_S)
        yield


def _compile(
    rustc: str,
    env: Mapping[str, str],
    source: Path,
    target: str | None,
    place: Path,
    ends_at: float,
) -> None:
    making = Path(tempfile.mkdtemp(dir=place.parent, prefix=".making-"))
    try:
        command = [rustc, str(source / "src" / "main.rs"), "--crate-name", "forge_shim"]
        command += [*_FLAGS, "-o", str(making / "forge-shim")]
        command += ["--target", target] if target else []
        try:
            left_s = max(1.0, ends_at - time.monotonic())
            result = run_command(command, deadline_s=left_s, env=_without_gates(env))
        except DeadlineExceeded as error:
            raise ShimUnavailable(f"the native shim was not built: {error.message}") from None
        if result.exit_code != 0 or not (making / "forge-shim").is_file():
            raise ShimUnavailable(
                f"the native shim does not compile: {_first_error(result.stderr)}",
                hint=f"see what `{rustc} {source / 'src' / 'main.rs'}` says",
            )
        _lay_out(making)
        making.chmod(0o755)
        if place.exists():
            shutil.rmtree(place)  # incomplete: somebody tampered with it
        making.rename(place)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _without_gates(env: Mapping[str, str]) -> dict[str, str]:
    """Leave out what would tie this compile to a build that may be waiting for it."""
    ours = ("CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS", "RUSTFLAGS")
    return {name: value for name, value in env.items() if name not in ours}


def _lay_out(root: Path) -> None:
    (root / MARKER).touch()
    for place in LINKS:
        link = root / place
        link.parent.mkdir(exist_ok=True)
        (link.parent / MARKER).touch()
        link.symlink_to("../forge-shim")


def _is_complete(place: Path) -> bool:
    return all(os.access(place / name, os.X_OK) for name in ("forge-shim", *LINKS))


def _prune(builds: Path, *, keep: str) -> None:
    """Remove builds beyond the latest few, and what a killed compile left behind."""
    places = [place for place in builds.iterdir() if place.is_dir() and place.name != keep]
    leftovers = [place for place in places if place.name.startswith(".making-")]
    old = sorted(set(places) - set(leftovers), key=_mtime_ns, reverse=True)
    for place in [*leftovers, *old[KEPT_KEYS - 1 :]]:
        shutil.rmtree(place, ignore_errors=True)


def _first_error(stderr: str) -> str:
    errors = [line for line in stderr.splitlines() if line.startswith("error")]
    return errors[0] if errors else _last_line(stderr)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "nothing"
