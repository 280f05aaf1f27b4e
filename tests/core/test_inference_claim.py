"""What of available memory is a model's."""

import pytest

from forge.core.inference_claim import Claim, beside, is_below
from forge.core.memory import Limit, MacMemory, Reading, Swap
from tests.core.inference import GIB

OURS = Limit("/box", "memory.max", 16 * GIB, 10 * GIB, 6 * GIB)
READING = Reading(1.0, 64 * GIB, 20 * GIB, Swap(0, 0), limits=(OURS,))


@pytest.mark.parametrize(("claim", "machine_gib", "headroom_gib"), [
    (Claim(0, 0), 20, 12),
    (Claim(4 * GIB, 0, "/box/server"), 16, 8),  # its pages are part of what is droppable
    (Claim(4 * GIB, 0, "/box"), 16, 8),
    (Claim(3 * GIB, GIB, "/box/server"), 16, 8),  # one is missing, and has to come back
    (Claim(4 * GIB, 0, "/elsewhere"), 16, 12),
    (Claim(4 * GIB, 0, "/boxed"), 16, 12),
    (Claim(4 * GIB, 0), 16, 12),
    (Claim(99 * GIB, 0, "/box"), 0, 6),  # never below nothing
])  # fmt: skip
def test_what_a_model_claims_is_not_available(claim, machine_gib, headroom_gib):
    left = beside(READING, [claim])
    assert left.machine_available_bytes == machine_gib * GIB
    assert left.limits[0].headroom_bytes == headroom_gib * GIB
    assert (left.total_bytes, left.swap) == (READING.total_bytes, READING.swap)


def test_a_limit_of_the_root_is_above_everything():
    assert is_below("/a/b", "/") and not is_below(None, "/")


@pytest.mark.parametrize(("wired_gib", "machine_gib"), [
    (None, 16),
    (3, 16),  # the system's own
    (6, 18),  # 2 GiB of the model are wired
    (90, 20),
])  # fmt: skip
def test_what_a_gpu_has_wired_is_not_taken_twice(wired_gib, machine_gib):
    wired_bytes = None if wired_gib is None else wired_gib * GIB
    mac = MacMemory(None, None, wired_bytes, None, None, None)
    reading = Reading(1.0, 64 * GIB, 20 * GIB, Swap(0, 0), mac=mac)
    assert beside(reading, [Claim(4 * GIB, 0)]).machine_available_bytes == machine_gib * GIB
