"""Bytes to header and back, over the golden packet of test_protocol."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_protocol import PACKET_BYTES

from switch import parser
from switch.protocol import (
    ELEMENT_BYTES,
    HEADER_BYTES,
    ElementType,
    Header,
    Opcode,
    Reduction,
    kind_of,
)

HEADER = Header(
    format=1,
    opcode=0,
    kind=0x0A,
    job=0x0102,
    worker=5,
    recipient=3,
    sequence=0xDEADBEEF,
    element_count=3,
    exponent=-7,
    flags=4,
)
RESERVED = 0xA5  # shows up wherever a byte was not written


def as_array(packet: bytes) -> parser.Bytes:
    return np.frombuffer(packet, np.uint8).copy()


def test_parse() -> None:
    assert parser.parse(as_array(PACKET_BYTES)) == HEADER


def test_emit() -> None:
    buffer = np.full(HEADER_BYTES + 4, RESERVED, np.uint8)
    parser.deparse(buffer, HEADER)
    assert buffer[:HEADER_BYTES].tobytes() == PACKET_BYTES[:HEADER_BYTES]
    assert np.all(buffer[HEADER_BYTES:] == RESERVED)


@given(st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES))
def test_emit_is_the_inverse_of_parse(header: bytes) -> None:
    buffer = np.full(HEADER_BYTES, RESERVED, np.uint8)
    parser.deparse(buffer, parser.parse(as_array(header)))
    assert buffer.tobytes() == header


def test_impossible_length() -> None:
    right = len(PACKET_BYTES)
    assert parser.well_formed(HEADER, right)
    for length in range(3 * right):
        assert parser.well_formed(HEADER, length) == (length == right), length


@pytest.mark.parametrize(("byte", "exponent"), [(0x80, -128), (0xFF, -1), (0x7F, 127)])
def test_exponents_are_signed(byte: int, exponent: int) -> None:
    packet = as_array(PACKET_BYTES)
    packet[14] = byte
    assert parser.parse(packet).exponent == exponent


def test_known_kinds_are_those_that_the_switch_can_reduce() -> None:
    integers = (ElementType.INT8, ElementType.INT16, ElementType.INT32)
    known = {
        kind_of(reduction, element_type, result_type)
        for reduction, element_type, result_type in itertools.product(
            Reduction, integers, integers
        )
        if element_type <= result_type
    }
    known |= {
        kind_of(Reduction.SUM, code, result_type)
        for code in (ElementType.CODE4, ElementType.CODE8)
        for result_type in integers
    }
    assert {kind for kind in range(256) if parser.known_kind(kind)} == known


def test_parts_of_a_kind() -> None:
    kind = kind_of(Reduction.OR, ElementType.INT8, ElementType.INT16)
    assert kind == 0b10_000_001
    assert parser.reduction_of(kind) == Reduction.OR
    assert parser.element_type_of(kind) == ElementType.INT8
    assert parser.result_type_of(kind) == ElementType.INT16


@pytest.mark.parametrize("opcode", list(Opcode))
def test_results_have_the_result_type_and_contributions_the_element_type(
    opcode: Opcode,
) -> None:
    from_switch = opcode in (Opcode.RESULT, Opcode.STATUS)
    lane = ElementType.INT32 if from_switch else ElementType.INT16
    expected = 3 * ELEMENT_BYTES[lane]
    assert parser.payload_bytes(HEADER._replace(opcode=opcode)) == expected


@pytest.mark.parametrize("opcode", list(Opcode))
@pytest.mark.parametrize(("code", "bits"), [("CODE4", 4), ("CODE8", 8)])
def test_codes_travel_up_in_few_bits_and_down_as_integers(
    code: str, bits: int, opcode: Opcode
) -> None:
    kind = kind_of(Reduction.SUM, ElementType[code], ElementType.INT16)
    from_switch = opcode in (Opcode.RESULT, Opcode.STATUS)
    for count in (0, 2, 6, 510):
        header = HEADER._replace(opcode=opcode, kind=kind, element_count=count)
        expected = count * (16 if from_switch else bits) // 8
        assert parser.payload_bytes(header) == expected
        right = parser.HEADER_BYTES + expected
        for length in range(right + 2):
            assert parser.well_formed(header, length) == (length == right)


def test_odd_counts_of_half_bytes_are_malformed() -> None:
    for result_type in (ElementType.INT8, ElementType.INT16, ElementType.INT32):
        kind = kind_of(Reduction.SUM, ElementType.CODE4, result_type)
        for count in (1, 3, 511):
            header = HEADER._replace(kind=kind, element_count=count)
            for length in range(parser.HEADER_BYTES + 2 * count):
                assert not parser.well_formed(header, length)


@pytest.mark.parametrize(
    ("field", "value"),
    [("format", 0), ("format", 2), ("format", 15), ("opcode", 4), ("opcode", 15)],
)
def test_other_formats_and_opcodes_are_malformed(field: str, value: int) -> None:
    length = len(PACKET_BYTES)
    assert not parser.well_formed(HEADER._replace(**{field: value}), length)
