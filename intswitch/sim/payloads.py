"""Integers made from a seed, and the exact sums to check results against.

Every worker's value of every element is a hash of the seed, the worker, the chunk and
the element, so that no vector is kept anywhere. The exact sum of a chunk is made of all
workers' values, without a switch, when its first result arrives.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.packetizer import Results
from switch.byteorder import swap16, swap32
from switch.compiled import kernel

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]
NO_CHUNK = -1


class SeedPlan(NamedTuple):
    """What all workers' payloads are made of."""

    seed: int
    num_workers: int
    width: int
    """Bytes of an element of a contribution."""
    result_width: int
    """Bytes of an element of a result."""
    shift: int
    """How far the hash's 32 bits are shifted down: the rest are a value's."""
    num_elements: int
    """Of the whole vector; the last chunk is padded with zeros."""
    elements_per_chunk: int
    values: NDArray[np.int32]
    """[elements_per_chunk] scratch."""
    sums: NDArray[np.int64]
    """[elements_per_chunk] scratch."""
    expected: Bytes
    """[chunks kept, bytes of a full result] as on the wire."""
    chunk_of: Integers
    """[chunks kept] which chunk each row of `expected` is of, or NO_CHUNK."""
    workers_in: Integers
    """[chunks kept] how many are in it."""
    present: NDArray[np.bool_]
    """[chunks, workers] who is in the result of each; no chunks: everybody. Written
    when the result goes out."""
    wrong: Integers
    """[2] results that were not the exact sum; results checked."""


def new_plan(
    seed: int,
    num_workers: int,
    width: int,
    result_width: int,
    num_elements: int,
    elements_per_chunk: int,
    num_slots: int,
    present: NDArray[np.bool_],
) -> SeedPlan:
    """Values as large as the sum of `num_workers` of them allows.

    Raises ValueError if that leaves less than one bit.
    """
    spare = (num_workers - 1).bit_length()
    bits = min(8 * width, 8 * result_width - spare)
    if bits < 1:
        raise ValueError(
            f"int{8 * result_width} sums of {num_workers} workers leave their values "
            "no bit: take a wider result type"
        )
    kept = 2 * num_slots
    return SeedPlan(
        seed, num_workers, width, result_width, 32 - bits, num_elements,
        elements_per_chunk, np.zeros(elements_per_chunk, np.int32),
        np.zeros(elements_per_chunk, np.int64),
        np.zeros((kept, elements_per_chunk * result_width), np.uint8),
        np.full(kept, NO_CHUNK), np.zeros(kept, np.int64), present,
        np.zeros(2, np.int64),
    )  # fmt: skip


@kernel
def mixed(x: Any) -> Any:
    """A 32-bit finalizer (Wang's and Ellis's search: lowbias32)."""
    x = np.uint32(x ^ np.uint32(x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ np.uint32(x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ np.uint32(x >> np.uint32(16)))


@kernel
def draw(plan: SeedPlan, worker: int, chunk: int, values: NDArray[np.int32]) -> None:
    """A worker's values of one chunk."""
    key = mixed(np.uint32(plan.seed) ^ mixed(np.uint32(worker + 1)))
    key = mixed(key ^ np.uint32(chunk))
    left = plan.num_elements - chunk * plan.elements_per_chunk
    count = min(values.size, left)
    shift = np.int32(plan.shift)
    for i in range(count):
        values[i] = np.int32(mixed(np.uint32(key + np.uint32(i)))) >> shift
    values[count:] = 0


@kernel
def write(payload: Bytes, values: Any, width: int) -> None:
    """Integers that fit so many bytes, big-endian."""
    if width == 1:
        for i in range(values.size):
            payload[i] = np.uint8(values[i])
    elif width == 2:
        halves = payload.view(np.int16)
        for i in range(values.size):
            halves[i] = swap16(values[i])
    else:
        words = payload.view(np.int32)
        for i in range(values.size):
            words[i] = swap32(values[i])


@kernel
def make(plan: SeedPlan, worker: int, chunk: int, payload: Bytes) -> None:
    """The payload of a worker's contribution."""
    draw(plan, worker, chunk, plan.values)
    write(payload, plan.values, plan.width)


@kernel
def expect(plan: SeedPlan, chunk: int) -> int:
    """The row of `expected` with the exact sum of those who are in a chunk."""
    row = chunk % plan.chunk_of.size
    if plan.chunk_of[row] != chunk:
        plan.chunk_of[row] = chunk
        plan.workers_in[row] = 0
        plan.sums[:] = 0
        for worker in range(plan.num_workers):
            if plan.present.shape[0] > 0 and not plan.present[chunk, worker]:
                continue
            plan.workers_in[row] += 1
            draw(plan, worker, chunk, plan.values)
            for i in range(plan.sums.size):
                plan.sums[i] += plan.values[i]
        write(plan.expected[row], plan.sums, plan.result_width)
    return int(row)


@kernel
def drain(plan: SeedPlan, worker: int, chunks: Integers, results: Results) -> None:
    """Check results against the exact sums, to the last bit."""
    for i in range(chunks.size):
        row = expect(plan, chunks[i])
        expected = plan.expected[row]
        start = results.payload_at[i]
        payload = results.buffer[start : start + expected.size]
        differs = np.uint8(0)
        for at in range(expected.size):
            differs |= expected[at] ^ payload[at]
        whole = results.element_count[i] == plan.elements_per_chunk
        right_count = results.num_workers[i] == plan.workers_in[row]
        plan.wrong[0] += 0 if differs == 0 and whole and right_count else 1
        plan.wrong[1] += 1
