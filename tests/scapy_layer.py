"""The protocol as a scapy layer, for packet-level tests and for dissecting captures.

    Aggregation(opcode="contribute", element_type="int16", job=7, elements=[1, -2])
    IP(packet)                        # UDP to or from the default port is dissected

Scapy is under the GPL: this file belongs to the tests, and no library file imports it.
"""

import struct
from typing import Any

from scapy.fields import (
    BitEnumField,
    BitField,
    FieldLenField,
    FlagsField,
    IntField,
    ShortEnumField,
    ShortField,
    SignedByteField,
    StrField,
)
from scapy.layers.inet import UDP
from scapy.packet import Packet, bind_layers

from switch.protocol import (
    DEFAULT_PORT,
    EVERY_WORKER,
    FORMAT,
    NO_EXPONENT,
    ElementType,
    Flag,
    Opcode,
    Reduction,
)

LANES = {
    ElementType.INT8: "b",
    ElementType.INT16: "h",
    ElementType.INT32: "i",
    ElementType.CODE4: "half",
    ElementType.CODE8: "B",
}


def names(enum: Any) -> dict[int, str]:
    return {code.value: code.name.lower() for code in enum}


class ElementsField(StrField):
    """The payload: a list of integers or codes, or bytes where the header makes no
    sense."""

    islist = 1

    def i2len(self, packet: Packet, elements: Any) -> int:
        return len(self.i2m(packet, elements))

    def i2count(self, packet: Packet, elements: Any) -> int:
        return len(elements or [])

    def i2m(self, packet: Packet, elements: Any) -> bytes:
        if isinstance(elements, bytes):
            return elements
        if packet.lane() == "half":
            return bytes.fromhex("".join(f"{code:x}" for code in elements or []))
        return struct.pack(f">{len(elements or [])}{packet.lane()}", *(elements or []))

    def m2i(self, packet: Packet, payload: bytes) -> Any:
        lane = packet.lane()
        if lane == "half":
            return [code for byte in payload for code in (byte >> 4, byte & 15)]
        if lane is None or len(payload) % struct.calcsize(lane):
            return payload
        count = len(payload) // struct.calcsize(lane)
        return list(struct.unpack(f">{count}{lane}", payload))

    def i2repr(self, packet: Packet, elements: Any) -> str:
        return repr(elements)


class Aggregation(Packet):
    """One packet: the header of 16 bytes and its elements."""

    name = "Aggregation"
    fields_desc = (
        BitField("format", FORMAT, 4),
        BitEnumField("opcode", Opcode.CONTRIBUTE, 4, names(Opcode)),
        BitEnumField("reduction", Reduction.SUM, 2, names(Reduction)),
        BitEnumField("element_type", ElementType.INT8, 3, names(ElementType)),
        BitEnumField("result_type", ElementType.INT8, 3, names(ElementType)),
        ShortField("job", 0),
        ShortField("worker", 0),
        ShortEnumField("recipient", EVERY_WORKER, {EVERY_WORKER: "every_worker"}),
        IntField("sequence", 0),
        FieldLenField("element_count", None, count_of="elements", fmt="H"),
        SignedByteField("exponent", NO_EXPONENT),
        FlagsField("flags", 0, 8, [flag.name.lower() for flag in Flag]),
        ElementsField("elements", []),
    )

    def lane(self) -> str | None:
        """The struct code of one element; None: there is no such type."""
        from_switch = self.opcode in (Opcode.RESULT, Opcode.STATUS)
        return LANES.get(self.result_type if from_switch else self.element_type)


bind_layers(UDP, Aggregation, dport=DEFAULT_PORT)
bind_layers(UDP, Aggregation, sport=DEFAULT_PORT)
