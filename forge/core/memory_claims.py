"""How much memory a link, a heavy unit or a test is taken to need, and in whose words.

What it needed before counts, with a margin; for a link that was never seen, the bytes of its
inputs. Measured (docs/design/reservations.md): rust-lld and mold peak near 23 MiB + 1.8 x inputs,
GNU ld at 1.45 x. A unit that was never seen to be heavy books nothing: most need less than 512 MiB,
and those are what the room beside the buffer is for.
"""

import os
import re
from dataclasses import dataclass

from forge.core import messages
from forge.core.learned import Estimate, Learned
from forge.core.units import MIB

LEARNED_MARGIN = 1.15
LEAST_MARGIN_BYTES = 12 * MIB
"""Of a small link the margin is more than that: threads and buffers differ by so much each time."""

LINK_BASE_BYTES = 30 * MIB
LINK_FACTORS = {"ld": 1.5, "lld": 2.0, "mold": 2.0}
UNKNOWN_LINK_FACTOR = 2.0
HEAVY_BYTES = 512 * MIB
"""A unit or a test is made to reserve from here on."""

BUILD_SCRIPT = "build_script_"
_LIBRARY = re.compile(r"\.(so|dylib|dll)$")
_HASH = re.compile(r"-[0-9a-f]{16}(?=\.|$)")


@dataclass(frozen=True, slots=True)
class Claim:
    """Bytes to be booked, 0 for none, and whether an earlier run says so."""

    want_bytes: int
    is_learned: bool


def claim_of_link(message: messages.Link, known: Estimate | None) -> Claim:
    """Return what a linker is to book."""
    if known is not None and known.peak_kib:
        return _learned(known)
    factor = LINK_FACTORS.get(message.linker_kind, UNKNOWN_LINK_FACTOR)
    return Claim(LINK_BASE_BYTES + int(factor * max(0, message.input_bytes)), is_learned=False)


def claim_of_heavy(known: Estimate | None) -> Claim:
    """Return what a unit or a test is to book: nothing, unless it is known to be heavy."""
    if known is None or known.peak_kib * 1024 < HEAVY_BYTES:
        return Claim(0, is_learned=known is not None)
    return _learned(known)


def claim_of_command(memory_mib: int) -> Claim:
    """Return what a command is to book: what people say that it needs."""
    return Claim(memory_mib * MIB, is_learned=False)


def key_of_link(message: messages.Link, profile: str, *, is_test: bool) -> str:
    """Name a link, the same in each build: artifact, profile, target and linker.

    A binary and its unit tests have one name, and need not be alike: `is_test` tells them apart.
    """
    directory, output = os.path.split(message.output or "")
    name = _HASH.sub("", output) or message.crate or "?"
    if name.startswith(BUILD_SCRIPT):  # all have one name; the directory tells them apart
        name = f"{_HASH.sub('', os.path.basename(directory))}/{name}"
    kind = " test" if is_test else ""
    return f"link {name} {profile} {message.target or ''} {message.linker_kind}{kind}"


def known_of_link(
    message: messages.Link, learned: Learned, root: str | None, key: str
) -> Estimate | None:
    """Return what a link has needed before.

    Other workspaces know of the same build scripts and libraries, and of other programs that happen
    to have the same name: every other project has a test named `integration`.
    """
    output = message.output or ""
    is_program = BUILD_SCRIPT not in output and not _LIBRARY.search(output)
    return learned.estimate_here(root, key) if is_program else learned.estimate(root, key)


def _learned(known: Estimate) -> Claim:
    peak_bytes = known.peak_kib * 1024
    margin_bytes = max(LEAST_MARGIN_BYTES, int(peak_bytes * LEARNED_MARGIN) - peak_bytes)
    return Claim(peak_bytes + margin_bytes, is_learned=True)
