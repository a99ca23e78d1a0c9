"""Packets out: deparse a result or a status once, address a copy to each receiver."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from switch import lanes
from switch.compiled import kernel
from switch.parser import deparse, payload_bytes, result_type_of, write32
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
from switch.slots import Registers

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

RESULT, STATUS = int(Opcode.RESULT), int(Opcode.STATUS)
REPEATED = int(Flag.REPEATED)


class Copies(NamedTuple):
    """Packets out. The copies of one multicast share their bytes."""

    buffer: Bytes
    offset: Integers
    length: Integers
    destination: Integers
    """Number of an address."""
    used: Integers
    """[2]: rows used, bytes of `buffer` used."""


@kernel
def address_copy(out: Copies, offset: int, length: int, destination: int) -> None:
    row = out.used[0]
    out.offset[row] = offset
    out.length[row] = length
    out.destination[row] = destination
    out.used[0] = row + 1


@kernel
def append(out: Copies, header: Header) -> Bytes:
    """Deparse `header` at the end of the output; the packet, its payload yet unset."""
    start = out.used[1]
    end = start + HEADER_BYTES + payload_bytes(header)
    out.used[1] = end
    packet = out.buffer[start:end]
    deparse(packet, header)
    return packet


@kernel
def append_result(
    registers: Registers,
    index: int,
    cause: Header,
    with_payload: bool,
    flags: int,
    out: Copies,
) -> int:
    """Deparse the result held at `index`; its length.

    It carries the sequence of the packet that caused it, which differs from the one
    held under the rule `switchml` alone.
    """
    header = Header(
        FORMAT,
        RESULT,
        registers.kind[index],
        cause.job,
        registers.received[index],
        registers.recipient[index],
        cause.sequence,
        registers.element_count[index] if with_payload else 0,
        registers.exponent[index],
        registers.flags[index] | flags,
    )
    packet = append(out, header)
    width = packet.size - HEADER_BYTES
    if width > 0:
        values = registers.values[index][:width]
        lanes.store(packet[HEADER_BYTES:], values, result_type_of(header.kind))
    return packet.size


@kernel
def multicast(
    registers: Registers, index: int, cause: Header, group: Integers, out: Copies
) -> None:
    """One copy to each address of `group`, with the payload to recipients alone."""
    recipient = registers.recipient[index]
    full_at = out.used[1]
    full_length = append_result(registers, index, cause, True, 0, out)
    bare_at = full_at
    bare_length = full_length
    if recipient != EVERY_WORKER:
        bare_at = out.used[1]
        bare_length = append_result(registers, index, cause, False, 0, out)
    for worker in range(group.size):
        if recipient == EVERY_WORKER or recipient == worker:
            address_copy(out, full_at, full_length, group[worker])
        else:
            address_copy(out, bare_at, bare_length, group[worker])


@kernel
def replay(
    registers: Registers, index: int, cause: Header, source: int, out: Copies
) -> None:
    """Unicast the stored result to a worker that has missed it."""
    recipient = registers.recipient[index]
    with_payload = recipient == EVERY_WORKER or recipient == cause.worker
    start = out.used[1]
    length = append_result(registers, index, cause, with_payload, REPEATED, out)
    address_copy(out, start, length, source)


@kernel
def answer(
    registers: Registers, index: int, cause: Header, source: int, out: Copies
) -> None:
    """Unicast a status: what the slot holds, with the bitmap as payload.

    A slot that holds nothing answers with the query's own sequence and no worker.
    """
    received = registers.received[index]
    bitmap = registers.bitmap[index]
    header = Header(
        FORMAT,
        STATUS,
        0,
        cause.job,
        received,
        EVERY_WORKER,
        registers.sequence[index] if received > 0 else cause.sequence,
        STATUS_BYTES,
        NO_EXPONENT,
        0,
    )
    start = out.used[1]
    packet = append(out, header)
    write32(packet, HEADER_BYTES, np.int64(bitmap >> np.uint64(32)))
    write32(packet, HEADER_BYTES + 4, np.int64(bitmap & np.uint64(0xFFFFFFFF)))
    address_copy(out, start, packet.size, source)
