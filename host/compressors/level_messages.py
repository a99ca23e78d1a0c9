"""The mean as QSGD and NUQSGD have it: everybody's message to everybody.

Each worker rounds with its own norms, encodes (see `elias`), and sends to all; each
decodes all messages and averages them, in the order of ranks, so that all workers have
the same bits. The switch only passes the messages on.
"""

import numpy as np
from numpy.typing import NDArray

from host.compressors.base import Gradient, Network, Statistics
from host.compressors.elias import decode, encode
from host.compressors.level_sum import count_beyond
from host.compressors.levels import (
    Grid,
    add_levels,
    fill_indices,
    integer_of,
    last_index,
    scales_of,
)
from host.compressors.norms import LARGEST_NORM_BITS
from host.compressors.quantize import INFINITY_BITS
from host.compressors.union import gather_of
from host.packetizer import Integers


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
            scales = scales_of(norms, grid)
            add_levels(indices, block_ends, scales, grid, network.num_workers, mean)
    return finite
