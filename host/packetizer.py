"""Vector of integers <-> chunks: what an aggregation puts into its packets and does
with its results. Knows no sequence, no window, no socket.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from host.segments import Segments, elements_of, whole_of
from switch.byteorder import swap16, swap32
from switch.compiled import kernel
from switch.parser import bytes_of, deparse
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
    """Rows of packets about to be sent, filled in place by a stream's `fill_rows`.

    There may be more rows than chunks: these are not to be touched.
    """

    packets: Bytes
    """[rows, HEADER_BYTES + bytes of a full payload], C-contiguous. The header is
    written later; elements are big-endian. A payload of code4 has two codes a byte:
    code 2i in the high nibble of byte i, code 2i + 1 in the low one."""
    element_count: Integers
    """[rows]; starts as a full payload's. 0: send no payload (the identity, which of
    codes is a sum of 0, whatever their table says). code4: even."""
    recipient: Integers
    """[rows]; starts as EVERY_WORKER."""
    exponent: Integers
    """[rows]; starts as NO_EXPONENT."""
    flags: Integers
    """[rows]; starts as 0."""

    @property
    def payload(self) -> Bytes:
        """[rows, bytes of a full payload]"""
        return self.packets[:, HEADER_BYTES:]


class Results(NamedTuple):
    """Rows of results that arrived, for a stream's `drain_rows`; perhaps more than
    chunks."""

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


class Stream:
    """The chunks of one aggregation, 0 to num_chunks - 1.

    What to send, and what to do with results, are kernels: the loop that sends and
    receives is compiled around them (see `exchange.py`). Both are called for whole
    batches. `fill_rows` may be called again for a chunk (a retransmission) and must
    then write the same bytes. `drain_rows` is called exactly once for each chunk, in
    any order.
    """

    kind: int
    """Byte 1 of the header, from `switch.protocol.kind_of`."""
    num_chunks: int
    elements_per_chunk: int
    """Elements of a full contribution, the same on every worker. code4: even."""
    plan: Any
    """Named tuple of all that the kernels need."""
    needs_results: ClassVar[bool] = False
    """Whether a chunk can be filled only when the result of the chunk `num_slots`
    before it has been drained."""
    fill_rows: ClassVar[Callable[..., None]]
    """Kernel (plan, chunks, contributions): write payloads and header fields of
    `chunks` ([rows], int64)."""
    drain_rows: ClassVar[Callable[..., None]]
    """Kernel (plan, chunks, results): take the results of `chunks` ([rows], int64)."""

    def fill(self, chunks: Integers, contributions: Contributions) -> None:
        """The same, called from Python."""
        self.fill_rows(self.plan, chunks, contributions)

    def drain(self, chunks: Integers, results: Results) -> None:
        """The same, called from Python."""
        self.drain_rows(self.plan, chunks, results)


ELEMENT_TYPES = {
    np.dtype(np.int8): ElementType.INT8,
    np.dtype(np.int16): ElementType.INT16,
    np.dtype(np.int32): ElementType.INT32,
}
EVERYBODY = np.zeros(0, np.int64)
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


class ArrayPlan(NamedTuple):
    """What the kernels of an ArrayStream need."""

    values: Bytes
    """This worker's elements, from the first of its chunks on."""
    out: Bytes
    """Where the results go."""
    width: int
    """Bytes of an element of `values`."""
    result_width: int
    """Bytes of an element of `out`."""
    identity: Bytes
    """A full payload of the reduction's identity."""
    owned: Integers
    """[2] the chunks that `values` has; the others are sent empty."""
    flags: Integers
    """[1] or of the results' flags."""
    num_workers: Integers
    """[chunks] how many workers are in each result."""
    recipients: Integers
    """[chunks] ranks of the workers that get the results; [0]: every worker does."""
    first_out: int
    """The chunk whose result `out` begins with."""
    segments: Segments


@kernel
def fill_chunks(
    plan: ArrayPlan, chunks: Integers, contributions: Contributions
) -> None:
    """Payloads of `chunks`, the last one of a part padded; empty outside `owned`."""
    for i in range(chunks.size):
        if plan.recipients.size > 0:
            contributions.recipient[i] = plan.recipients[chunks[i]]
        if chunks[i] < plan.owned[0] or chunks[i] >= plan.owned[1]:
            contributions.element_count[i] = 0
            continue
        row = contributions.packets[i][HEADER_BYTES:]
        first, last = elements_of(plan.segments, chunks[i] - plan.owned[0])
        start = first * plan.width
        own = min(last * plan.width, plan.values.size) - start
        write_lanes(row[:own], plan.values[start : start + own], plan.width)
        if own < row.size:
            write_lanes(row[own:], plan.identity[own:], plan.width)


@kernel
def drain_chunks(plan: ArrayPlan, chunks: Integers, results: Results) -> None:
    """Results of `chunks` to `out`, if it has any room; what nobody contributed to,
    or others get, stays as it is."""
    for i in range(chunks.size):
        plan.flags[0] |= results.flags[i]
        plan.num_workers[chunks[i]] = results.num_workers[i]
        if results.element_count[i] == 0 or plan.out.size == 0:
            continue
        at = results.payload_at[i]
        first, last = elements_of(plan.segments, chunks[i] - plan.first_out)
        start = first * plan.result_width
        own = min(last * plan.result_width, plan.out.size) - start
        write_lanes(
            plan.out[start : start + own],
            results.buffer[at : at + own],
            plan.result_width,
        )


class ArrayStream(Stream):
    """A whole array in, a whole array out.

    `owned` limits this worker's contribution to the chunks from owned[0] to owned[1];
    `values` begins with the first of them. The others are sent empty. `recipients`
    are the ranks that get the chunks' results, the same on every worker; `out` then has
    those of this worker, which lie side by side. `parts`: how the array is cut into
    parts that have chunks of their own; else it is one.
    """

    plan: ArrayPlan
    fill_rows = staticmethod(fill_chunks)
    drain_rows = staticmethod(drain_chunks)

    def __init__(
        self,
        values: NDArray[Any],
        out: NDArray[Any],
        reduction: Reduction,
        slot_bytes: int,
        owned: tuple[int, int] | None = None,
        recipients: Integers = EVERYBODY,
        first_out: int = 0,
        parts: Segments | None = None,
    ) -> None:
        element_type, result_type = (
            ELEMENT_TYPES[values.dtype],
            ELEMENT_TYPES[out.dtype],
        )
        self.kind = kind_of(reduction, element_type, result_type)
        self.elements_per_chunk = slot_bytes // out.itemsize
        whole = -(-out.size // self.elements_per_chunk)
        self.num_chunks = len(recipients) or (parts.all_chunks if parts else whole)
        lowest = np.iinfo(values.dtype).min if reduction == Reduction.MAX else 0
        identity = np.full(self.elements_per_chunk, lowest, values.dtype)
        self.plan = ArrayPlan(
            values=values.view(np.uint8),
            out=out.view(np.uint8),
            width=values.itemsize,
            result_width=out.itemsize,
            identity=identity.view(np.uint8),
            owned=np.array(owned or (0, self.num_chunks), np.int64),
            flags=np.zeros(1, np.int64),
            num_workers=np.zeros(self.num_chunks, np.int64),
            recipients=recipients,
            first_out=first_out,
            segments=parts
            or whole_of(
                self.num_chunks * self.elements_per_chunk, self.elements_per_chunk
            ),
        )

    @property
    def flags(self) -> int:
        """Or of the results' flags."""
        return int(self.plan.flags[0])


class Barrier(ArrayStream):
    """One empty chunk: its result says that everybody has come this far."""

    def __init__(self) -> None:
        nothing = np.zeros(1, np.int8)
        super().__init__(nothing, nothing.copy(), Reduction.OR, 1, owned=(0, 0))


def new_contributions(rows: int, payload_bytes: int) -> Contributions:
    """Room for `rows` packets with payloads of so many bytes."""
    return Contributions(
        np.zeros((rows, HEADER_BYTES + payload_bytes), np.uint8),
        *(np.zeros(rows, np.int64) for _ in range(4)),
    )


@kernel
def make_ready(contributions: Contributions, rows: int, element_count: int) -> None:
    """The first `rows`, as `fill_rows` expects them."""
    contributions.element_count[:rows] = element_count
    contributions.recipient[:rows] = EVERY_WORKER
    contributions.exponent[:rows] = NO_EXPONENT
    contributions.flags[:rows] = 0


@kernel
def assemble(
    windows: Any,
    chunks: Integers,
    repeated: Integers,
    contributions: Contributions,
    element_type: int,
    buffer: Bytes,
    packets: Any,
) -> int:
    """Headers of a batch of contributions, which lie one after the other afterwards.

    `buffer` is the memory of `contributions.packets`; `packets` are records of
    `switch.udp.PACKET`. Returns how many contributions are retransmissions.
    """
    window = windows[0]
    stride = contributions.packets.shape[1]
    end = 0
    again = 0
    for i in range(chunks.size):
        count = contributions.element_count[i]
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
        row = contributions.packets[i]
        deparse(row, header)
        length = HEADER_BYTES + bytes_of(count, element_type)
        if end < i * stride:  # some packet before was shorter
            write8(buffer[end : end + length], row[:length])
        packets[i].offset = end
        packets[i].length = length
        packets[i].destination = 0
        end += length
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
