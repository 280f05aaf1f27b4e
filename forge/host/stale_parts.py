"""What in a target dir is of little use: old sessions, other toolchains' units, stale duplicates.

Cargo's `.fingerprint` tells of each unit what it was compiled from and by which rustc. When a unit
was used last is known from its fingerprint's times: cargo reads it in each build, and a disk that
is mounted as usual notes a read once a day (`relatime`). So a unit counts as left behind when
others of its profile were used more than a day after it, and it has a twin that was compiled later,
or was compiled by another rustc than what came last. Whoever is wrong about one compiles it again.

Of incremental data rustc keeps a session for each compilation and deletes the old ones when it
compiles that crate again; what it left half written it never uses.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from forge.host.disk_usage import measure_tree

LEFT_BEHIND_S = 25 * 3600.0
"""A day, in which a second read is not noted, and a little."""

MAX_JSON_BYTES = 1 << 20
FINGERPRINTS = ".fingerprint"


@dataclass(frozen=True, slots=True)
class StalePart:
    """Paths below a target dir that can go together, their bytes, and why they may."""

    paths: tuple[str, ...]
    size_bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class _Unit:
    """A unit in `.fingerprint`. `twin` is equal for units that differ in how they were compiled."""

    name: str
    rustc: int
    twin: tuple[object, ...]
    compiled_at: float
    used_at: float


def stale_parts(target_dir: str) -> list[StalePart]:
    """Return what could go of a target dir that nobody builds in now."""
    found: list[StalePart] = []
    for profile in _profiles(target_dir):
        place = os.path.join(target_dir, profile)
        for why, units in _left_behind(list(_units(place))).items():
            found += _part(target_dir, _files_of(place, profile, units), why)
        found += _part(
            target_dir, _old_sessions(place, profile), "incremental data of old sessions"
        )
    return found


def _part(target_dir: str, paths: Iterable[str], why: str) -> list[StalePart]:
    there = tuple(sorted(paths))
    sizes = [measure_tree(os.path.join(target_dir, path)) for path in there]
    size_bytes = sum(size.size_bytes for size in sizes if size)
    return [StalePart(there, size_bytes, why)] if size_bytes else []


def _profiles(target_dir: str) -> Iterator[str]:
    for one in _directories(target_dir):
        if os.path.isdir(os.path.join(target_dir, one, FINGERPRINTS)):
            yield one
        for below in _directories(os.path.join(target_dir, one)):
            if os.path.isdir(os.path.join(target_dir, one, below, FINGERPRINTS)):
                yield f"{one}/{below}"


def _units(profile: str) -> Iterator[_Unit]:
    place = os.path.join(profile, FINGERPRINTS)
    for name in _directories(place):
        unit = _unit(os.path.join(place, name), name)
        if unit:
            yield unit


def _unit(place: str, name: str) -> _Unit | None:
    """Read one fingerprint; None when it is none that we understand."""
    twins: list[tuple[object, ...]] = []
    rustc, compiled_at, used_at = 0, 0.0, 0.0
    try:
        with os.scandir(place) as entries:
            for entry in entries:
                seen = entry.stat(follow_symlinks=False)
                compiled_at = max(compiled_at, seen.st_mtime)
                if not entry.name.endswith(".json"):  # those we read ourselves
                    used_at = max(used_at, seen.st_atime, seen.st_mtime)
                    continue
                text = _read(entry.path)
                rustc = int(str(text["rustc"]))
                what = ("target", "profile", "path", "features", "compile_kind")
                twins.append((entry.name, *(text[key] for key in what)))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not twins:
        return None
    crate = name.rpartition("-")[0]
    return _Unit(name, rustc, (crate, *sorted(map(repr, twins))), compiled_at, used_at)


def _read(path: str) -> dict[str, object]:
    with open(path, "rb", opener=_open_plainly) as file:
        text = json.loads(file.read(MAX_JSON_BYTES))
    if not isinstance(text, dict):
        raise ValueError(f"{path} is no object")
    return text


def _left_behind(units: list[_Unit]) -> dict[str, set[str]]:
    """Return the names of units that were left behind, by why."""
    if not units:
        return {}
    last_used_at = max(one.used_at for one in units)
    rustc = max(units, key=lambda one: one.compiled_at).rustc
    newest: dict[tuple[object, ...], float] = {}
    for one in units:
        newest[one.twin] = max(one.compiled_at, newest.get(one.twin, 0.0))
    found: dict[str, set[str]] = {}
    for one in units:
        if last_used_at - one.used_at <= LEFT_BEHIND_S:
            continue
        if one.rustc != rustc:
            found.setdefault("compiled by another toolchain", set()).add(one.name)
        elif one.compiled_at < newest[one.twin]:
            found.setdefault("compiled again since, in another way", set()).add(one.name)
    return found


def _files_of(place: str, profile: str, units: set[str]) -> Iterator[str]:
    """Yield what belongs to units: the fingerprint first, without which nothing is fresh."""
    hashes = {name.rpartition("-")[2]: name.rpartition("-")[0] for name in units}
    for name in units:
        yield f"{profile}/{FINGERPRINTS}/{name}"
    for directory in ("deps", "build", "examples"):
        for name in _names(os.path.join(place, directory)):
            stem, _, rest = name.rpartition("-")
            crate = hashes.get(rest.partition(".")[0])
            if crate is not None and stem.removeprefix("lib") in (crate, crate.replace("-", "_")):
                yield f"{profile}/{directory}/{name}"


def _old_sessions(place: str, profile: str) -> Iterator[str]:
    incremental = os.path.join(place, "incremental")
    for crate in _directories(incremental):
        names = [one for one in _directories(os.path.join(incremental, crate)) if one[:2] == "s-"]
        whole = [one for one in names if not one.endswith("-working")]
        last = max(whole, key=_session, default=None)
        for name in names:
            if name != last:
                yield f"{profile}/incremental/{crate}/{name}"
                lock = f"{name.rpartition('-')[0]}.lock"
                if os.path.lexists(os.path.join(incremental, crate, lock)):
                    yield f"{profile}/incremental/{crate}/{lock}"


def _session(name: str) -> tuple[int, str]:
    """Return what sorts sessions: their second part is a time, in base 36."""
    stamp = name.split("-")[1]
    return len(stamp), stamp


def _directories(place: str) -> list[str]:
    try:
        with os.scandir(place) as entries:
            return [one.name for one in entries if one.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _names(place: str) -> list[str]:
    try:
        return os.listdir(place)
    except OSError:
        return []


def _open_plainly(path: str, _flags: int) -> int:
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
