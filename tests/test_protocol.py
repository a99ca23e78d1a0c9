"""The wire format, byte by byte, over one golden packet."""

import pytest

from switch import protocol
from switch.protocol import (
    EVERY_WORKER,
    HEADER_BYTES,
    OFFSET,
    DropReason,
    ElementType,
    Flag,
    Opcode,
    Reduction,
)

# A contribution of worker 5 to job 0x0102: sum of int16 into int32, recipient 3,
# sequence 0xDEADBEEF, three elements, exponent -7, clipped.
PACKET_BYTES = bytes.fromhex(
    "10 0a 0102 0005 0003 deadbeef 0003 f9 04"  # header
    "0001 fffe 7fff"  # 1, -2, 32767
)
FIELDS = {
    "format_opcode": 0x10,
    "kind": 0x0A,
    "job": 0x0102,
    "worker": 5,
    "recipient": 3,
    "sequence": 0xDEADBEEF,
    "element_count": 3,
    "exponent": 0xF9,
    "flags": 4,
}


def test_offsets_are_those_of_the_documented_table() -> None:
    assert OFFSET == {
        "format_opcode": 0,
        "kind": 1,
        "job": 2,
        "worker": 4,
        "recipient": 6,
        "sequence": 8,
        "element_count": 12,
        "exponent": 14,
        "flags": 15,
    }
    assert HEADER_BYTES == 16


def test_every_offset_has_its_name_for_kernels() -> None:
    for name, offset in OFFSET.items():
        assert getattr(protocol, f"AT_{name.upper()}") == offset


def test_deconstruct() -> None:
    for name, size, _ in protocol.FIELDS:
        at = OFFSET[name]
        assert int.from_bytes(PACKET_BYTES[at : at + size], "big") == FIELDS[name], name


def test_construct() -> None:
    packet = protocol.emit(
        opcode=Opcode.CONTRIBUTE,
        kind=protocol.kind_of(Reduction.SUM, ElementType.INT16, ElementType.INT32),
        job=0x0102,
        worker=5,
        recipient=3,
        sequence=0xDEADBEEF,
        element_count=3,
        exponent=-7,
        flags=Flag.CLIPPED,
        payload=PACKET_BYTES[HEADER_BYTES:],
    )
    assert packet.hex(" ") == PACKET_BYTES.hex(" ")


def test_a_bare_packet_goes_to_every_worker_and_has_no_exponent() -> None:
    packet = protocol.emit(opcode=Opcode.QUERY, job=7, worker=1, sequence=2)
    assert packet.hex(" ", 2) == "1200 0007 0001 ffff 0000 0002 0000 8000"


def test_sequences_wrap() -> None:
    packet = protocol.emit(opcode=Opcode.QUERY, job=7, worker=0, sequence=2**32 + 5)
    assert packet[8:12] == bytes([0, 0, 0, 5])


@pytest.mark.parametrize("field", ["job", "worker", "recipient", "element_count"])
def test_impossible_values_are_refused(field: str) -> None:
    fields = {"opcode": Opcode.QUERY, "job": 7, "worker": 0, "sequence": 0}
    with pytest.raises(OverflowError):
        protocol.emit(**{**fields, field: 2**16})  # type: ignore[arg-type]


def test_codes_are_those_of_the_documented_table() -> None:
    assert [(code.name, code.value) for code in Opcode] == [
        ("CONTRIBUTE", 0),
        ("RESULT", 1),
        ("QUERY", 2),
        ("STATUS", 3),
    ]
    assert [code.name for code in Reduction] == ["SUM", "MAX", "OR"]
    assert [code.name for code in ElementType] == [
        "INT8",
        "INT16",
        "INT32",
        "CODE4",
        "CODE8",
    ]
    assert {flag.name: flag.value for flag in Flag} == {
        "OVERFLOW": 1,
        "REPEATED": 2,
        "CLIPPED": 4,
        "FINAL": 8,
    }
    assert EVERY_WORKER == 0xFFFF
    assert protocol.NO_EXPONENT == -128


def test_drop_reasons_stand_in_the_order_of_the_checks() -> None:
    assert [reason.name.lower() for reason in DropReason] == [
        "malformed",
        "unknown_job",
        "unknown_source",
        "opcode",
        "ahead",
        "stale",
        "mismatch",
        "duplicate",
    ]
