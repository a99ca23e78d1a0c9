"""The window against the real pipeline, over links that do their worst."""

from typing import Any

import numpy as np
import pytest
from world import Link, World

from host import window as win
from host.datagrams import contributions, row_of, take_in
from host.losses import RESENDS
from host.packetizer import ArrayStream, Barrier
from switch.protocol import ElementType, Flag, Opcode, Reduction, emit, kind_of

SUM = kind_of(Reduction.SUM, ElementType.INT32, ElementType.INT32)


def sums(world: World, arrays: list[np.ndarray], **options: object) -> list[np.ndarray]:
    """One sum over the world: the result of every worker."""
    outs = [np.zeros_like(array) for array in arrays]
    streams = [
        ArrayStream(array, out, Reduction.SUM, world.slot_bytes)
        for array, out in zip(arrays, outs, strict=True)
    ]
    world.aggregate(streams, **options)
    return outs


def arrays_for(world: World, size: int, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [
        random.integers(-1000, 1000, size).astype(np.int32)
        for _ in range(world.num_workers)
    ]


LINKS = {
    "perfect": Link(),
    "lossy": Link(loss=0.05),
    "very lossy": Link(loss=0.4),
    "repeating": Link(repeat=0.5, jitter=2e-3),
    "reordering": Link(jitter=20e-3),
    "everything": Link(loss=0.1, repeat=0.3, jitter=50e-3),
}


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_sums_are_exact(name: str, num_workers: int) -> None:
    world = World(num_workers, num_slots=4, link=LINKS[name], seed=num_workers)
    for size, seed in ((1, 0), (16, 1), (1000, 2), (17, 3)):
        arrays = arrays_for(world, size, seed)
        for out in sums(world, arrays):
            np.testing.assert_array_equal(out, sum(arrays))
    counters = world.pipeline.counters()
    chunks = int(world.workers[0].state.window["first"][0]) + 2
    assert counters["results"] == chunks == 1 + 1 + 63 + 2
    assert counters["accepted"] == chunks * num_workers


def test_back_to_back_kinds_share_the_sequences() -> None:
    world = World(2, num_slots=2, link=LINKS["everything"], seed=5)
    for dtype, reduction in (
        (np.int8, Reduction.MAX),
        (np.int32, Reduction.SUM),
        (np.int16, Reduction.OR),
    ):
        a = np.arange(300).astype(dtype) % 50
        b = a[::-1].copy()
        outs = [np.zeros_like(a), np.zeros_like(a)]
        world.aggregate(
            [
                ArrayStream(x, out, reduction, 64)
                for x, out in zip((a, b), outs, strict=True)
            ]
        )
        expected = {0: a + b, 1: np.maximum(a, b), 2: a | b}[reduction]
        np.testing.assert_array_equal(outs[0], expected)
        np.testing.assert_array_equal(outs[1], expected)
        world.aggregate([Barrier(), Barrier()])


def test_sequences_wrap_around() -> None:
    world = World(2, num_slots=4, link=LINKS["lossy"])
    start = (1 << 32) - 3
    for worker in world.workers:
        worker.state.window["first"][0] = start
    # what a switch would hold after 2^32 - 3 chunks of this job
    slots = world.pipeline.state.registers.slots
    for sequence in range(start - 8, start):
        slot = slots[sequence % 8]
        slot.sequence, slot.received, slot.bitmap, slot.final = sequence, 2, 3, 2
    arrays = arrays_for(world, 500)
    for out in sums(world, arrays):
        np.testing.assert_array_equal(out, sum(arrays))


def test_a_small_limit_keeps_the_mapping_and_bounds_the_flight() -> None:
    world = World(2, num_slots=8, limit=1, link=LINKS["lossy"])
    arrays = arrays_for(world, 400)
    for out in sums(world, arrays):
        np.testing.assert_array_equal(out, sum(arrays))
    assert max(int(w.state.window["in_flight"][0]) for w in world.workers) == 0


@pytest.mark.parametrize("seed", range(6))
def test_a_small_limit_and_losses_never_deadlock(seed: int) -> None:
    """Workers whose results came in another order must not wait for each other."""
    world = World(2, num_slots=4, limit=2, link=Link(loss=0.05), seed=seed)
    arrays = arrays_for(world, 16 * 150, seed)
    for out in sums(world, arrays, until=200.0):
        np.testing.assert_array_equal(out, sum(arrays))


def test_an_aborted_aggregation_leaves_nothing_behind() -> None:
    world = World(2, num_slots=4)
    sums(world, arrays_for(world, 300), starts=[0.0, 1e9], until=3.0)
    for worker in world.workers:
        win.begin(worker.state, 0, 0, 0)
        assert not worker.state.slots["state"].any()
        assert not worker.state.slots["queued"].any()
        assert world.packets_due(worker) == []


def test_no_chunk_is_sent_before_the_result_of_its_slot() -> None:
    world = World(2, num_slots=4)
    stream = ArrayStream(
        np.ones(1000, np.int32), np.zeros(1000, np.int32), Reduction.SUM, 64
    )
    worker = world.workers[0]
    win.begin(worker.state, stream.num_chunks, stream.kind, stream.elements_per_chunk)
    worker.stream = stream
    assert len(world.packets_due(worker)) == 4
    assert world.packets_due(worker) == []


def test_a_straggler_costs_little_and_harms_nobody() -> None:
    world = World(3, num_slots=8)
    arrays = arrays_for(world, 2000)
    for out in sums(world, arrays, starts=[0.0, 0.0, 10.0]):
        np.testing.assert_array_equal(out, sum(arrays))
    for worker in world.workers[:2]:
        assert worker.repeated <= RESENDS  # only the oldest chunk is tried again
        assert 5 <= worker.queries <= 70  # then polled, a header each eighth timeout
    assert max(worker.finished_at for worker in world.workers) < 11.0


LEAF = win.Seat(0, 2, 2)
"""At a switch of two workers of four."""


def after(packet: bytes, seat: win.Seat = LEAF) -> tuple[Any, Any]:
    """A window, and the slot of its one chunk, four of whose timers have run out, when
    a packet has come."""
    state = win.new_state(
        num_slots=2, limit=2, job=7, worker=0, num_workers=4, seat=seat
    )
    values = np.ones(1, np.int32)
    stream = ArrayStream(values, np.zeros_like(values), Reduction.SUM, 4)
    win.begin(state, stream.num_chunks, stream.kind, stream.elements_per_chunk)
    contributions(state, stream, 0.0)
    state.slots[0].timeouts = state.slots[0].expired = 4
    take_in(state, stream, row_of(packet), 1.0)
    return state.window[0], state.slots[0]


def told(
    seat: win.Seat, workers: int, bitmap: int, flags: int = 0
) -> tuple[int, int, int]:
    """What a worker makes of a status of its chunk: how many of the timers still count,
    its slot's state, and who is missing."""
    packet = emit(
        opcode=Opcode.STATUS, job=7, worker=workers, sequence=0, element_count=8,
        flags=flags, payload=bitmap.to_bytes(8, "big"),
    )  # fmt: skip
    window, slot = after(packet, seat)
    return int(slot.expired), int(slot.state), int(window.missing)


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_a_result_is_partial_without_any_worker_of_the_job(workers: int) -> None:
    """However many there are at the same switch."""
    packet = emit(
        opcode=Opcode.RESULT, kind=SUM, job=7, worker=workers,
        sequence=0, element_count=1, payload=bytes(4),
    )  # fmt: skip
    window, _ = after(packet)
    assert (window.done, window.partial) == (1, int(workers < 4))


def test_what_a_status_says_of_losses() -> None:
    alone, leaf = win.Seat(0, 4, 4), LEAF
    # its contribution is lost: at once again, and the timer starts afresh
    assert told(alone, 2, 0b0110) == (0, win.AGAIN, 0b1001)
    assert told(leaf, 1, 0b10) == (0, win.AGAIN, 0b01)
    # it is there, and others are not
    assert told(alone, 2, 0b0101) == (4, win.SENT, 0b1010)
    # the result is lost
    assert told(alone, 4, 0b1111) == (0, win.AGAIN, 0)
    assert told(alone, 3, 0b0111, Flag.FINAL) == (0, win.AGAIN, 0b1000)
    # or what went up, or the leaf waits for other switches
    assert told(leaf, 2, 0b11) == (4, win.AGAIN, 0)


def test_a_status_without_a_bitmap_names_nobody() -> None:
    """A switch that was left behind has passed it on to all its children: also to who
    has come back, and has just sent that chunk."""
    assert told(LEAF, 1, 0)[2] == 0
    assert told(LEAF, 0, 0)[2] == 0b11  # it holds nothing


def test_a_query_names_the_missing_workers() -> None:
    world = World(3, num_slots=8)
    sums(world, arrays_for(world, 100), starts=[0.0, 0.0, 1e9], until=5.0)
    for worker in world.workers[:2]:
        assert int(worker.state.window["missing"][0]) == 0b100
        assert int(worker.state.window["silent"][0]) <= 1


def test_a_silent_switch_is_counted_not_waited_for() -> None:
    world = World(1, link=Link(loss=1.0))
    sums(world, arrays_for(world, 100), until=20.0)
    assert int(world.workers[0].state.window["silent"][0]) > 15


def test_a_silent_switch_is_asked_each_eighth_timeout() -> None:
    world = World(1, link=Link(loss=1.0))
    sums(world, arrays_for(world, 100), until=100.0)
    worker = world.workers[0]
    assert worker.repeated == RESENDS
    assert 120 <= worker.queries <= 130


def test_loss_is_repaired_by_evidence_without_stalling_the_window() -> None:
    """Lost chunks must not be repaired one timeout after the other."""
    world = World(2, num_slots=64, link=Link(loss=0.1))
    arrays = arrays_for(world, 64 * 16)
    sums(world, arrays)
    assert world.now < 3.0


@pytest.mark.parametrize("field", ["job", "kind", "element_count", "sequence"])
def test_a_result_of_something_else_is_ignored(field: str) -> None:
    world = World(2)
    worker = world.workers[0]
    out = np.zeros(16, np.int32)
    stream = ArrayStream(np.ones(16, np.int32), out, Reduction.SUM, 64)
    win.begin(worker.state, stream.num_chunks, stream.kind, stream.elements_per_chunk)
    worker.stream = stream
    world.send(worker)
    right = {
        "opcode": Opcode.RESULT,
        "job": 7,
        "worker": 2,
        "sequence": 0,
        "kind": stream.kind,
        "element_count": 16,
        "payload": bytes(64),
    }
    wrong = {
        "job": {"job": 8},
        "kind": {"kind": 0b00_000_010},
        "element_count": {"element_count": 8, "payload": bytes(32)},
        "sequence": {"sequence": 16},
    }[field]
    world.deliver(worker, emit(**{**right, **wrong}))
    assert not world.is_done(worker)
    assert int(worker.state.window["ignored"][0]) == 1
    world.deliver(worker, emit(**right))
    assert world.is_done(worker)
    world.deliver(worker, emit(**right))  # a late replay
    assert int(worker.state.window["ignored"][0]) == 2


def test_arbitrary_bytes_never_harm_a_worker() -> None:
    random = np.random.default_rng(0)
    world = World(1)
    worker = world.workers[0]
    out = np.zeros(64, np.int32)
    stream = ArrayStream(np.ones(64, np.int32), out, Reduction.SUM, 64)
    win.begin(worker.state, stream.num_chunks, stream.kind, stream.elements_per_chunk)
    worker.stream = stream
    for _ in range(500):
        world.deliver(worker, random.bytes(int(random.integers(0, 100))))
    while not world.is_done(worker):
        world.turn()
    np.testing.assert_array_equal(out, 1)
