"""How what a switch sent differs from what a script expects: packet, field, values."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from intswitch.conformance.script import Datagram
from switch.config import Address
from switch.protocol import (
    ELEMENT_BYTES,
    FIELDS,
    HEADER_BYTES,
    OFFSET,
    ElementType,
    Flag,
    Opcode,
    Reduction,
)

LANES = "bhi"  # struct codes of int8, int16, int32
SHOWN_ELEMENTS = 3  # that differ; the others are counted


@dataclass(frozen=True)
class Difference:
    """The first packet that is not as expected, to the first receiver of one."""

    receiver: Address
    place: int
    """Counted from 1, among the packets to this receiver."""
    expected: bytes | None
    received: bytes | None
    """None: no packet."""

    def fields(self) -> list[str]:
        """What differs, a field a line. Nothing where one of the two is missing."""
        if self.expected is None or self.received is None:
            return []
        return list(differing(self.expected, self.received))


def first_difference(
    expected: list[Datagram], received: list[Datagram]
) -> Difference | None:
    """Receiver by receiver: packets to different ones have no order among them."""
    for receiver in dict.fromkeys(address for _, address in [*expected, *received]):
        pairs = itertools.zip_longest(
            [packet for packet, address in expected if address == receiver],
            [packet for packet, address in received if address == receiver],
        )
        for place, (wanted, came) in enumerate(pairs, 1):
            if wanted != came:
                return Difference(receiver, place, wanted, came)
    return None


def hexed(packet: bytes) -> str:
    """Base 16, a space between two fields, two before the elements."""
    if len(packet) < HEADER_BYTES:
        return packet.hex(" ") or "(empty)"
    ends = [*OFFSET.values(), HEADER_BYTES]
    header = [packet[a:b].hex() for a, b in itertools.pairwise(ends)]
    width = lane_bytes(packet)
    payload = (
        packet[HEADER_BYTES:].hex(" ", -width) if len(packet) > HEADER_BYTES else ""
    )
    return f"{' '.join(header)}  {payload}".rstrip()


def differing(expected: bytes, received: bytes) -> Iterator[str]:
    if min(len(expected), len(received)) < HEADER_BYTES:
        yield f"length: expected {len(expected)} bytes, received {len(received)}"
        return
    for name, size, _ in FIELDS:
        at = OFFSET[name]
        pair = [packet[at : at + size] for packet in (expected, received)]
        if pair[0] != pair[1]:
            yield from field_text(name, *(int.from_bytes(each, "big") for each in pair))
    yield from payload_text(expected, received)


def field_text(name: str, expected: int, received: int) -> Iterator[str]:
    if name == "format_opcode":
        if expected >> 4 != received >> 4:
            yield pair("format", str(expected >> 4), str(received >> 4))
        if expected & 15 != received & 15:
            yield pair(
                "opcode", *(opcode_text(each & 15) for each in (expected, received))
            )
    elif name == "kind":
        yield pair(name, kind_text(expected), kind_text(received))
    elif name == "exponent":
        yield pair(name, *(str((each ^ 0x80) - 0x80) for each in (expected, received)))
    elif name == "flags":
        yield pair(name, flags_text(expected), flags_text(received))
    else:
        yield pair(name, str(expected), str(received))


def pair(name: str, expected: str, received: str) -> str:
    return f"{name}: expected {expected}, received {received}"


def opcode_text(code: int) -> str:
    known = code in list(Opcode)
    return f"{code} ({Opcode(code).name.lower()})" if known else str(code)


def kind_text(kind: int) -> str:
    reduction, element, result = kind >> 6, kind >> 3 & 7, kind & 7
    words = f"{kind:#04x}"
    if reduction in list(Reduction) and max(element, result) in list(ElementType):
        types = (ElementType(each).name.lower() for each in (element, result))
        words += f" ({Reduction(reduction).name.lower()} {'>'.join(types)})"
    return words


def flags_text(flags: int) -> str:
    names = [flag.name.lower() for flag in Flag if flags & flag and flag.name]
    return f"{flags} ({'+'.join(names)})" if names else str(flags)


def payload_text(expected: bytes, received: bytes) -> Iterator[str]:
    ours, theirs = expected[HEADER_BYTES:], received[HEADER_BYTES:]
    if ours == theirs:
        return
    if len(ours) != len(theirs):
        yield f"payload: expected {len(ours)} bytes, received {len(theirs)}"
        return
    width = lane_bytes(expected)
    if expected[0] & 15 == Opcode.STATUS or len(ours) % width:
        yield pair("payload", ours.hex(), theirs.hex())
        return
    form = f">{len(ours) // width}{LANES[ELEMENT_BYTES.index(width)]}"
    elements = zip(struct.unpack(form, ours), struct.unpack(form, theirs), strict=True)
    wrong = [(number, *two) for number, two in enumerate(elements) if two[0] != two[1]]
    for number, wanted, came in wrong[:SHOWN_ELEMENTS]:
        yield pair(f"element {number}", str(wanted), str(came))
    if len(wrong) > SHOWN_ELEMENTS:
        yield f"... and {len(wrong) - SHOWN_ELEMENTS} more elements"


def lane_bytes(packet: bytes) -> int:
    """Width of the elements that a switch sends; 1 for a result type that is none."""
    lane = packet[1] & 7
    return ELEMENT_BYTES[lane] if lane < len(ELEMENT_BYTES) else 1
