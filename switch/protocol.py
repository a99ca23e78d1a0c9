"""The wire format, stated once: whatever reads or writes a packet derives from here.

A packet is a UDP payload: a header of 16 bytes in network byte order, then
`element_count` elements, big-endian. This module holds no state and no arithmetic
on elements.
"""

from enum import IntEnum, IntFlag
from typing import NamedTuple

FORMAT = 1
DEFAULT_PORT = 48864

# Of the control plane, at both ends.
TOKEN = "intswitch-token"  # of gRPC's metadata
CALL_TIMEOUT = 5.0  # seconds for an answer that depends on nobody else
# A killed process closes its connection, which is noticed at once. The pings are for
# a machine or a cable that vanishes: noticed after 30 s at most.
KEEPALIVE = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
)

# name, bytes, meaning. The offsets and the header's length follow from the order.
FIELDS = (
    ("format_opcode", 1, "format in the high 4 bits, opcode in the low 4"),
    ("kind", 1, "reduction (2 bits), element type (3 bits), result type (3 bits)"),
    ("job", 2, "assigned by the control plane"),
    (
        "worker",
        2,
        "contribution: its sender, or how many a switch stands for; "
        "result: number of workers in it",
    ),
    ("recipient", 2, "rank that gets the payload of the result, or EVERY_WORKER"),
    ("sequence", 4, "number of the chunk in its job, modulo 2^32"),
    ("element_count", 2, "0: no payload; the contribution stands for the identity"),
    ("exponent", 1, "signed, reduced with max; NO_EXPONENT: none"),
    ("flags", 1, "see Flag; other bits are ignored"),
)


def _offsets() -> dict[str, int]:
    offset, offsets = 0, {}
    for name, size, _ in FIELDS:
        offsets[name] = offset
        offset += size
    return offsets


OFFSET = _offsets()
HEADER_BYTES = sum(size for _, size, _ in FIELDS)

# Kernels freeze module globals, and cannot index a dict of strings: one name each.
AT_FORMAT_OPCODE = OFFSET["format_opcode"]
AT_KIND = OFFSET["kind"]
AT_JOB = OFFSET["job"]
AT_WORKER = OFFSET["worker"]
AT_RECIPIENT = OFFSET["recipient"]
AT_SEQUENCE = OFFSET["sequence"]
AT_ELEMENT_COUNT = OFFSET["element_count"]
AT_EXPONENT = OFFSET["exponent"]
AT_FLAGS = OFFSET["flags"]

SEQUENCE_MASK = 0xFFFF_FFFF
EVERY_WORKER = 0xFFFF
NO_EXPONENT = -128
MAX_WORKERS = 64  # at one switch: one bit each in the slot's bitmap
STATUS_BYTES = 8  # payload of a status: the bitmap


class Opcode(IntEnum):
    CONTRIBUTE = 0
    RESULT = 1
    QUERY = 2
    STATUS = 3


class Reduction(IntEnum):
    SUM = 0
    MAX = 1
    OR = 2


class ElementType(IntEnum):
    INT8 = 0
    INT16 = 1
    INT32 = 2
    CODE4 = 3  # two codes a byte, looked up in the job's table of 16 integers
    CODE8 = 4  # likewise, one code a byte and a table of 256


class Flag(IntFlag):
    OVERFLOW = 1  # some partial addition left the range of the result type
    REPEATED = 2  # a retransmission (host) or the replay of a result (switch)
    CLIPPED = 4  # a host clipped an element
    FINAL = 8  # a status: what the slot holds has gone out, without some


class Overflow(IntEnum):
    """What a sum does when it leaves the range of the result type."""

    WRAP = 0
    SATURATE = 1
    DETECT = 2


class Rule(IntEnum):
    """How a slot treats packets of another sequence."""

    SAFE = 0
    SWITCHML = 1


class DropReason(IntEnum):
    """Why the switch dropped a packet, in the order in which it checks."""

    MALFORMED = 0
    UNKNOWN_JOB = 1
    UNKNOWN_SOURCE = 2
    OPCODE = 3
    AHEAD = 4
    STALE = 5
    MISMATCH = 6
    DUPLICATE = 7


# int8, int16, int32. A result type is one of these too.
ELEMENT_BYTES = (1, 2, 4)
# Of every element type, in the order of its codes.
ELEMENT_BITS = (8, 16, 32, 4, 8)


class Header(NamedTuple):
    """The fields of one packet, in host order. Kernels and tests share it."""

    format: int
    opcode: int
    kind: int
    job: int
    worker: int
    recipient: int
    sequence: int
    element_count: int
    exponent: int
    flags: int


def kind_of(
    reduction: Reduction, element_type: ElementType, result_type: ElementType
) -> int:
    """Pack byte 1 of the header."""
    return reduction << 6 | element_type << 3 | result_type


def emit(
    *,
    opcode: Opcode,
    job: int,
    worker: int,
    sequence: int,
    kind: int = 0,
    recipient: int = EVERY_WORKER,
    element_count: int = 0,
    exponent: int = NO_EXPONENT,
    flags: int = 0,
    payload: bytes = b"",
) -> bytes:
    """One packet as bytes. For tools and tests: the data path has kernels for it."""
    values = {
        "format_opcode": FORMAT << 4 | opcode,
        "kind": kind,
        "job": job,
        "worker": worker,
        "recipient": recipient,
        "sequence": sequence & SEQUENCE_MASK,
        "element_count": element_count,
        "exponent": exponent & 0xFF,
        "flags": flags,
    }
    header = b"".join(values[name].to_bytes(size, "big") for name, size, _ in FIELDS)
    return header + payload
