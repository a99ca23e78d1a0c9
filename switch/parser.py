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
    FORMAT,
    HEADER_BYTES,
    Header,
)

Bytes = NDArray[np.uint8]

LAST_OPCODE = 3
LAST_REDUCTION = 2
NUM_TYPES = 3  # int8, int16, int32
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
def element_bytes(lane: int) -> int:
    """Width of an element or result type. Half a byte, of code4, is still to come."""
    return 1 << lane


@kernel
def known_kind(kind: int) -> bool:
    """Whether this switch can reduce it: the result as wide as the element or wider."""
    element_type = element_type_of(kind)
    result_type = result_type_of(kind)
    known_types = element_type < NUM_TYPES and result_type < NUM_TYPES
    return (
        reduction_of(kind) <= LAST_REDUCTION
        and known_types
        and (element_type <= result_type)
    )


@kernel
def payload_bytes(header: Header) -> int:
    """Bytes of payload that the header of a known kind announces."""
    from_switch = header.opcode == RESULT or header.opcode == STATUS
    lane = result_type_of(header.kind) if from_switch else element_type_of(header.kind)
    return header.element_count * element_bytes(lane)


@kernel
def well_formed(header: Header, length: int) -> bool:
    """All of the malformed checks that need no job."""
    return (
        header.format == FORMAT
        and header.opcode <= LAST_OPCODE
        and known_kind(header.kind)
        and length == HEADER_BYTES + payload_bytes(header)
    )
