"""Collectives of sparse and of encoded gradients, with their bytes counted: the union
of everybody's elements, and everybody's messages.

The union is hierarchical: one bit for every block of 256 elements first, then the bits
of the blocks that somebody has. So d elements of which few are chosen cost d / 256 bits
and 256 bits a live block, not d bits.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from host.compressors.base import Network, Statistics
from host.compressors.codewise import codewise
from host.packetizer import Integers
from switch.protocol import HEADER_BYTES

BLOCK = 256  # elements a block
BLOCK_BYTES = BLOCK // 8
LENGTH_BYTES = 4  # of a message's length, which `Network.gather` sums first


def union_of(
    bits: Any, network: Network, statistics: Statistics | None = None
) -> Integers:
    """Where any worker has a bit set: ascending indices, the same on every worker.

    bits: bool[d], this worker's elements, an array or a tensor on a device, of which a
    bit an element comes here; d is the same on every worker.
    """
    blocks = -(-len(bits) // BLOCK)
    packed = np.zeros((blocks, BLOCK_BYTES), np.uint8)
    own = codewise(bits).packbits(bits)
    packed.reshape(-1)[: len(own)] = own
    live = np.packbits(packed.any(axis=1))
    live = np.unpackbits(joined(live, network, statistics), count=blocks)
    alive = np.flatnonzero(live)
    together = joined(packed[alive].reshape(-1), network, statistics)
    at = np.flatnonzero(np.unpackbits(together).view(np.bool_))
    return np.asarray(alive[at // BLOCK] * BLOCK + at % BLOCK, np.int64)


def joined(
    packed: NDArray[np.uint8], network: Network, statistics: Statistics | None
) -> NDArray[np.uint8]:
    """Or of the workers' packed bits. No bits: no packets."""
    if len(packed) == 0:
        return packed
    if statistics is not None:
        chunks = -(-len(packed) // network.slot_bytes)
        count_chunks(statistics, network, up=chunks, down=chunks, chunks=chunks)
    return network.union(packed)


def gather_of(
    message: bytes, network: Network, statistics: Statistics | None = None
) -> list[bytes]:
    """The messages of all workers, by rank."""
    messages = network.gather(message)
    if statistics is not None:
        lengths = -(-LENGTH_BYTES * network.num_workers // network.slot_bytes)
        chunks = [-(-len(each) // network.slot_bytes) for each in messages]
        count_chunks(
            statistics,
            network,
            up=lengths + chunks[network.rank],
            down=lengths + sum(chunks),
            chunks=lengths + sum(chunks),
        )
    return messages


def count_chunks(
    statistics: Statistics, network: Network, *, up: int, down: int, chunks: int
) -> None:
    """Bytes of so many chunks, of which `up` are sent, and `down` come back, with a
    full payload; the others are headers."""
    statistics.bytes_up += chunks * HEADER_BYTES + up * network.slot_bytes
    statistics.bytes_down += chunks * HEADER_BYTES + down * network.slot_bytes
