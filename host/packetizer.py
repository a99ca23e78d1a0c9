"""Vector of integers <-> chunks: what an aggregation puts into its packets and does
with its results. Knows no sequence, no window, no socket.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from switch.byteorder import swap16, swap32
from switch.compiled import kernel
from switch.parser import deparse
from switch.protocol import (
    EVERY_WORKER,
    FORMAT,
    HEADER_BYTES,
    NO_EXPONENT,
    SEQUENCE_MASK,
    ElementType,
    Flag,
    Header,
    Opcode,
    Reduction,
    kind_of,
)

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]


class Contributions(NamedTuple):
    """Rows of packets about to be sent, filled in place by `Stream.fill`."""

    payload: Bytes
    """[rows, bytes of a full payload], C-contiguous; elements big-endian."""
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
    """Elements of a full contribution, the same on every worker."""

    @abstractmethod
    def fill(self, chunks: Integers, contributions: Contributions) -> None:
        """Write payloads and header fields of `chunks` ([rows], int64)."""

    @abstractmethod
    def drain(self, chunks: Integers, results: Results) -> None:
        """Take the results of `chunks` ([rows], int64)."""


ELEMENT_TYPES = {
    np.dtype(np.int8): ElementType.INT8,
    np.dtype(np.int16): ElementType.INT16,
    np.dtype(np.int32): ElementType.INT32,
}
CONTRIBUTE, QUERY = int(Opcode.CONTRIBUTE), int(Opcode.QUERY)
REPEATED = int(Flag.REPEATED)


@kernel
def write8(payload: Bytes, lanes: Bytes) -> None:
    for i in range(lanes.size):
        payload[i] = lanes[i]


@kernel
def write16(payload: NDArray[np.int16], lanes: NDArray[np.int16]) -> None:
    for i in range(lanes.size):
        payload[i] = swap16(lanes[i])


@kernel
def write32(payload: NDArray[np.int32], lanes: NDArray[np.int32]) -> None:
    for i in range(lanes.size):
        payload[i] = swap32(lanes[i])


@kernel
def write_lanes(payload: Bytes, lanes: Bytes, width: int) -> None:
    """Copy elements of `width` bytes between host order and network order."""
    if width == 1:
        write8(payload, lanes)
    elif width == 2:
        write16(payload.view(np.int16), lanes.view(np.int16))
    else:
        write32(payload.view(np.int32), lanes.view(np.int32))


@kernel
def fill_chunks(
    values: Bytes,
    width: int,
    identity: Bytes,
    owned: Integers,
    chunks: Integers,
    payload: Bytes,
    element_count: Integers,
) -> None:
    """Payloads of `chunks`, the last one padded; empty outside `owned` (from, to)."""
    for i in range(chunks.size):
        if chunks[i] < owned[0] or chunks[i] >= owned[1]:
            element_count[i] = 0
            continue
        row = payload[i]
        start = (chunks[i] - owned[0]) * row.size
        own = min(row.size, values.size - start)
        write_lanes(row[:own], values[start : start + own], width)
        if own < row.size:
            write_lanes(row[own:], identity[own:], width)


@kernel
def drain_chunks(
    values: Bytes,
    width: int,
    chunks: Integers,
    buffer: Bytes,
    payload_at: Integers,
    element_count: Integers,
    full_bytes: int,
) -> None:
    """Results of `chunks` to `values`; what nobody contributed to stays as it is."""
    for i in range(chunks.size):
        if element_count[i] == 0:
            continue
        start = chunks[i] * full_bytes
        own = min(full_bytes, values.size - start)
        at = payload_at[i]
        write_lanes(values[start : start + own], buffer[at : at + own], width)


class ArrayStream(Stream):
    """A whole array in, a whole array out.

    `owned` limits this worker's contribution to the chunks from owned[0] to owned[1];
    `values` begins with the first of them. The others are sent empty.
    """

    def __init__(
        self,
        values: NDArray[Any],
        out: NDArray[Any],
        reduction: Reduction,
        slot_bytes: int,
        owned: tuple[int, int] | None = None,
    ) -> None:
        element_type, result_type = (
            ELEMENT_TYPES[values.dtype],
            ELEMENT_TYPES[out.dtype],
        )
        self.kind = kind_of(reduction, element_type, result_type)
        self.elements_per_chunk = slot_bytes // out.itemsize
        self.num_chunks = -(-out.size // self.elements_per_chunk)
        self.values = values
        self.out = out
        self.owned = np.array(owned or (0, self.num_chunks), np.int64)
        lowest = np.iinfo(values.dtype).min if reduction == Reduction.MAX else 0
        self.identity = np.full(self.elements_per_chunk, lowest, values.dtype)
        self.flags = 0
        """Or of the results' flags."""

    def fill(self, chunks: Integers, contributions: Contributions) -> None:
        fill_chunks(
            self.values.view(np.uint8),
            self.values.itemsize,
            self.identity.view(np.uint8),
            self.owned,
            chunks,
            contributions.payload,
            contributions.element_count,
        )

    def drain(self, chunks: Integers, results: Results) -> None:
        self.flags |= int(np.bitwise_or.reduce(results.flags))
        drain_chunks(
            self.out.view(np.uint8),
            self.out.itemsize,
            chunks,
            results.buffer,
            results.payload_at,
            results.element_count,
            self.elements_per_chunk * self.out.itemsize,
        )


class Barrier(Stream):
    """One empty chunk: its result says that everybody has come this far."""

    kind = kind_of(Reduction.OR, ElementType.INT8, ElementType.INT8)
    num_chunks = 1
    elements_per_chunk = 0

    def fill(self, chunks: Integers, contributions: Contributions) -> None:
        """Nothing to say."""

    def drain(self, chunks: Integers, results: Results) -> None:
        """Nothing to take."""


def new_contributions(rows: int, slot_bytes: int) -> Contributions:
    """Room for `rows` packets; `first_rows` gives those of one batch."""
    return Contributions(
        np.zeros((rows, slot_bytes), np.uint8),
        *(np.zeros(rows, np.int64) for _ in range(4)),
    )


def first_rows(
    room: Contributions, rows: int, element_count: int, payload_bytes: int
) -> Contributions:
    """The first `rows` of `room`, their fields as `Stream.fill` expects them."""
    payload = room.payload.reshape(-1)[: rows * payload_bytes]
    some = Contributions(
        payload.reshape(rows, payload_bytes), *(field[:rows] for field in room[1:])
    )
    some.element_count[:] = element_count
    some.recipient[:] = EVERY_WORKER
    some.exponent[:] = NO_EXPONENT
    some.flags[:] = 0
    return some


@kernel
def assemble(
    windows: Any,
    chunks: Integers,
    repeated: Integers,
    contributions: Contributions,
    element_bytes: int,
    buffer: Bytes,
    packets: Any,
) -> int:
    """Headers and payloads of a batch of contributions, one packet after the other.

    Returns how many of them are retransmissions.
    """
    window = windows[0]
    end = 0
    again = 0
    for i in range(chunks.size):
        count = contributions.element_count[i]
        width = count * element_bytes
        header = Header(
            FORMAT,
            CONTRIBUTE,
            window.kind,
            window.job,
            window.worker,
            contributions.recipient[i],
            (window.first + chunks[i]) & SEQUENCE_MASK,
            count,
            contributions.exponent[i],
            contributions.flags[i] | (REPEATED if repeated[i] else 0),
        )
        deparse(buffer[end : end + HEADER_BYTES], header)
        payload = buffer[end + HEADER_BYTES : end + HEADER_BYTES + width]
        write8(payload, contributions.payload[i][:width])
        packets[i].offset = end
        packets[i].length = HEADER_BYTES + width
        packets[i].destination = 0
        end += HEADER_BYTES + width
        again += repeated[i]
    return int(again)


@kernel
def assemble_queries(
    windows: Any, chunks: Integers, buffer: Bytes, packets: Any
) -> None:
    """Queries for `chunks`, one after the other."""
    window = windows[0]
    for i in range(chunks.size):
        start = i * HEADER_BYTES
        sequence = (window.first + chunks[i]) & SEQUENCE_MASK
        header = Header(
            FORMAT, QUERY, 0, window.job, window.worker, EVERY_WORKER,
            sequence, 0, NO_EXPONENT, 0,
        )  # fmt: skip
        deparse(buffer[start : start + HEADER_BYTES], header)
        packets[i].offset = start
        packets[i].length = HEADER_BYTES
        packets[i].destination = 0
