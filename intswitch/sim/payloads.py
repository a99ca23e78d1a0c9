"""Integers made from a seed, and the exact sums to check results against.

Every worker's value of every element is a hash of the seed, the worker, the chunk and
the element, so that no vector is kept anywhere. The exact sum of a chunk is made of all
its job's workers' values, without a switch, when its first result arrives.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.packetizer import Results
from switch.byteorder import swap16, swap32
from switch.compiled import kernel, plain
from switch.protocol import ELEMENT_BYTES, ElementType

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]
NO_CHUNK = -1
WORD = 4  # bytes; payloads of several jobs have room for whole ones


# What one job sums.
VECTOR = np.dtype(
    [
        ("num_elements", np.int64),  # of the vector; the last chunk is padded: zeros
        ("elements_per_chunk", np.int64),
        ("width", np.int64),  # bytes of an element of a contribution
        ("result_width", np.int64),  # bytes of an element of a result
        ("shift", np.int64),  # of the hash's 32 bits, down: the rest are a value's
        ("wrong", np.int64),  # results that were not the exact sum
        ("checked", np.int64),  # results
    ]
)
# A chunk whose exact sum is kept.
KEPT = np.dtype([("chunk", np.int64), ("workers_in", np.int64)])


class SeedPlan(NamedTuple):
    """What all workers' payloads are made of."""

    seed: int
    job_of: Integers
    """[workers] row of each one's job."""
    vectors: NDArray[Any]
    """[jobs] records of VECTOR."""
    values: NDArray[np.int32]
    """[elements of the longest chunk] scratch."""
    sums: NDArray[np.int64]
    """The same."""
    expected: Bytes
    """[jobs, chunks kept, bytes of the widest full result] as on the wire."""
    kept: NDArray[Any]
    """[jobs, chunks kept] records of KEPT: what each row of `expected` is of."""
    present: NDArray[np.bool_]
    """[chunks, workers] who is in the result of each, of the only job; no chunks:
    everybody. Written when the result goes out."""


def vector(
    num_elements: int,
    elements_per_chunk: int,
    element_type: ElementType,
    result_type: ElementType,
    num_workers: int,
) -> Any:
    """A record of VECTOR, with values as large as the sum of `num_workers` allows.

    Raises ValueError if that leaves less than one bit.
    """
    width, result_width = ELEMENT_BYTES[element_type], ELEMENT_BYTES[result_type]
    spare = (num_workers - 1).bit_length()
    bits = min(8 * width, 8 * result_width - spare)
    if bits < 1:
        raise ValueError(
            f"int{8 * result_width} sums of {num_workers} workers leave their values "
            "no bit: take a wider result type"
        )
    fields = (num_elements, elements_per_chunk, width, result_width, 32 - bits, 0, 0)
    return np.array(fields, VECTOR)


def new_plan(
    seed: int,
    vectors: Sequence[Any],
    job_of: Integers,
    num_slots: int,
    present: NDArray[np.bool_],
) -> SeedPlan:
    """`num_slots`: the most that a job has; of the rest, see `SeedPlan`."""
    jobs = np.array(vectors, VECTOR)
    longest = int(jobs["elements_per_chunk"].max())
    widest = int((jobs["elements_per_chunk"] * jobs["result_width"]).max())
    widest = -(-widest // WORD) * WORD
    rows = jobs.size, 2 * num_slots
    kept = np.full(rows, np.array((NO_CHUNK, 0), KEPT))
    return SeedPlan(
        seed, job_of, plain(jobs.view(np.recarray)),
        np.zeros(longest, np.int32), np.zeros(longest, np.int64),
        np.zeros((*rows, widest), np.uint8), plain(kept.view(np.recarray)), present,
    )  # fmt: skip


def checks_of(plan: SeedPlan, job: int) -> Any:
    """[2] a job's results that were not the exact sum, and all of them, so far."""
    return plan.vectors[["wrong", "checked"]][job]


@kernel
def mixed(x: Any) -> Any:
    """A 32-bit finalizer (Wang's and Ellis's search: lowbias32)."""
    x = np.uint32(x ^ np.uint32(x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ np.uint32(x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ np.uint32(x >> np.uint32(16)))


@kernel
def draw(
    seed: int, vector: Any, worker: int, chunk: int, values: NDArray[np.int32]
) -> None:
    """A worker's values of one chunk, then zeros."""
    key = mixed(np.uint32(seed) ^ mixed(np.uint32(worker + 1)))
    key = mixed(key ^ np.uint32(chunk))
    left = vector.num_elements - chunk * vector.elements_per_chunk
    count = min(vector.elements_per_chunk, left)
    shift = np.int32(vector.shift)
    for i in range(count):
        values[i] = np.int32(mixed(np.uint32(key + np.uint32(i)))) >> shift
    values[count:] = 0


@kernel
def write(payload: Bytes, values: Any, width: int) -> None:
    """Integers that fit so many bytes, big-endian, as many as there is room for.

    Slices of what is longer than needed cost the loop a sixth of its speed.
    """
    if width == 1:
        for i in range(min(values.size, payload.size)):
            payload[i] = np.uint8(values[i])
    elif width == 2:
        halves = payload.view(np.int16)
        for i in range(min(values.size, halves.size)):
            halves[i] = swap16(values[i])
    else:
        words = payload.view(np.int32)
        for i in range(min(values.size, words.size)):
            words[i] = swap32(values[i])


@kernel
def make(plan: SeedPlan, worker: int, chunk: int, payload: Bytes) -> None:
    """The payload of a worker's contribution."""
    vector = plan.vectors[plan.job_of[worker]]
    draw(plan.seed, vector, worker, chunk, plan.values)
    write(payload, plan.values, vector.width)


@kernel
def expect(plan: SeedPlan, job: int, chunk: int, row: int) -> None:
    """Keep the exact sum of those who are in a job's chunk."""
    vector, kept = plan.vectors[job], plan.kept[job, row]
    values, sums = plan.values, plan.sums
    sums[:] = 0
    kept.chunk = chunk
    kept.workers_in = 0
    for worker in range(plan.job_of.size):
        if plan.job_of[worker] != job:
            continue
        if plan.present.shape[0] > 0 and not plan.present[chunk, worker]:
            continue
        kept.workers_in += 1
        draw(plan.seed, vector, worker, chunk, values)
        for i in range(sums.size):
            sums[i] += values[i]
    write(plan.expected[job, row], sums, vector.result_width)


@kernel
def drain(plan: SeedPlan, worker: int, chunks: Integers, results: Results) -> None:
    """Check results against the exact sums, to the last bit."""
    job = plan.job_of[worker]
    vector = plan.vectors[job]
    size = vector.elements_per_chunk * vector.result_width
    for i in range(chunks.size):
        row = chunks[i] % plan.kept.shape[1]
        kept = plan.kept[job, row]
        if kept.chunk != chunks[i]:
            expect(plan, job, chunks[i], row)
        expected = plan.expected[job, row][:size]
        start = results.payload_at[i]
        payload = results.buffer[start : start + size]
        differs = np.uint8(0)
        for at in range(expected.size):
            differs |= expected[at] ^ payload[at]
        whole = results.element_count[i] == vector.elements_per_chunk
        right_count = results.num_workers[i] == kept.workers_in
        vector.wrong += 0 if differs == 0 and whole and right_count else 1
        vector.checked += 1
