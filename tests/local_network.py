"""Workers as threads of one process, and a network between them without packets.

An aggregation runs as the real one may: slots in random order, several at a time, a
chunk only after the chunk one window before it, some contributions filled twice (they
must be the same bytes), every row prefilled with rubbish.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from host.codes import CodeStream
from host.packetizer import Bytes, Contributions, Results, Stream
from switch.codes import Table
from switch.protocol import (
    ELEMENT_BITS,
    ELEMENT_BYTES,
    EVERY_WORKER,
    HEADER_BYTES,
    NO_EXPONENT,
    ElementType,
    Flag,
    Reduction,
    kind_of,
)

RUBBISH = 0xA5
REFILLED = 0.3  # share of batches that are filled a second time
TIMEOUT = 60  # seconds at a barrier: a worker that died leaves the others there


class Fabric:
    """What the workers share: the barrier, the streams, the sums."""

    def __init__(
        self,
        num_workers: int,
        num_slots: int,
        slot_bytes: int,
        code4: Table | None = None,
        code8: Table | None = None,
    ) -> None:
        self.tables = {ElementType.CODE4: code4, ElementType.CODE8: code8}
        self.num_workers = num_workers
        self.num_slots = num_slots
        self.slot_bytes = slot_bytes
        self.barrier = threading.Barrier(num_workers)
        self.offers: list[Any] = [None] * num_workers
        self.random = np.random.default_rng(0)
        self.aggregations = 0
        self.error: Exception | None = None

    def aggregate(self, streams: list[Stream]) -> None:
        """All chunks of one aggregation, in an order that the window allows."""
        self.aggregations += 1
        kinds = {(stream.kind, stream.num_chunks) for stream in streams}
        assert len(kinds) == 1, f"workers disagree: {kinds}"
        done = np.zeros(streams[0].num_chunks, bool)
        while not done.all():
            slots = np.arange(min(self.num_slots, len(done)))
            heads = np.array([self.first_open(done, slot) for slot in slots])
            ready = self.random.permutation(heads[heads >= 0])
            chunks = ready[: self.random.integers(1, len(ready) + 1)]
            self.reduce(streams, chunks.astype(np.int64))
            done[chunks] = True

    def first_open(self, done: NDArray[np.bool_], slot: int) -> int:
        """The chunk whose turn it is in a slot; -1: none."""
        left = np.flatnonzero(~done[slot :: self.num_slots])
        return slot + int(left[0]) * self.num_slots if len(left) else -1

    def reduce(self, streams: list[Stream], chunks: NDArray[np.int64]) -> None:
        """What a switch does with one batch of chunks."""
        contributions = [self.contribution(stream, chunks) for stream in streams]
        results = [
            self.result(streams[0].kind, contributions, i) for i in range(len(chunks))
        ]
        counts = np.array([count for count, _, _, _ in results])
        width = max(len(payload) for _, payload, _, _ in results) + 3
        buffer = np.full((len(chunks), width), RUBBISH, np.uint8)
        for row, (_, payload, _, _) in zip(buffer, results, strict=True):
            row[3 : 3 + len(payload)] = payload
        recipients = contributions[0].recipient
        for each in contributions:
            np.testing.assert_array_equal(each.recipient, recipients)
        for rank, stream in enumerate(streams):
            order = self.random.permutation(len(chunks))
            gets = (recipients == EVERY_WORKER) | (recipients == rank)
            stream.drain(
                chunks[order],
                Results(
                    buffer.reshape(-1),
                    (np.arange(len(chunks)) * width + 3)[order],
                    np.where(gets, counts, 0)[order],
                    np.full(len(chunks), self.num_workers),
                    np.array([exponent for _, _, exponent, _ in results])[order],
                    np.array([flags for _, _, _, flags in results])[order],
                ),
            )

    def contribution(self, stream: Stream, chunks: NDArray[np.int64]) -> Contributions:
        """Filled once, or twice and compared."""
        first = self.fill(stream, chunks)
        if self.random.random() < REFILLED:
            again = self.fill(stream, chunks)
            for field, one, two in zip(first._fields, first, again, strict=True):
                np.testing.assert_array_equal(one, two, err_msg=f"refill: {field}")
        return first

    def fill(self, stream: Stream, chunks: NDArray[np.int64]) -> Contributions:
        rows = len(chunks)
        element_type = ElementType(stream.kind >> 3 & 7)
        width = stream.elements_per_chunk * ELEMENT_BITS[element_type] // 8
        contributions = Contributions(
            np.full((rows, HEADER_BYTES + width), RUBBISH, np.uint8),
            np.full(rows, stream.elements_per_chunk),
            np.full(rows, EVERY_WORKER),
            np.full(rows, NO_EXPONENT),
            np.zeros(rows, np.int64),
        )
        stream.fill(chunks, contributions)
        return contributions

    def result(
        self, kind: int, contributions: list[Contributions], row: int
    ) -> tuple[int, Bytes, int, int]:
        """(element_count, payload, exponent, flags) of one slot."""
        exponent = max(int(each.exponent[row]) for each in contributions)
        flags = int(np.bitwise_or.reduce([each.flags[row] for each in contributions]))
        full = [each for each in contributions if each.element_count[row]]
        if not full:
            return 0, np.zeros(0, np.uint8), exponent, flags
        count = int(full[0].element_count[row])
        values = [
            self.integers(each.payload[row], count, ElementType(kind >> 3 & 7))
            for each in full
        ]
        reduced, overflow = reduce_lanes(
            Reduction(kind >> 6), np.array(values), kind & 7
        )
        return count, reduced, exponent, flags | (Flag.OVERFLOW if overflow else 0)

    def integers(
        self, payload: Bytes, count: int, element_type: ElementType
    ) -> NDArray[np.int64]:
        """What `count` elements of a payload are, or stand for."""
        payload = payload[: count * ELEMENT_BITS[element_type] // 8]
        if element_type == ElementType.CODE4:
            assert count % 2 == 0, "half a byte is left over"
            payload = np.stack([payload >> 4, payload & 15], axis=1).reshape(-1)
        if element_type in self.tables:
            table = self.tables[element_type]
            assert table is not None, f"the job has no table for {element_type.name}"
            return np.array(table, np.int64)[payload]
        return payload.copy().view(f">i{ELEMENT_BYTES[element_type]}").astype(np.int64)


def reduce_lanes(
    reduction: Reduction, values: NDArray[np.int64], result_type: int
) -> tuple[Bytes, bool]:
    """One payload, big-endian, and whether it has wrapped."""
    size = ELEMENT_BYTES[result_type]
    operation = {
        Reduction.SUM: np.add,
        Reduction.MAX: np.maximum,
        Reduction.OR: np.bitwise_or,
    }[reduction]
    exact = operation.reduce(values, axis=0)
    wrapped = exact.astype(f"i{size}")
    return wrapped.astype(f">i{size}").view(np.uint8), bool((wrapped != exact).any())


class OneArray(Stream):
    """`LocalNetwork.max` and `.sum`: an array of integers, element by element."""

    def __init__(self, array: NDArray[Any], reduction: Reduction, width: int) -> None:
        self.size = array.dtype.itemsize
        lane = ElementType(ELEMENT_BYTES.index(self.size))
        self.kind = kind_of(reduction, lane, lane)
        self.elements_per_chunk = width // self.size
        self.num_chunks = -(-len(array) // self.elements_per_chunk)
        padded = np.zeros(self.num_chunks * self.elements_per_chunk, array.dtype)
        padded[: len(array)] = array
        wire = padded.astype(f">i{self.size}").view(np.uint8)
        self.rows = wire.reshape(self.num_chunks, -1)
        self.out = np.zeros_like(self.rows)

    def fill(self, chunks: NDArray[np.int64], contributions: Contributions) -> None:
        contributions.payload[:] = self.rows[chunks]

    def drain(self, chunks: NDArray[np.int64], results: Results) -> None:
        for chunk, at in zip(chunks, results.payload_at, strict=True):
            self.out[chunk] = results.buffer[at : at + self.out.shape[1]]


class LocalNetwork:
    """One worker's end of a fabric; see `host.compressors.base.Network`."""

    def __init__(self, fabric: Fabric, rank: int) -> None:
        self.fabric = fabric
        self.rank = rank
        self.num_workers = fabric.num_workers
        self.num_slots = fabric.num_slots
        self.slot_bytes = fabric.slot_bytes
        self.code4 = fabric.tables[ElementType.CODE4]
        self.code8 = fabric.tables[ElementType.CODE8]

    def aggregate(self, stream: Stream) -> None:
        fabric = self.fabric
        fabric.offers[self.rank] = stream
        fabric.barrier.wait(TIMEOUT)
        if self.rank == 0:
            try:
                fabric.aggregate(fabric.offers)
            except Exception as error:  # handed to every worker below
                fabric.error = error
        fabric.barrier.wait(TIMEOUT)
        if fabric.error is not None:
            raise fabric.error

    def sum(self, array: NDArray[Any], result_type: str | None = None) -> NDArray[Any]:
        return self.whole(array, Reduction.SUM)

    def max(self, array: NDArray[Any]) -> NDArray[Any]:
        return self.whole(array, Reduction.MAX)

    def union(self, bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return self.whole(bits.view(np.int8), Reduction.OR).view(np.uint8)

    def gather(self, message: bytes) -> list[bytes]:
        """Without packets: messages of different lengths make no stream of one kind."""
        self.fabric.offers[self.rank] = message
        self.fabric.barrier.wait(TIMEOUT)
        messages = list(self.fabric.offers)
        self.fabric.barrier.wait(TIMEOUT)
        return messages

    def sum_codes(
        self, codes: NDArray[np.uint8], code: str, result_type: str = "int16"
    ) -> NDArray[Any]:
        out = np.zeros(codes.shape, result_type)
        element_type = ElementType[code.upper()]
        self.aggregate(CodeStream(codes, out, element_type, self.slot_bytes))
        return out

    def whole(self, array: NDArray[Any], reduction: Reduction) -> NDArray[Any]:
        stream = OneArray(array, reduction, self.slot_bytes)
        self.aggregate(stream)
        sums = stream.out.reshape(-1).view(f">i{stream.size}")[: len(array)]
        return sums.astype(array.dtype)


def run_workers(
    num_workers: int,
    function: Callable[[LocalNetwork], Any],
    *,
    num_slots: int = 4,
    slot_bytes: int = 64,
    code4: Table | None = None,
    code8: Table | None = None,
) -> list[Any]:
    """What `function(network)` returns or raises (the exception itself) on each of so
    many workers. An AssertionError, and anything that broke the fabric, is raised."""
    fabric = Fabric(num_workers, num_slots, slot_bytes, code4, code8)
    outcomes: list[Any] = [None] * num_workers

    def work(rank: int) -> None:
        try:
            outcomes[rank] = function(LocalNetwork(fabric, rank))
        except Exception as error:
            outcomes[rank] = error
            if isinstance(error, AssertionError):
                fabric.barrier.abort()

    threads = [threading.Thread(target=work, args=(r,)) for r in range(num_workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if fabric.error is not None:
        raise fabric.error
    for outcome in outcomes:
        if isinstance(outcome, AssertionError):
            raise outcome
    return outcomes


def results_of(outcomes: list[Any]) -> list[Any]:
    """The outcomes, none of which may be an exception."""
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    return outcomes
