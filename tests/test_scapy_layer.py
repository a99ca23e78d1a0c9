"""The scapy layer and switch.protocol state the same format independently."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import rdpcap, wrpcap
from scapy_layer import Aggregation
from test_protocol import PACKET_BYTES

from switch import protocol
from switch.protocol import (
    DEFAULT_PORT,
    HEADER_BYTES,
    ElementType,
    Opcode,
    Reduction,
)

WIDTHS = {ElementType.INT8: 1, ElementType.INT16: 2, ElementType.INT32: 4}
SHORT = st.integers(0, 2**16 - 1)


def test_build() -> None:
    packet = Aggregation(
        opcode="contribute",
        reduction="sum",
        element_type="int16",
        result_type="int32",
        job=0x0102,
        worker=5,
        recipient=3,
        sequence=0xDEADBEEF,
        exponent=-7,
        flags="clipped",
        elements=[1, -2, 32767],
    )
    assert bytes(packet).hex(" ") == PACKET_BYTES.hex(" ")


def test_dissect() -> None:
    packet = Aggregation(PACKET_BYTES)
    assert packet.opcode == Opcode.CONTRIBUTE
    assert (packet.reduction, packet.element_type, packet.result_type) == (0, 1, 2)
    assert (packet.job, packet.worker, packet.recipient) == (0x0102, 5, 3)
    assert packet.sequence == 0xDEADBEEF
    assert packet.exponent == -7
    assert packet.flags.clipped
    assert not packet.flags.overflow
    assert packet.elements == [1, -2, 32767]


@given(
    opcode=st.sampled_from(Opcode),
    reduction=st.sampled_from(Reduction),
    element_type=st.sampled_from(list(WIDTHS)),
    result_type=st.sampled_from(list(WIDTHS)),
    job=SHORT,
    worker=SHORT,
    recipient=SHORT,
    sequence=st.integers(0, 2**32 - 1),
    exponent=st.integers(-128, 127),
    flags=st.integers(0, 255),
    data=st.data(),
)
def test_agrees_byte_for_byte_with_the_protocol(
    opcode: Opcode,
    reduction: Reduction,
    element_type: ElementType,
    result_type: ElementType,
    data: st.DataObject,
    **fields: int,
) -> None:
    from_switch = opcode in (Opcode.RESULT, Opcode.STATUS)
    width = WIDTHS[result_type if from_switch else element_type]
    limit = 2 ** (8 * width - 1)
    elements = data.draw(st.lists(st.integers(-limit, limit - 1), max_size=5))
    layer = Aggregation(
        opcode=opcode,
        reduction=reduction,
        element_type=element_type,
        result_type=result_type,
        elements=elements,
        **fields,
    )
    packet = protocol.emit(
        opcode=opcode,
        kind=protocol.kind_of(reduction, element_type, result_type),
        element_count=len(elements),
        payload=b"".join(e.to_bytes(width, "big", signed=True) for e in elements),
        **fields,
    )
    assert bytes(layer).hex(" ") == packet.hex(" ")
    assert Aggregation(packet).elements == elements


def rebuilt(packet: bytes) -> bytes:
    layer = Aggregation(packet)
    layer.clear_cache()
    return bytes(layer)


@pytest.mark.parametrize("length", range(HEADER_BYTES, len(PACKET_BYTES) + 3))
def test_a_wrong_length_dissects_and_builds_to_itself(length: int) -> None:
    packet = (PACKET_BYTES + b"\xa5" * 3)[:length]
    assert rebuilt(packet).hex(" ") == packet.hex(" ")


@pytest.mark.parametrize("opcode", [*Opcode, 15])
def test_every_kind_dissects_and_builds_to_itself(opcode: int) -> None:
    for kind in range(256):
        packet = bytes([0x10 | opcode, kind]) + PACKET_BYTES[2:]
        assert rebuilt(packet).hex(" ") == packet.hex(" ")


@pytest.mark.parametrize("ports", [(5001, DEFAULT_PORT), (DEFAULT_PORT, 5001)])
def test_is_found_behind_udp(ports: tuple[int, int]) -> None:
    sport, dport = ports
    whole = IP() / UDP(sport=sport, dport=dport) / Aggregation(PACKET_BYTES)
    assert IP(bytes(whole))[Aggregation].sequence == 0xDEADBEEF


def test_a_capture_can_be_read(tmp_path: object) -> None:
    path = f"{tmp_path}/trace.pcap"
    udp = UDP(sport=5001, dport=DEFAULT_PORT)
    wrpcap(path, [Ether() / IP() / udp / Aggregation(PACKET_BYTES)])
    assert rdpcap(path)[0][Aggregation].elements == [1, -2, 32767]
