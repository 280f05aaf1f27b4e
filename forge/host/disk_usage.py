"""How much a directory tree holds: allocated bytes, each hard link once, no link followed.

The walk itself is a program of its own, which steps back for everybody: forge.host.tree_walk. It
takes 4 s for a million files; where it cannot be started, we walk here.
"""

import json
import os
import sys
from dataclasses import dataclass
from typing import Any

from forge.core.target_parts import Part, TargetParts, Toolchain
from forge.errors import ForgeError
from forge.host import tree_walk
from forge.host.commands import run_command

WALK_DEADLINE_S = 600.0
NOT_THERE = 2


@dataclass(frozen=True, slots=True)
class TreeSize:
    """Allocated bytes and the number of files and directories."""

    size_bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class WalkedTree:
    """What a walk has found, and at which places it passed profiles over."""

    parts: TargetParts
    kept: frozenset[str] = frozenset()


def measure_tree(root: str) -> TreeSize | None:
    """Walk `root` without leaving its file system; None when it is not there.

    What vanishes while we walk (a build that runs) is passed over.
    """
    walked = walk_tree(root)
    return TreeSize(walked.parts.size_bytes, walked.parts.files) if walked else None


def walk_tree(root: str, profile_dir: str | None = None) -> WalkedTree | None:
    """Walk a target dir and tell its parts; None when it is not there.

    With `profile_dir`, profiles of other names are passed over.
    """
    argv = [sys.executable, "-I", "-S", "-E", tree_walk.__file__, root]
    try:
        done = run_command([*argv, *([profile_dir] if profile_dir else [])],
                           deadline_s=WALK_DEADLINE_S)  # fmt: skip
    except (OSError, ForgeError):
        return _walk_here(root)
    if done.exit_code == NOT_THERE:
        return None
    if done.exit_code:
        return _walk_here(root)
    return _read(json.loads(done.stdout))


def _walk_here(root: str) -> WalkedTree | None:
    try:
        walk = tree_walk.Walk(os.fsencode(root))
    except OSError:
        return None
    walk.run()
    parts = (
        Part(os.fsdecode(place), os.fsdecode(kind), *sums)
        for (place, kind), sums in walk.parts.items()
    )
    return WalkedTree(TargetParts(tuple(parts)))


def _read(answer: dict[str, Any]) -> WalkedTree:
    newest = max(answer["toolchains"], key=lambda one: one[4], default=["", None])[1]
    parts = TargetParts(
        tuple(Part(*one) for one in answer["parts"]),
        tuple(
            Toolchain(
                place,
                rustc,
                size_bytes,
                units,
                used_at,
                answer["rustc"] if rustc == newest else None,
            )
            for place, rustc, size_bytes, units, used_at in answer["toolchains"]
        ),
    )
    return WalkedTree(parts, frozenset(answer["kept"]))
