"""Whatever servers answer, in whatever order, nothing is promised twice and builds get on."""

from hypothesis import given, settings
from hypothesis import strategies as st

from forge.core import events
from forge.core.inference_need import Need
from forge.core.inference_seen import Answer, MappedModel, Served, ServerProcess, ServerSeen, Slot
from forge.core.memory import Reading, Swap
from tests.core.inference import GIB, URL, Beside
from tests.core.test_memory_gate import link, unit, went

BYTES = st.one_of(st.none(), st.integers(0, 1 << 45))
COUNT = st.one_of(st.none(), st.integers(0, 1 << 40))
SLOT = st.builds(
    Slot, st.integers(0, 5), st.integers(0, 1 << 20), st.booleans(), tokens=COUNT, decoded=COUNT
)
SERVED = st.builds(
    Served, st.sampled_from(Answer), slots=st.one_of(st.none(), st.tuples(SLOT, SLOT)),
    busy_slots=COUNT, deferred=COUNT, predicted_tokens_total=COUNT, context_tokens=COUNT,
    model_path=st.sampled_from([None, "/a", "/b"]),
)  # fmt: skip
MODEL = st.builds(MappedModel, st.sampled_from(["/a", "/b"]), st.integers(0, 1 << 40), BYTES)
PROCESS = st.builds(
    ServerProcess, st.integers(1, 3), st.sampled_from([1.0, 2.0]), resident_bytes=BYTES,
    anonymous_bytes=BYTES, locked_bytes=BYTES, swapped_bytes=BYTES, read_bytes=BYTES,
    refaults=COUNT, is_deep=st.booleans(), models=st.lists(MODEL, max_size=2).map(tuple),
)  # fmt: skip
NEED = st.builds(Need, *(st.integers(0, 1 << 40) for _ in range(6)))
SEEN = st.builds(
    ServerSeen, st.sampled_from(["main", "small", "stranger"]), st.just(URL), st.just(0.0), SERVED,
    process=st.one_of(st.none(), PROCESS), need=st.one_of(st.none(), NEED),
)  # fmt: skip
AFTER_S = st.sampled_from([0.0, 0.25, 1.0, 130.0, 700.0])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(AFTER_S, SEEN), max_size=12), st.integers(1, 9))
def test_cores_and_bytes_are_never_overdrawn_and_one_unit_always_starts(looks, cores):
    driver = Beside(cores=cores, names=("main", "small"))
    build = driver.run(1)
    for after_s, one in looks:
        driver.look(one, after_s=after_s)
        server = driver.state.inference.servers.get(one.name)
        if server and server.need:
            assert server.promised_bytes <= server.need.total_bytes
    unit(driver, 10, build, "a")
    assert went(driver, 10)
    driver.post(events.MemoryMeasured(Reading(driver.now_s, 24 * GIB, 20 * GIB, Swap(0, 0)), {}))
    room_bytes = driver.state.gates.memory.reservations.available_bytes
    assert room_bytes is not None and room_bytes <= 20 * GIB


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(AFTER_S, SEEN), max_size=12))
def test_when_all_servers_have_gone_builds_have_everything_again(looks):
    driver = Beside(cores=4, names=("main", "small"))
    build = driver.run(1)
    for after_s, one in looks:
        driver.look(one, after_s=after_s)
    gone = [ServerSeen(name, URL, 0.0, Served(Answer.NONE)) for name in ("main", "small")]
    driver.look(*gone)
    inference = driver.state.inference
    assert (inference.kept_cores, inference.promised_bytes, inference.claims()) == (0, 0, [])
    link(driver, 10, build, 10)
    assert went(driver, 10)
