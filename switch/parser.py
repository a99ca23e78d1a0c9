"""Bytes to header, or the reason for rejecting; and header to bytes.

Knows the format, never a job or a slot.
"""

import numpy as np
from numpy.typing import NDArray

from switch.compiled import kernel
from switch.protocol import (
    AT_ELEMENT_COUNT,
    AT_EXPONENT,
    AT_FLAGS,
    AT_FORMAT_OPCODE,
    AT_JOB,
    AT_KIND,
    AT_RECIPIENT,
    AT_SEQUENCE,
    AT_WORKER,
    ELEMENT_BITS,
    FORMAT,
    HEADER_BYTES,
    ElementType,
    Header,
    Reduction,
)

Bytes = NDArray[np.uint8]

LAST_OPCODE = 3
LAST_REDUCTION = 2
NUM_TYPES = 3  # int8, int16, int32; code4 and code8 follow
SUM = int(Reduction.SUM)
CODE4, CODE8 = int(ElementType.CODE4), int(ElementType.CODE8)
RESULT = 1
STATUS = 3


@kernel
def read8(packet: Bytes, at: int) -> int:
    return np.int64(packet[at])  # type: ignore[return-value]


@kernel
def read16(packet: Bytes, at: int) -> int:
    return read8(packet, at) << 8 | read8(packet, at + 1)


@kernel
def read32(packet: Bytes, at: int) -> int:
    return read16(packet, at) << 16 | read16(packet, at + 2)


@kernel
def write16(packet: Bytes, at: int, value: int) -> None:
    packet[at] = (value >> 8) & 0xFF
    packet[at + 1] = value & 0xFF


@kernel
def write32(packet: Bytes, at: int, value: int) -> None:
    write16(packet, at, (value >> 16) & 0xFFFF)
    write16(packet, at + 2, value & 0xFFFF)


@kernel
def parse(packet: Bytes) -> Header:
    """The header of a packet that is known to be at least HEADER_BYTES long."""
    exponent = read8(packet, AT_EXPONENT)
    return Header(
        read8(packet, AT_FORMAT_OPCODE) >> 4,
        read8(packet, AT_FORMAT_OPCODE) & 0xF,
        read8(packet, AT_KIND),
        read16(packet, AT_JOB),
        read16(packet, AT_WORKER),
        read16(packet, AT_RECIPIENT),
        read32(packet, AT_SEQUENCE),
        read16(packet, AT_ELEMENT_COUNT),
        exponent - 256 if exponent > 127 else exponent,
        read8(packet, AT_FLAGS),
    )


@kernel
def deparse(packet: Bytes, header: Header) -> None:
    """Write `header` into the first HEADER_BYTES of `packet`."""
    packet[AT_FORMAT_OPCODE] = header.format << 4 | header.opcode
    packet[AT_KIND] = header.kind
    write16(packet, AT_JOB, header.job)
    write16(packet, AT_WORKER, header.worker)
    write16(packet, AT_RECIPIENT, header.recipient)
    write32(packet, AT_SEQUENCE, header.sequence)
    write16(packet, AT_ELEMENT_COUNT, header.element_count)
    packet[AT_EXPONENT] = header.exponent & 0xFF
    packet[AT_FLAGS] = header.flags


@kernel
def reduction_of(kind: int) -> int:
    return kind >> 6


@kernel
def element_type_of(kind: int) -> int:
    return (kind >> 3) & 7


@kernel
def result_type_of(kind: int) -> int:
    return kind & 7


@kernel
def reduced_kind(kind: int) -> int:
    """Of a contribution that carries what contributions of `kind` came to."""
    return reduction_of(kind) << 6 | result_type_of(kind) << 3 | result_type_of(kind)


@kernel
def is_code(element_type: int) -> bool:
    return element_type in (CODE4, CODE8)


@kernel
def bytes_of(count: int, element_type: int) -> int:
    """Bytes of `count` elements; the last of an odd number of code4 fills a byte."""
    return (count * ELEMENT_BITS[element_type] + 7) >> 3


@kernel
def known_kind(kind: int) -> bool:
    """Whether a switch can reduce it.

    The result is an integer as wide as the element or wider; codes are summed, and how
    wide their sums are is a matter of the job's table.
    """
    element_type = element_type_of(kind)
    result_type = result_type_of(kind)
    if is_code(element_type):
        return reduction_of(kind) == SUM and result_type < NUM_TYPES
    known_types = element_type < NUM_TYPES and result_type < NUM_TYPES
    return (
        reduction_of(kind) <= LAST_REDUCTION
        and known_types
        and (element_type <= result_type)
    )


@kernel
def known_count(header: Header) -> bool:
    """Two code4 share a byte: no packet has an odd number of them."""
    return element_type_of(header.kind) != CODE4 or header.element_count % 2 == 0


@kernel
def payload_bytes(header: Header) -> int:
    """Bytes of payload that the header of a known kind announces."""
    from_switch = header.opcode == RESULT or header.opcode == STATUS
    lane = result_type_of(header.kind) if from_switch else element_type_of(header.kind)
    return bytes_of(header.element_count, lane)


@kernel
def well_formed(header: Header, length: int) -> bool:
    """All of the malformed checks that need no job."""
    return (
        header.format == FORMAT
        and header.opcode <= LAST_OPCODE
        and known_kind(header.kind)
        and known_count(header)
        and length == HEADER_BYTES + payload_bytes(header)
    )
