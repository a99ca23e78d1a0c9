"""Vector of integers <-> chunks: what an aggregation puts into its packets and does
with its results. Knows no sequence, no window, no socket.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]


class Contributions(NamedTuple):
    """Rows of packets about to be sent, filled in place by `Stream.fill`."""

    payload: Bytes
    """[rows, bytes of a full payload]; elements big-endian."""
    element_count: Integers
    """[rows]; starts as a full payload's. 0: send no payload (the identity)."""
    recipient: Integers
    """[rows]; starts as EVERY_WORKER."""
    exponent: Integers
    """[rows]; starts as NO_EXPONENT."""
    flags: Integers
    """[rows]; starts as 0."""


class Results(NamedTuple):
    """Rows of results that arrived, handed to `Stream.drain`."""

    buffer: Bytes
    """Where the payloads lie; elements big-endian."""
    payload_at: Integers
    """[rows]; offset of the row's payload in `buffer`."""
    element_count: Integers
    """[rows]; 0: no contribution had a payload, or this worker is no recipient."""
    num_workers: Integers
    """[rows]; how many workers are in the result."""
    exponent: Integers
    """[rows]; maximum over the workers, or NO_EXPONENT."""
    flags: Integers
    """[rows]; see `switch.protocol.Flag`."""


class Stream(ABC):
    """The chunks of one aggregation, 0 to num_chunks - 1.

    `fill` may be called again for a chunk (a retransmission) and must then write the
    same bytes. `drain` is called exactly once for each chunk, in any order. Both are
    called for whole batches and should go straight into a kernel.
    """

    kind: int
    """Byte 1 of the header, from `switch.protocol.kind_of`."""
    num_chunks: int
    elements_per_chunk: int
    """Elements of a full contribution; 0: this worker only sends empty ones."""

    @abstractmethod
    def fill(self, chunks: Integers, contributions: Contributions) -> None:
        """Write payloads and header fields of `chunks` ([rows], int64)."""

    @abstractmethod
    def drain(self, chunks: Integers, results: Results) -> None:
        """Take the results of `chunks` ([rows], int64)."""
