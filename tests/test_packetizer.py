"""Arrays to packets and back, chunk by chunk."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from host import window as win
from host.packetizer import (
    ArrayStream,
    Barrier,
    Contributions,
    Results,
    Stream,
    assemble,
    assemble_queries,
    make_ready,
    new_contributions,
)
from host.segments import Segments
from switch import parser
from switch.protocol import (
    EVERY_WORKER,
    FORMAT,
    HEADER_BYTES,
    NO_EXPONENT,
    SEQUENCE_MASK,
    ElementType,
    Flag,
    Header,
    Opcode,
    Reduction,
    kind_of,
)
from switch.udp import PACKET

SLOT_BYTES = 32
DTYPES = (np.int8, np.int16, np.int32)
WIDENINGS = [(a, b) for a in DTYPES for b in DTYPES if a().itemsize <= b().itemsize]
RESERVED = 0xA5  # shows up wherever a byte was not written


def filled(stream: Stream, chunks: list[int]) -> Contributions:
    """What the stream writes for these chunks, over rubbish."""
    count = stream.elements_per_chunk
    width = parser.bytes_of(count, parser.element_type_of(stream.kind))
    room = new_contributions(len(chunks) + 1, width)
    room.packets[:] = RESERVED
    make_ready(room, len(chunks), count)
    stream.fill(np.array(chunks, np.int64), room)
    assert np.all(room.packets[-1] == RESERVED), "wrote too far"
    assert np.all(room.packets[:, :HEADER_BYTES] == RESERVED), "wrote into headers"
    return Contributions(*(field[: len(chunks)] for field in room))


def results_of(payloads: list[bytes], counts: list[int]) -> Results:
    """As they come from a socket: a header before each, at odd offsets."""
    gap = b"\xa5" * (HEADER_BYTES + 1)
    buffer = b"".join(gap + payload for payload in payloads)
    lengths = np.array([len(gap) + len(payload) for payload in payloads], np.int64)
    at = lengths.cumsum() - lengths + len(gap)
    zeros = np.zeros((3, len(payloads)), np.int64)
    return Results(
        np.frombuffer(buffer, np.uint8).copy(), at, np.array(counts, np.int64), *zeros
    )


def wire(values: NDArray[Any]) -> bytes:
    return values.astype(values.dtype.newbyteorder(">")).tobytes()


def some_values(size: int, dtype: Any) -> NDArray[Any]:
    random = np.random.default_rng(size)
    return np.frombuffer(random.bytes(size * np.dtype(dtype).itemsize), dtype).copy()


def sizes_around_chunks(result_type: Any) -> list[int]:
    full = SLOT_BYTES // np.dtype(result_type).itemsize
    around = {chunks * full + d for chunks in (0, 1, 2, 5) for d in (-1, 0, 1)}
    return sorted(size for size in {*around, 0, 1} if size >= 0)


@pytest.mark.parametrize(("element", "result"), WIDENINGS)
@pytest.mark.parametrize("reduction", list(Reduction))
def test_chunks_are_the_array_in_order_then_the_identity(
    element: Any, result: Any, reduction: Reduction
) -> None:
    identity = np.iinfo(element).min if reduction == Reduction.MAX else 0
    for size in sizes_around_chunks(result):
        values = some_values(size, element)
        stream = ArrayStream(values, np.zeros(size, result), reduction, SLOT_BYTES)
        full = SLOT_BYTES // np.dtype(result).itemsize
        assert stream.elements_per_chunk == full
        assert stream.num_chunks == -(-size // full)
        padded = np.full(stream.num_chunks * full, identity, element)
        padded[:size] = values
        some = filled(stream, list(range(stream.num_chunks)))
        assert some.payload.tobytes() == wire(padded)
        assert some.element_count.tolist() == [full] * stream.num_chunks
        for chunk in reversed(range(stream.num_chunks)):  # alone, in another row
            again = filled(stream, [chunk])
            np.testing.assert_array_equal(again.payload[0], some.payload[chunk])


@pytest.mark.parametrize("reduction", list(Reduction))
def test_padding_changes_no_result(reduction: Reduction) -> None:
    """Reduced with anything, it is that; so nothing overflows in it either."""
    stream = ArrayStream(
        np.ones(1, np.int8), np.zeros(1, np.int8), reduction, SLOT_BYTES
    )
    padding = filled(stream, [0]).payload[0, 1:].view(np.int8)
    operation = {
        Reduction.SUM: np.add,
        Reduction.MAX: np.maximum,
        Reduction.OR: np.bitwise_or,
    }[reduction]
    for value in (-128, -1, 0, 127):
        anything = np.full_like(padding, value)
        np.testing.assert_array_equal(operation(anything, padding), anything)


@pytest.mark.parametrize("element", DTYPES)
def test_widening_pads_with_the_lowest_element(element: Any) -> None:
    """Sign-extended, it is the lowest that a max of such elements can meet."""
    values = np.array([5], element)
    stream = ArrayStream(values, np.zeros(1, np.int32), Reduction.MAX, SLOT_BYTES)
    lanes = filled(stream, [0]).payload.view(np.dtype(element).newbyteorder(">"))
    assert lanes[0].tolist() == [5] + [np.iinfo(element).min] * 7


@pytest.mark.parametrize(("element", "result"), WIDENINGS)
def test_results_go_where_their_chunks_belong(element: Any, result: Any) -> None:
    for size in sizes_around_chunks(result):
        expected = some_values(size, result)
        guarded = np.full(size + 8, 0x55, result)
        out = guarded[:size]
        values = np.zeros(size, element)
        stream = ArrayStream(values, out, Reduction.SUM, SLOT_BYTES)
        full = stream.elements_per_chunk
        padded = np.full(stream.num_chunks * full, -1, result)
        padded[:size] = expected
        order = np.random.default_rng(size).permutation(stream.num_chunks)
        for some in np.array_split(order, 2):
            if some.size:
                rows = [wire(padded[c * full : (c + 1) * full]) for c in some]
                stream.drain(some, results_of(rows, [full] * some.size))
        np.testing.assert_array_equal(out, expected)
        assert np.all(guarded[size:] == 0x55), "padding was written"


def test_what_nobody_sent_stays_as_it_is() -> None:
    out = np.arange(24, dtype=np.int32)
    stream = ArrayStream(np.zeros(24, np.int32), out, Reduction.SUM, SLOT_BYTES)
    rows = [b"", wire(np.full(8, 7, np.int32)), b""]
    stream.drain(np.array([0, 2, 1]), results_of(rows, [0, 8, 0]))
    assert out.tolist() == [*range(16), *[7] * 8]


def test_flags_of_all_results_are_joined() -> None:
    stream = ArrayStream(
        np.zeros(32, np.int8), np.zeros(32, np.int8), Reduction.SUM, SLOT_BYTES
    )
    results = results_of([b"", b"", b""], [0, 0, 0])
    results.flags[:] = [0, Flag.CLIPPED, 0]
    stream.drain(np.array([0, 1, 2]), results)
    assert stream.flags == Flag.CLIPPED
    results.flags[:] = [Flag.OVERFLOW, 0, 0]
    stream.drain(np.array([0, 1, 2]), results)
    assert stream.flags == Flag.OVERFLOW | Flag.CLIPPED


@settings(deadline=None)
@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 31))
def test_only_owned_chunks_have_payloads(first: int, count: int, short: int) -> None:
    """A segment of an all-gather: this worker's values begin at its first chunk."""
    out = np.zeros(12 * SLOT_BYTES, np.int8)
    values = some_values(max(0, count * SLOT_BYTES - short), np.int8)
    owned = (first, first + count)
    stream = ArrayStream(values, out, Reduction.OR, SLOT_BYTES, owned)
    some = filled(stream, list(range(12)))
    sent = b""
    for chunk, row in enumerate(some.payload):
        if first <= chunk < first + count:
            assert some.element_count[chunk] == SLOT_BYTES
            sent += row.tobytes()
        else:
            assert some.element_count[chunk] == 0
    assert sent == values.tobytes().ljust(count * SLOT_BYTES, b"\0")


def test_parts_keep_to_themselves_in_any_order() -> None:
    """Parts of one chunk and a half: neither what is sent nor what comes goes beyond
    the end of one, into the next."""
    parts = Segments(3, 12, 8)
    values, out = np.arange(36, dtype=np.int32), np.zeros(36, np.int32)
    stream = ArrayStream(values, out, Reduction.MAX, SLOT_BYTES, parts=parts)
    assert stream.num_chunks == 6
    lowest = np.full((3, 4), np.iinfo(np.int32).min, np.int32)
    padded = np.concatenate([values.reshape(3, 12), lowest], axis=1)
    some = filled(stream, list(range(6)))
    assert some.payload.tobytes() == wire(padded)
    backward = [5, 4, 3, 2, 1, 0]
    rows = [row.tobytes() for row in some.payload[backward]]
    stream.drain(np.array(backward), results_of(rows, [8] * 6))
    np.testing.assert_array_equal(out, values)


def test_who_owns_nothing_sends_nothing() -> None:
    stream = ArrayStream(
        np.ones(40, np.int8), np.zeros(40, np.int8), Reduction.OR, SLOT_BYTES, (0, 0)
    )
    assert filled(stream, [0, 1]).element_count.tolist() == [0, 0]


def test_a_barrier_is_one_empty_chunk() -> None:
    some = filled(Barrier(), [0])
    assert Barrier().num_chunks == 1
    assert some.element_count.tolist() == [0]
    assert parser.known_kind(Barrier().kind)


@settings(deadline=None)
@given(st.sampled_from(WIDENINGS), st.integers(1, 40), st.lists(st.integers(0, 99)))
def test_a_refill_gives_equal_bytes(
    types: tuple[Any, Any], size: int, picks: list[int]
) -> None:
    element, result = types
    stream = ArrayStream(
        some_values(size, element), np.zeros(size, result), Reduction.MAX, SLOT_BYTES
    )
    chunks = [pick % stream.num_chunks for pick in picks]
    once, again = filled(stream, chunks), filled(stream, chunks)
    for field, other in zip(once, again, strict=True):
        np.testing.assert_array_equal(field, other)


# packets


def window_of(first: int = 0, kind: int = 0) -> Any:
    state = win.new_state(num_slots=8, limit=8, job=513, worker=6, num_workers=9)
    state.window.first = first
    state.window.kind = kind
    return state.window


def cut(buffer: NDArray[np.uint8], packets: Any) -> list[bytes]:
    assert np.all(packets.destination == 0)
    return [buffer[p.offset : p.offset + p.length].tobytes() for p in packets]


def parsed(packet: bytes) -> Header:
    header = parser.parse(np.frombuffer(packet, np.uint8).copy())
    assert parser.well_formed(header, len(packet))
    return header


def packets_of(some: Contributions, kind: int, chunks: list[int], repeated: list[int],
               first: int) -> list[bytes]:  # fmt: skip
    size = some.packets.size
    buffer = np.full(size + 64, RESERVED, np.uint8)
    buffer[:size] = some.packets.reshape(-1)
    some = some._replace(packets=buffer[:size].reshape(some.packets.shape))
    packets = np.zeros(len(chunks), PACKET).view(np.recarray)
    packets.destination = 9
    assemble(
        window_of(first, kind),
        np.array(chunks, np.int64),
        np.array(repeated, np.int64),
        some,
        parser.element_type_of(kind),
        buffer,
        packets,
    )
    found = cut(buffer, packets)
    end = sum(len(packet) for packet in found)
    assert b"".join(found) == buffer[:end].tobytes(), "one packet after the other"
    assert np.all(buffer[max(size, end) :] == RESERVED), "wrote too far"
    return found


def test_headers_parse_back() -> None:
    kind = kind_of(Reduction.SUM, ElementType.INT16, ElementType.INT32)
    some = new_contributions(3, 16)
    make_ready(some, 3, 8)
    some.payload[:] = np.arange(48).reshape(3, 16)
    some.element_count[1] = 0
    some.recipient[2] = 4
    some.exponent[:] = [-128, -1, 127]
    some.flags[:] = [0, Flag.CLIPPED, Flag.CLIPPED]
    first = SEQUENCE_MASK  # the next wraps around
    found = packets_of(some, kind, [0, 1, 5], [0, 0, 1], first)
    common = {"format": FORMAT, "opcode": 0, "kind": kind, "job": 513, "worker": 6}
    varying = [
        (EVERY_WORKER, SEQUENCE_MASK, 8, -128, 0),
        (EVERY_WORKER, 0, 0, -1, Flag.CLIPPED),
        (4, 4, 8, 127, Flag.CLIPPED | Flag.REPEATED),
    ]
    names = ("recipient", "sequence", "element_count", "exponent", "flags")
    for packet, values in zip(found, varying, strict=True):
        assert parsed(packet) == Header(
            **common, **dict(zip(names, values, strict=True))
        )
    assert found[0][HEADER_BYTES:] == bytes(range(16))
    assert found[1][HEADER_BYTES:] == b""
    assert found[2][HEADER_BYTES:] == bytes(range(32, 48))


def test_repeating_changes_the_flag_alone() -> None:
    values = some_values(8, np.int32)
    stream = ArrayStream(values, np.zeros_like(values), Reduction.SUM, SLOT_BYTES)
    [once] = packets_of(filled(stream, [0]), stream.kind, [0], [0], 3)
    [again] = packets_of(filled(stream, [0]), stream.kind, [0], [1], 3)
    assert parsed(once).flags == 0
    assert parsed(again) == parsed(once)._replace(flags=int(Flag.REPEATED))
    assert again[HEADER_BYTES:] == once[HEADER_BYTES:] == wire(values)


def test_queries() -> None:
    buffer = np.full(100, RESERVED, np.uint8)
    packets = np.zeros(2, PACKET).view(np.recarray)
    chunks = np.array([3, 0])
    assemble_queries(window_of(SEQUENCE_MASK - 1), chunks, buffer, packets)
    found = cut(buffer, packets)
    assert [parsed(packet).sequence for packet in found] == [1, SEQUENCE_MASK - 1]
    assert parsed(found[0]) == Header(
        format=FORMAT,
        opcode=int(Opcode.QUERY),
        kind=0,
        job=513,
        worker=6,
        recipient=EVERY_WORKER,
        sequence=1,
        element_count=0,
        exponent=NO_EXPONENT,
        flags=0,
    )


def test_rows_start_as_a_stream_expects_them() -> None:
    room = new_contributions(4, 20)
    assert room.payload.shape == (4, 20)
    for field in room[1:]:
        field[:] = 77  # of the batch before
    make_ready(room, 3, 5)
    fields = [set(field[:3].tolist()) for field in room[1:]]
    assert fields == [{5}, {EVERY_WORKER}, {NO_EXPONENT}, {0}]
    assert all(field[3] == 77 for field in room[1:])
