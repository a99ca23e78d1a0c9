"""Trains on paper: every packet exactly once. Over sockets: test_messages.py."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switch import udp
from switch.udp import (
    MAX_ROWS,
    MAX_SEGMENTS,
    MAX_TRAIN_BYTES,
    PACKET,
    Rows,
    couple,
    open_socket,
    split,
)

DESTINATIONS = 3

Packet = tuple[int, int, int]  # offset, length, destination


# split


def split_rows(datagrams: list[tuple[int, int, int, int]]) -> list[Packet]:
    """(offset, length, source) of the packets in [offset, bytes, segment, source]."""
    starts = np.array(datagrams, np.int64).reshape(-1, 4)
    rows = Rows(
        np.zeros(0, np.uint8), *(np.full(MAX_ROWS, -7, np.int64) for _ in range(3))
    )
    count = split(starts, len(datagrams), rows)
    fields = (rows.offset, rows.length, rows.source)
    assert all(np.all(field[count:] == -7) for field in fields), "wrote too far"
    columns = (field[:count].tolist() for field in fields)
    return list(zip(*columns, strict=True))


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3000), st.integers(1, 1500), st.integers(-1, 5)),
        max_size=16,
    )
)
def test_split_cuts_datagrams_at_their_segments(
    datagrams: list[tuple[int, int, int]],
) -> None:
    starts, expected = [], []
    for i, (size, segment, source) in enumerate(datagrams):
        begin = i * udp.DATAGRAM_BYTES
        starts.append((begin, size, segment, source))
        cuts = range(0, size, segment) if size else [0]
        expected += [(begin + cut, min(segment, size - cut), source) for cut in cuts]
    assert split_rows(starts) == expected[:MAX_ROWS]


def test_split_leaves_what_is_no_train_alone() -> None:
    starts = [(0, 40, 40, 1), (65536, 0, 0, 2), (131072, 10, 1400, 3)]
    assert split_rows(starts) == [(0, 40, 1), (65536, 0, 2), (131072, 10, 3)]


def test_split_never_writes_past_its_rows() -> None:
    starts = [(i * 65536, 65000, 1, 0) for i in range(16)]
    assert len(split_rows(starts)) == MAX_ROWS


# couple


def coupled(packets: list[Packet]) -> list[tuple[int, int, int, int]]:
    rows = np.zeros(max(len(packets), 1), PACKET).view(np.recarray)
    rows[: len(packets)] = packets
    trains = np.full((max(len(packets), 1), 4), -7, np.int64)
    open_train = np.full(DESTINATIONS, 99, np.int64)  # left over from another batch
    count = couple(rows, len(packets), MAX_SEGMENTS, open_train, trains)
    assert np.all(trains[count:] == -7), "wrote too far"
    return [tuple(train) for train in trains[:count].tolist()]


def uncoupled(trains: list[tuple[int, int, int, int]]) -> dict[int, list[Packet]]:
    """The packets that the kernel makes of the trains, by destination, in order."""
    found = defaultdict(list)
    for offset, length, segment, destination in trains:
        for cut in range(0, length, segment):
            size = min(segment, length - cut)
            found[destination].append((offset + cut, size, destination))
    return dict(found)


def by_destination(packets: list[Packet]) -> dict[int, list[Packet]]:
    found = defaultdict(list)
    for packet in packets:
        found[packet[2]].append(packet)
    return dict(found)


@st.composite
def batches(draw: st.DrawFn) -> list[Packet]:
    """Packets as the switch makes them: multicasts that share their bytes, unicasts,
    lost copies, gaps."""
    lengths = st.sampled_from([16, 16, 40, 40, 40, 1424])
    everyone = list(range(DESTINATIONS))
    receivers = st.sampled_from([everyone, everyone, everyone[:1], everyone[1:], []])
    packets: list[Packet] = []
    offset = 0
    for _ in range(draw(st.integers(0, 12))):
        length, repeats = draw(lengths), draw(st.sampled_from([1, 1, 2, 70]))
        for _ in range(repeats):
            for destination in draw(receivers) if repeats < 3 else everyone:
                packets.append((offset, length, destination))
            offset += length
        offset += draw(st.sampled_from([0, 0, 0, 16]))
    return packets


@settings(deadline=None)
@given(batches())
def test_every_packet_is_in_one_train_and_in_its_order(packets: list[Packet]) -> None:
    trains = coupled(packets)
    assert uncoupled(trains) == by_destination(packets)
    for _, length, segment, _ in trains:
        assert length <= MAX_TRAIN_BYTES
        assert length <= MAX_SEGMENTS * segment


@pytest.mark.parametrize(
    ("length", "per_train"), [(16, 60), (1040, 60), (1424, 45), (32_500, 2)]
)
def test_trains_are_long(length: int, per_train: int) -> None:
    """Else they gain nothing. Interleaved destinations, as in a multicast."""
    packets = [
        (row * length, length, destination)
        for row in range(600)
        for destination in range(DESTINATIONS)
    ]
    trains = coupled(packets)
    assert uncoupled(trains) == by_destination(packets)
    assert len(trains) <= DESTINATIONS * -(-600 // per_train)


@pytest.mark.parametrize(
    "packets",
    [
        [(0, 40, 0), (40, 41, 0)],  # another length
        [(0, 40, 0), (41, 40, 0)],  # a gap
        [(0, 40, 0), (0, 40, 0)],  # the same bytes twice
        [(40, 40, 0), (0, 40, 0)],  # out of order
        [(0, 40, 0), (40, 40, 1)],  # another destination
        [(0, 32_501, 0), (32_501, 32_501, 0)],  # too long for a datagram
        [(0, 0, 0), (0, 0, 0)],  # a train of nothing has no segments
    ],
)
def test_what_cannot_be_a_train(packets: list[Packet]) -> None:
    assert len(coupled(packets)) == 2


def test_a_run_of_one_length_ends_where_another_begins() -> None:
    lengths = [40, 40, 16, 40, 40]
    offsets = np.cumsum([0, *lengths[:-1]]).tolist()
    packets = [(at, size, 0) for at, size in zip(offsets, lengths, strict=True)]
    assert [train[1] for train in coupled(packets)] == [80, 16, 80]


# sockets


def test_a_socket_that_cannot_be_bound_is_closed() -> None:
    with open_socket(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
        with pytest.raises(OSError, match="Address already in use"):
            open_socket(address)
