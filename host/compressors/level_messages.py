"""The mean as QSGD and NUQSGD have it: everybody's message to everybody.

Each worker rounds with its own norms, encodes (see `elias`), and sends to all; each
decodes all messages and averages them, in the order of ranks, so that all workers have
the same bits. The switch only passes the messages on.
"""

import numpy as np
from numpy.typing import NDArray

from host.compressors.base import Gradient, Network, Statistics
from host.compressors.elias import Indices, decode, encode
from host.compressors.level_sum import count_beyond
from host.compressors.levels import (
    Grid,
    integer_of,
    last_index,
    level_of,
    scale_of,
    scales_of,
    signed,
)
from host.compressors.norms import LARGEST_NORM_BITS
from host.compressors.quantize import INFINITY_BITS, ZERO, Floats
from host.compressors.union import gather_of
from host.packetizer import Integers
from switch.compiled import kernel

SIGN = np.int32(31)


@kernel
def fill_indices(
    vector: Floats,
    block_ends: Integers,
    scales: Floats,
    grid: Grid,
    key: NDArray[np.uint32],
    indices: Indices,
) -> None:
    """Round every element to a level; [d] its index, with its sign. 0 in blocks with
    the scale 0."""
    bits, start = vector.view(np.int32), 0
    for block in range(len(block_ends)):
        end, scale = block_ends[block], scales[block]
        if scale == ZERO:
            indices[start:end] = 0
            end = start
        for j in range(start, end):
            negative = np.int32(bits[j] >> SIGN)
            index, sign = level_of(vector[j], negative, scale, grid, np.uint32(j), key)
            indices[j] = signed(index, sign)
        start = block_ends[block]


@kernel
def add_levels(
    indices: Indices,
    norms: NDArray[np.int32],
    block_ends: Integers,
    grid: Grid,
    num_workers: int,
    mean: Floats,
) -> None:
    """Add a worker's estimate, divided by the number of workers."""
    start = 0
    for block in range(len(block_ends)):
        end = block_ends[block]
        scale = scale_of(norms[block : block + 1].view(np.float32)[0], grid)
        inverse = 1.0 / (num_workers * np.float64(scale)) if scale > ZERO else 0.0
        unit = np.float32(inverse)
        for j in range(start, end):
            index = np.int32(abs(indices[j]))
            # the index 0 is none, and its level none of a grid without a level 0
            integer = integer_of(index, grid) if index else np.int32(0)
            sign = np.int32(-1) if indices[j] < 0 else np.int32(0)
            mean[j] += np.float32(np.float32(signed(integer, sign)) * unit)
        start = end


def message_of(
    vector: Gradient,
    block_ends: Integers,
    norms: NDArray[np.int32],
    grid: Grid,
    key: NDArray[np.uint32],
    statistics: Statistics,
) -> bytes:
    """This worker's message. norms: of the blocks, see `block_norms`. A block that is
    not finite is told by its norm."""
    norms = np.minimum(norms, INFINITY_BITS)
    scales = scales_of(norms, grid)
    scales[norms == INFINITY_BITS] = 0
    indices = np.empty(len(vector), np.int16)
    fill_indices(vector, block_ends, scales, grid, key, indices)
    largest = int(np.abs(indices).max())
    if largest:
        statistics.largest_integer = max(
            statistics.largest_integer, int(integer_of(np.int32(largest), grid))
        )
    if (norms == LARGEST_NORM_BITS).any():
        statistics.clips += int(count_beyond(vector))
    return encode(norms, indices, block_ends)


def gather_mean(
    message: bytes,
    mean: Gradient,
    block_ends: Integers,
    grid: Grid,
    network: Network,
    statistics: Statistics,
) -> bool:
    """Exchange the messages, and write the mean of all workers' estimates. Returns
    False, with the mean useless, if some worker's gradient is not finite.

    Raises ValueError, on every worker, for a message that is not one of such blocks.
    """
    messages = gather_of(message, network, statistics)
    norms = np.empty(len(block_ends), np.int32)
    indices = np.empty(len(mean), np.int16)
    finite = True
    mean[:] = 0
    for rank, each in enumerate(messages):
        try:
            decode(each, block_ends, last_index(grid), norms, indices)
        except ValueError as error:
            raise ValueError(f"the message of worker {rank}: {error}") from None
        finite = finite and int(norms.max()) < INFINITY_BITS
        if finite:
            add_levels(indices, norms, block_ends, grid, network.num_workers, mean)
    return finite
