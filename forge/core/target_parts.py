"""Of what a target dir consists: profiles and kinds of files, and whose rustc made them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Part:
    """The files of one kind at one place: `deps` of `x86_64-unknown-linux-musl/release`.

    `place` "" holds what is no profile's. The kind `final` is what cargo puts on top: programs and
    libraries. Bytes are allocated ones, hard links once.
    """

    place: str
    kind: str
    size_bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class Toolchain:
    """What one rustc has made at a place: `rustc` is cargo's number of it.

    `version` is None where it is not known.

    Incremental data and what has no unit's hash in its name belong to none.
    """

    place: str
    rustc: str
    size_bytes: int
    units: int
    used_at: float
    version: str | None = None


@dataclass(frozen=True, slots=True)
class TargetParts:
    """All parts, as of the last walk."""

    parts: tuple[Part, ...] = ()
    toolchains: tuple[Toolchain, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Return the sum of all."""
        return sum(part.size_bytes for part in self.parts)

    @property
    def files(self) -> int:
        """Return how many files and directories there are."""
        return sum(part.files for part in self.parts)

    def after(self, earlier: "TargetParts | None", kept: frozenset[str]) -> "TargetParts":
        """Add what an earlier walk has found at places that this one has passed over."""
        if earlier is None or not kept:
            return self
        return TargetParts(
            self.parts + tuple(one for one in earlier.parts if one.place in kept),
            self.toolchains + tuple(one for one in earlier.toolchains if one.place in kept),
        )

    def named(self, earlier: "TargetParts | None") -> "TargetParts":
        """Give each rustc the version that an earlier walk knew it by."""
        names = {one.rustc: one.version for one in earlier.toolchains} if earlier else {}
        toolchains = (
            replace(one, version=one.version or names.get(one.rustc)) for one in self.toolchains
        )
        return TargetParts(self.parts, tuple(toolchains))


def parts_report(parts: TargetParts) -> dict[str, Any]:
    """Write parts as JSON objects, the largest first."""
    return {
        "parts": [asdict(one) for one in sorted(parts.parts, key=lambda one: -one.size_bytes)],
        "toolchains": [asdict(one) for one in sorted(parts.toolchains, key=lambda o: -o.used_at)],
    }


def read_parts(report: Mapping[str, Any]) -> TargetParts:
    """Read what `parts_report` has written."""
    return TargetParts(
        tuple(Part(**one) for one in report["parts"]),
        tuple(Toolchain(**one) for one in report["toolchains"]),
    )
