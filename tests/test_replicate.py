"""Packets out: who gets which copy, and what stands in it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from switch import parser
from switch.protocol import (
    EVERY_WORKER,
    FORMAT,
    HEADER_BYTES,
    MAX_WORKERS,
    NO_EXPONENT,
    ElementType,
    Flag,
    Header,
    Opcode,
    Reduction,
    kind_of,
)
from switch.replicate import answer, clear, contribute, multicast, new_copies, replay
from switch.slots import Slot, new_registers
from switch.udp import DESTINATION, LENGTH, couple

RESERVED = 0xA5  # shows up wherever a byte was not written
VALUES = np.array([1, -2, 300_000], np.int32)
KIND = kind_of(Reduction.SUM, ElementType.INT8, ElementType.INT32)
FIRST_ADDRESS = 1000  # of the group: addresses are not ranks
NOBODY, SHARED = -1, 77  # no address that stands for all workers; or this one
BARE_ONES = 3  # results without payload that lie side by side


class Out:
    """Room for packets, and what was put there."""

    def __init__(self) -> None:
        self.copies = new_copies(2 * MAX_WORKERS, BARE_ONES, 1024)
        self.copies.buffer[:] = RESERVED

    def packets(self) -> list[tuple[int, bytes]]:
        """(number of the address, packet) of every copy."""
        buffer, rows, used, bare_bytes = self.copies
        assert np.all(buffer[used[1] :] == RESERVED), "wrote too far"
        assert np.all(buffer[used[3] : bare_bytes] == RESERVED), "wrote too far"
        return [
            (
                int(row.destination),
                buffer[row.offset : row.offset + row.length].tobytes(),
            )
            for row in rows[: used[0]]
        ]


def header_of(packet: bytes) -> Header:
    header = parser.parse(np.frombuffer(packet, np.uint8).copy())
    assert parser.well_formed(header, len(packet))
    return header


def full_slot(recipient: int = EVERY_WORKER, num_workers: int = 3) -> Slot:
    slot = new_registers(1, 16).slots[0]
    slot.sequence, slot.received, slot.final = 12, num_workers, num_workers
    slot.bitmap = (1 << num_workers) - 1
    slot.kind, slot.recipient, slot.element_count = KIND, recipient, VALUES.size
    slot.exponent, slot.flag_bits = -5, int(Flag.OVERFLOW | Flag.CLIPPED)
    return slot


def cause(worker: int = 0, sequence: int = 12) -> Header:
    """The contribution, or the query, that makes the switch speak."""
    return Header(FORMAT, 0, KIND, 7, worker, EVERY_WORKER, sequence, 3, -5, 0)


def group_of(num_workers: int) -> NDArray[np.int64]:
    return np.arange(FIRST_ADDRESS, FIRST_ADDRESS + num_workers)


def send(slot: Slot, num_workers: int, sequence: int = 12) -> list[tuple[int, bytes]]:
    out = Out()
    multicast(
        slot, VALUES.view(np.uint8), cause(0, sequence), int(slot.recipient),
        group_of(num_workers), NOBODY, out.copies,
    )  # fmt: skip
    return out.packets()


@pytest.mark.parametrize("num_workers", [1, 2, 3, MAX_WORKERS])
def test_a_result_for_everybody(num_workers: int) -> None:
    packets = send(full_slot(num_workers=num_workers), num_workers)
    assert [number for number, _ in packets] == group_of(num_workers).tolist()
    assert len({packet for _, packet in packets}) == 1
    packet = packets[0][1]
    assert header_of(packet) == Header(
        format=FORMAT,
        opcode=int(Opcode.RESULT),
        kind=KIND,
        job=7,
        worker=num_workers,
        recipient=EVERY_WORKER,
        sequence=12,
        element_count=3,
        exponent=-5,
        flags=int(Flag.OVERFLOW | Flag.CLIPPED),
    )
    assert packet[HEADER_BYTES:] == VALUES.astype(">i4").tobytes()


@pytest.mark.parametrize("num_workers", [1, 2, 3, MAX_WORKERS])
def test_a_result_for_one_of_them(num_workers: int) -> None:
    for recipient in {0, num_workers // 2, num_workers - 1}:
        packets = send(full_slot(recipient, num_workers), num_workers)
        assert [number for number, _ in packets] == group_of(num_workers).tolist()
        for worker, (_, packet) in enumerate(packets):
            header = header_of(packet)
            assert header.recipient == recipient
            assert header.worker == num_workers
            assert header.element_count == (3 if worker == recipient else 0)
            payload = VALUES.astype(">i4").tobytes() if worker == recipient else b""
            assert packet[HEADER_BYTES:] == payload


def results_for_one(count: int) -> Out:
    """So many results, for the second of three workers, whose numbers are 0 to 2."""
    out, values = Out(), VALUES.view(np.uint8)
    for sequence in range(count):
        of = cause(0, sequence)
        multicast(full_slot(1), values, of, 1, np.arange(3), NOBODY, out.copies)
    return out


def test_results_for_one_of_them_travel_in_trains() -> None:
    """Those with a payload lie side by side, and so do those without."""
    out = results_for_one(BARE_ONES)
    trains = np.zeros((3 * BARE_ONES, 4), np.int64)
    count = couple(
        out.copies.rows, out.copies.used[0], 64, np.zeros(3, np.int64), trains
    )
    lengths = {int(row[DESTINATION]): int(row[LENGTH]) for row in trains[:count]}
    bare, full = BARE_ONES * HEADER_BYTES, BARE_ONES * (HEADER_BYTES + VALUES.nbytes)
    assert (count, lengths) == (3, {0: bare, 1: full, 2: bare})


def test_results_without_payload_go_elsewhere_when_there_is_no_room_in_front() -> None:
    packets = results_for_one(BARE_ONES + 2).packets()
    for worker in range(3):
        own = [header_of(packet) for number, packet in packets if number == worker]
        assert [header.sequence for header in own] == list(range(BARE_ONES + 2))
        assert {header.element_count for header in own} == {3 if worker == 1 else 0}


def test_what_is_sent_makes_room_in_front_too() -> None:
    out = results_for_one(BARE_ONES + 2).copies
    clear(out)
    assert out.used.tolist() == [0, out.bare_bytes, 0, 0]


def test_the_copies_of_a_multicast_share_their_bytes() -> None:
    for recipient, parts in ((EVERY_WORKER, 1), (63, 2)):
        out = Out()
        slot = full_slot(recipient, MAX_WORKERS)
        group = group_of(MAX_WORKERS)
        multicast(
            slot, VALUES.view(np.uint8), cause(), recipient, group, NOBODY, out.copies
        )
        assert len(set(out.copies.rows.offset[:MAX_WORKERS].tolist())) == parts
        full = HEADER_BYTES + VALUES.nbytes
        assert out.copies.used[1] == out.copies.bare_bytes + full
        assert out.copies.used[3] == (parts - 1) * HEADER_BYTES


@pytest.mark.parametrize("num_workers", [1, 3, MAX_WORKERS])
def test_one_packet_to_an_address_that_stands_for_all(num_workers: int) -> None:
    out, slot = Out(), full_slot(num_workers=num_workers)
    group = group_of(num_workers)
    multicast(
        slot, VALUES.view(np.uint8), cause(), EVERY_WORKER, group, SHARED, out.copies
    )
    [(number, packet)] = out.packets()
    assert number == SHARED
    assert packet == send(slot, num_workers)[0][1]
    assert out.copies.used[2] == num_workers, "copies"


def test_who_is_not_the_recipient_gets_a_packet_of_its_own() -> None:
    out, slot = Out(), full_slot(recipient=1)
    multicast(slot, VALUES.view(np.uint8), cause(), 1, group_of(3), SHARED, out.copies)
    assert out.packets() == send(slot, 3)
    assert out.copies.used[2] == 3


def test_a_result_carries_the_sequence_of_its_cause() -> None:
    """Which differs from the one held under `switchml` alone."""
    (_, packet), *_ = send(full_slot(), 3, sequence=2**32 - 1)
    assert header_of(packet).sequence == 2**32 - 1


def test_a_result_without_payload() -> None:
    slot = full_slot()
    slot.element_count = 0
    for _, packet in send(slot, 3):
        assert header_of(packet).element_count == 0
        assert len(packet) == HEADER_BYTES


@pytest.mark.parametrize(
    ("element_type", "wire"),
    [
        (ElementType.INT8, b"\x01\xfe\x7f"),
        (ElementType.INT16, b"\x00\x01\xff\xfe\x00\x7f"),
        (ElementType.INT32, b"\0\0\0\x01\xff\xff\xff\xfe\0\0\0\x7f"),
    ],
)
def test_payloads_have_the_result_type(element_type: ElementType, wire: bytes) -> None:
    slot = full_slot()
    slot.kind = kind_of(Reduction.MAX, ElementType.INT8, element_type)
    values = np.array([1, -2, 127], f"i{1 << element_type}").view(np.uint8)
    out = Out()
    multicast(slot, values, cause(), EVERY_WORKER, group_of(1), NOBODY, out.copies)
    [(_, packet)] = out.packets()
    assert packet[HEADER_BYTES:] == wire


@pytest.mark.parametrize("recipient", [EVERY_WORKER, 0, 1])
@pytest.mark.parametrize("worker", [0, 1, 2])
def test_a_replay_goes_to_one_and_obeys_the_recipient(
    recipient: int, worker: int
) -> None:
    slot, out = full_slot(recipient), Out()
    gets_it = recipient in (EVERY_WORKER, worker)
    replay(slot, VALUES.view(np.uint8), cause(worker), gets_it, 55, out.copies)
    [(number, packet)] = out.packets()
    assert number == 55
    header = header_of(packet)
    assert header.element_count == (3 if gets_it else 0)
    assert header.recipient == recipient
    assert header.flags == Flag.OVERFLOW | Flag.CLIPPED | Flag.REPEATED
    # but for the flag, it is what the multicast was
    first = header_of(send(full_slot(recipient), 3)[worker][1])
    assert header == first._replace(flags=first.flags | Flag.REPEATED)
    assert int(slot.flag_bits) == Flag.OVERFLOW | Flag.CLIPPED, "of the replay alone"


def test_a_recipient_is_a_child_by_its_bit() -> None:
    """The slot has a rank, and results say it; whom it leads to is told by tables."""
    out, slot = Out(), full_slot(recipient=40)
    group = group_of(3)
    multicast(slot, VALUES.view(np.uint8), cause(), 2, group, NOBODY, out.copies)
    headers = [header_of(packet) for _, packet in out.packets()]
    assert [header.element_count for header in headers] == [0, 0, 3]
    assert {header.recipient for header in headers} == {40}


def test_a_switch_contributes_what_its_slot_holds() -> None:
    out, slot = Out(), full_slot(recipient=1)
    slot.received, slot.final = 5, 0
    values = VALUES.view(np.uint8)
    contribute(slot, values, 7, 55, int(Flag.REPEATED), out.copies)
    [(number, packet)] = out.packets()
    assert number == 55
    assert header_of(packet) == Header(
        format=FORMAT,
        opcode=int(Opcode.CONTRIBUTE),
        kind=kind_of(Reduction.SUM, ElementType.INT32, ElementType.INT32),
        job=7,
        worker=5,
        recipient=1,
        sequence=12,
        element_count=3,
        exponent=-5,
        flags=int(Flag.OVERFLOW | Flag.REPEATED | Flag.CLIPPED),
    )
    assert packet[HEADER_BYTES:] == VALUES.astype(">i4").tobytes()


@settings(deadline=None)
@given(st.integers(1, 2**64 - 1))
def test_a_status_tells_what_is_held(bitmap: int) -> None:
    slot, out = full_slot(), Out()
    slot.bitmap, slot.received = bitmap, bitmap.bit_count()
    answer(slot, cause(1, sequence=99), 55, 0, out.copies)
    [(number, packet)] = out.packets()
    assert number == 55
    assert header_of(packet) == Header(
        format=FORMAT,
        opcode=int(Opcode.STATUS),
        kind=0,
        job=7,
        worker=bitmap.bit_count(),
        recipient=EVERY_WORKER,
        sequence=12,
        element_count=8,
        exponent=NO_EXPONENT,
        flags=0,
    )
    assert packet[HEADER_BYTES:] == bitmap.to_bytes(8, "big")


def test_a_slot_that_holds_nothing_answers_with_the_query_s_sequence() -> None:
    out = Out()
    answer(new_registers(1, 16).slots[0], cause(1, sequence=99), 55, 0, out.copies)
    [(_, packet)] = out.packets()
    header = header_of(packet)
    assert (header.sequence, header.worker) == (99, 0)
    assert packet[HEADER_BYTES:] == bytes(8)


def test_packets_follow_each_other() -> None:
    out = Out()
    answer(full_slot(), cause(), 1, 0, out.copies)
    replay(full_slot(), VALUES.view(np.uint8), cause(), True, 2, out.copies)
    values, group = VALUES.view(np.uint8), group_of(2)
    multicast(full_slot(), values, cause(), EVERY_WORKER, group, NOBODY, out.copies)
    packets = out.packets()
    assert [number for number, _ in packets] == [1, 2, *group_of(2)]
    opcodes = [header_of(packet).opcode for _, packet in packets]
    assert opcodes == [Opcode.STATUS, Opcode.RESULT, Opcode.RESULT, Opcode.RESULT]
