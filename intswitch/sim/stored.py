"""Payloads that workers have made, and results that they are to get, in arrays."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.packetizer import Contributions, Results, write8
from switch.compiled import kernel

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

# Fields of a contribution, and of a result, in the order of `Contributions` and
# `Results` behind the packets.
ELEMENT_COUNT, RECIPIENT, EXPONENT, FLAGS = range(4)


class Stored(NamedTuple):
    """Of all workers; the first index is the rank, the second the chunk."""

    payloads: Bytes
    """[workers, chunks, bytes of a full contribution]"""
    fields: Integers
    """[workers, chunks, 4]"""
    made: NDArray[np.bool_]
    """[workers, chunks] whether the two above have it."""
    results: Bytes
    """[workers, chunks, bytes of a full result]"""
    told: Integers
    """[workers, chunks, 4]: element_count, num_workers, exponent, flags."""
    order: Integers
    """[workers, chunks] chunks in the order in which their results came."""
    came: Integers
    """[workers] how many have come."""


def new_store(
    num_workers: int, num_chunks: int, payload_bytes: int, result_bytes: int
) -> Stored:
    shape = num_workers, num_chunks
    return Stored(
        np.empty((*shape, payload_bytes), np.uint8),
        np.zeros((*shape, 4), np.int64),
        np.zeros(shape, np.bool_),
        np.empty((*shape, result_bytes), np.uint8),
        np.zeros((*shape, 4), np.int64),
        np.zeros(shape, np.int64),
        np.zeros(num_workers, np.int64),
    )


@kernel
def make(plan: Stored, worker: int, chunk: int, payload: Bytes) -> None:
    write8(payload, plan.payloads[worker, chunk][: payload.size])


@kernel
def is_made(plan: Stored, worker: int, chunks: Integers) -> bool:
    count = 0
    for i in range(chunks.size):
        count += plan.made[worker, chunks[i]]
    return bool(count == chunks.size)


@kernel
def write_fields(
    plan: Stored, worker: int, chunks: Integers, contributions: Contributions
) -> None:
    for i in range(chunks.size):
        fields = plan.fields[worker, chunks[i]]
        contributions.element_count[i] = fields[ELEMENT_COUNT]
        contributions.recipient[i] = fields[RECIPIENT]
        contributions.exponent[i] = fields[EXPONENT]
        contributions.flags[i] = fields[FLAGS]


@kernel
def drain(plan: Stored, worker: int, chunks: Integers, results: Results) -> None:
    for i in range(chunks.size):
        chunk = chunks[i]
        told, kept = plan.told[worker, chunk], plan.results[worker, chunk]
        told[0] = results.element_count[i]
        told[1] = results.num_workers[i]
        told[2] = results.exponent[i]
        told[3] = results.flags[i]
        if results.element_count[i] > 0:
            start = results.payload_at[i]
            write8(kept, results.buffer[start : start + kept.size])
        plan.order[worker, plan.came[worker]] = chunk
        plan.came[worker] += 1


def store(plan: Stored, rank: int, first: int, made: Any) -> None:
    """Keep contributions of the chunks from `first` on: payloads, and their fields."""
    payloads, fields = made
    here = slice(first, first + len(payloads))
    plan.payloads[rank, here] = payloads
    plan.fields[rank, here] = fields
    plan.made[rank, here] = True


def results_since(plan: Stored, rank: int, taken: int) -> tuple[Any, Any, Any]:
    """Chunks whose results a worker has got after its first `taken`: their numbers,
    payloads and what else was told."""
    chunks = plan.order[rank, taken : plan.came[rank]]
    return chunks, plan.results[rank, chunks], plan.told[rank, chunks]
