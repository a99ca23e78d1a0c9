"""Packets out: deparse a result or a status once, address a copy to each receiver."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from switch import lanes
from switch.compiled import kernel
from switch.parser import (
    deparse,
    payload_bytes,
    reduced_kind,
    result_type_of,
    write32,
)
from switch.protocol import (
    EVERY_WORKER,
    FORMAT,
    HEADER_BYTES,
    NO_EXPONENT,
    STATUS_BYTES,
    Flag,
    Header,
    Opcode,
)
from switch.slots import Slot
from switch.udp import PACKET

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

CONTRIBUTE = int(Opcode.CONTRIBUTE)
RESULT, STATUS = int(Opcode.RESULT), int(Opcode.STATUS)
REPEATED = int(Flag.REPEATED)


class Copies(NamedTuple):
    """Packets out. The copies of one multicast share their bytes."""

    buffer: Bytes
    """First so many `bare_bytes`, then everything else: trains are made of packets that
    lie side by side, and results with a payload would lie between those without."""
    rows: NDArray[Any]
    """Records of `switch.udp.PACKET`."""
    used: Integers
    """[4]: rows used, where the next packet goes in `buffer`, copies: a row whose
    destination is a multicast group stands for one to each of its workers; and where
    the next result goes that has no payload for those who are no recipients."""
    bare_bytes: int


def new_copies(
    rows: int, packets: int, packet_bytes: int, spare_bytes: int = 0
) -> Copies:
    """Room for what so many packets, of so many bytes at most, cause."""
    bare_bytes = packets * HEADER_BYTES
    return Copies(
        np.empty(bare_bytes + 2 * packets * packet_bytes + spare_bytes, np.uint8),
        np.empty(rows, PACKET).view(np.recarray),
        np.array([0, bare_bytes, 0, 0]),
        bare_bytes,
    )


@kernel
def clear(out: Copies) -> None:
    out.used[:] = 0
    out.used[1] = out.bare_bytes


@kernel
def address_copy(
    out: Copies, offset: int, length: int, destination: int, receivers: int = 1
) -> None:
    copy = out.rows[out.used[0]]
    copy.offset = offset
    copy.length = length
    copy.destination = destination
    out.used[0] += 1
    out.used[2] += receivers


@kernel
def append(out: Copies, header: Header) -> int:
    """Deparse `header` at the end of the output and leave room for its payload.

    Returns the length of the packet.
    """
    start = out.used[1]
    length = HEADER_BYTES + payload_bytes(header)
    deparse(out.buffer[start : start + HEADER_BYTES], header)
    out.used[1] = start + length
    return length


@kernel
def append_result(
    slot: Slot,
    values: Bytes,
    cause: Header,
    with_payload: bool,
    flags: int,
    out: Copies,
) -> int:
    """Deparse the result that `slot` holds; its length.

    It carries the sequence of the packet that caused it, which differs from the one
    held under the rule `switchml` alone.
    """
    header = Header(
        FORMAT,
        RESULT,
        slot.kind,
        cause.job,
        slot.final,
        slot.recipient,
        cause.sequence,
        slot.element_count if with_payload else 0,
        slot.exponent,
        slot.flag_bits | flags,
    )
    return append_values(header, values, out)


@kernel
def append_bare(
    slot: Slot, values: Bytes, cause: Header, out: Copies
) -> tuple[int, int]:
    """The same without payload, beside others: where it lies, and its length."""
    rest, at = out.used[1], out.used[3]
    if at + HEADER_BYTES > out.bare_bytes:
        return rest, append_result(slot, values, cause, False, 0, out)
    out.used[1] = at
    length = append_result(slot, values, cause, False, 0, out)
    out.used[1], out.used[3] = rest, out.used[1]
    return at, length


@kernel
def append_values(header: Header, values: Bytes, out: Copies) -> int:
    """Deparse a packet whose elements are the first of `values`; its length."""
    length = append(out, header)
    width = length - HEADER_BYTES
    if width > 0:
        end = out.used[1]
        payload = out.buffer[end - width : end]
        lanes.store(payload, values[:width], result_type_of(header.kind))
    return length


@kernel
def multicast(
    slot: Slot,
    values: Bytes,
    cause: Header,
    recipient: int,
    group: Integers,
    shared: int,
    out: Copies,
) -> None:
    """One copy to each address of `group`, with the payload to recipients alone.

    `recipient`: the child that leads to the slot's, or EVERY_WORKER. `shared`: the
    number of an address that stands for all of them, or -1.
    """
    full_at = out.used[1]
    full_length = append_result(slot, values, cause, True, 0, out)
    if shared >= 0 and recipient == EVERY_WORKER:
        address_copy(out, full_at, full_length, shared, group.size)
        return
    bare_at = full_at
    bare_length = full_length
    if recipient != EVERY_WORKER:
        bare_at, bare_length = append_bare(slot, values, cause, out)
    for child in range(group.size):
        if recipient in (EVERY_WORKER, child):
            address_copy(out, full_at, full_length, group[child])
        else:
            address_copy(out, bare_at, bare_length, group[child])


@kernel
def replay(
    slot: Slot,
    values: Bytes,
    cause: Header,
    with_payload: bool,
    source: int,
    out: Copies,
) -> None:
    """Unicast the stored result to a child that has missed it."""
    start = out.used[1]
    length = append_result(slot, values, cause, with_payload, REPEATED, out)
    address_copy(out, start, length, source)


@kernel
def contribute(
    slot: Slot, values: Bytes, job: int, parent: int, flags: int, out: Copies
) -> None:
    """Send what the children came to, as one contribution, to the switch above."""
    header = Header(
        FORMAT,
        CONTRIBUTE,
        reduced_kind(slot.kind),
        job,
        slot.received,
        slot.recipient,
        slot.sequence,
        slot.element_count,
        slot.exponent,
        slot.flag_bits | flags,
    )
    start = out.used[1]
    length = append_values(header, values, out)
    address_copy(out, start, length, parent)


@kernel
def pass_on(cause: Header, group: Integers, out: Copies) -> None:
    """The parent's status to everybody of `group`, less its bitmap."""
    header = Header(
        FORMAT, STATUS, 0, cause.job, cause.worker, EVERY_WORKER, cause.sequence,
        STATUS_BYTES, NO_EXPONENT, 0,
    )  # fmt: skip
    start = out.used[1]
    length = append(out, header)
    out.buffer[start + HEADER_BYTES : start + length] = 0
    for child in range(group.size):
        address_copy(out, start, length, group[child])


@kernel
def answer(slot: Slot, cause: Header, source: int, flags: int, out: Copies) -> None:
    """Unicast a status: what the slot holds, with the bitmap as payload.

    A slot that holds nothing answers with the query's own sequence and no worker.
    """
    received = slot.received
    bitmap = slot.bitmap
    header = Header(
        FORMAT,
        STATUS,
        0,
        cause.job,
        received,
        EVERY_WORKER,
        slot.sequence if received > 0 else cause.sequence,
        STATUS_BYTES,
        NO_EXPONENT,
        flags,
    )
    start = out.used[1]
    length = append(out, header)
    payload = out.buffer[start + HEADER_BYTES : start + length]
    write32(payload, 0, bitmap >> np.uint64(32))
    write32(payload, 4, bitmap & np.uint64(0xFFFFFFFF))
    address_copy(out, start, length, source)
