"""How much of the models that a Linux process has mapped is in memory.

The page cache tells it without disturbing the process. Where it does not tell us, as of a file that
is not ours or that has vanished, the process's own pages are counted (smaps), for which the kernel
walks through all of them. Only what is mapped counts: a server that has copied layers to a GPU has
let go of them, and one that has read its weights into memory of its own has mapped none.
"""

import os
import re
from dataclasses import dataclass

from forge.core.inference_seen import MappedModel
from forge.host.page_cache import resident_bytes
from forge.host.small_files import read_text, reason_of

SUFFIX = ".gguf"
_DELETED = " (deleted)"
_HEX = "0123456789abcdef"
_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) \S{4} ([0-9a-f]+) \S+ \d+ +(/.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of a file that is mapped."""

    offset: int
    length: int


def mapped_models(
    place: str, maps: str, paths: tuple[str, ...]
) -> tuple[tuple[MappedModel, ...], list[str]]:
    """Return the models among what /proc/PID, at `place`, has mapped, and what is not known.

    A model is named in `paths`, or has a name that ends in .gguf.
    """
    models, missing = [], []
    for path, ranges in _ranges(maps, paths).items():
        size_bytes = sum(one.length for one in ranges)
        resident: int | None
        try:
            resident = _resident(place, path, ranges)
        except OSError as error:
            resident = None
            missing.append(f"{path}: {reason_of(error)}")
        models.append(MappedModel(path.removesuffix(_DELETED), size_bytes, resident))
    return tuple(models), missing


def _ranges(maps: str, paths: tuple[str, ...]) -> dict[str, list[Range]]:
    wanted = {os.path.normpath(path) for path in paths}
    found: dict[str, list[Range]] = {}
    for start, end, offset, written in _MAPPING.findall(maps):
        path = written.replace("\\012", "\n")
        name = path.removesuffix(_DELETED)
        if name in wanted or name.endswith(SUFFIX):
            length = int(end, 16) - int(start, 16)
            found.setdefault(path, []).append(Range(int(offset, 16), length))
    return found


def _resident(place: str, path: str, ranges: list[Range]) -> int:
    if not path.endswith(_DELETED):
        try:
            seen = f"{place}/root{path}"
            return sum(resident_bytes(seen, one.offset, one.length) for one in ranges)
        except OSError:
            pass  # not told, or not reachable: the process's own pages tell nearly the same
    return _own_pages(read_text(f"{place}/smaps"), path)


def _own_pages(smaps: str, path: str) -> int:
    is_ours, resident = False, 0
    for line in smaps.splitlines():
        if line[:1] in _HEX:  # the figures of a mapping follow, each with a capital letter
            match = _MAPPING.match(line)
            is_ours = match is not None and match[4] == path
        elif is_ours and line.startswith("Rss:"):
            resident += int(line.split()[1]) * 1024
    return resident
