"""Trains: every packet exactly once, on paper and over real sockets on loopback."""

import contextlib
import errno
import select
import socket
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switch import udp
from switch.config import Address
from switch.udp import (
    MAX_ROWS,
    MAX_SEGMENTS,
    MAX_TRAIN_BYTES,
    PACKET,
    TRAIN,
    Receiver,
    Rows,
    Sender,
    couple,
    open_socket,
    split,
)

WAIT = 5.0  # seconds after which a test fails instead of hanging
DESTINATIONS = 3

Packet = tuple[int, int, int]  # offset, length, destination


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


LOOPBACKS = [
    "127.0.0.1",
    pytest.param(
        "::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 loopback")
    ),
]


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
    trains = np.zeros(max(len(packets), 1), TRAIN).view(np.recarray)
    open_train = np.full(DESTINATIONS, 99, np.int64)  # left over from another batch
    count = couple(rows, len(packets), open_train, trains)
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


@contextlib.contextmanager
def pair(address: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    with open_socket((address, 0)) as sender, open_socket((address, 0)) as receiver:
        yield sender, receiver


def collect(receiver: Receiver, count: int, **known: Any) -> list[tuple[bytes, int]]:
    """The next `count` packets with their sources."""
    found: list[tuple[bytes, int]] = []
    while len(found) < count:
        ready, _, _ = select.select([receiver.sock], [], [], WAIT)
        assert ready, f"{len(found)} of {count} packets came"
        rows = receiver.rows
        for row in range(receiver.receive(**known)):
            start, length = int(rows.offset[row]), int(rows.length[row])
            packet = rows.buffer[start : start + length].tobytes()
            found.append((packet, int(rows.source[row])))
    assert not select.select([receiver.sock], [], [], 0)[0], "more than was sent"
    return found


TRAINS = [(1, 1), (1424, 1424), (1424 * 3, 1424), (1424 * 3 + 1, 1424), (16 * 63, 16)]


@pytest.mark.parametrize("receives_trains", [True, False])
@pytest.mark.parametrize("sends_trains", [True, False])
@pytest.mark.parametrize("address", LOOPBACKS)
def test_both_paths_deliver_the_same_packets(
    address: str, sends_trains: bool, receives_trains: bool
) -> None:
    random = np.random.default_rng(0)
    with pair(address) as (one, other):
        if not receives_trains:
            with contextlib.suppress(OSError):  # a kernel without trains
                other.setsockopt(udp.SOL_UDP, udp.UDP_GRO, 0)
        buffer = np.frombuffer(random.bytes(MAX_TRAIN_BYTES), np.uint8).copy()
        sender = Sender(one, buffer)
        sender.segments = sender.segments and sends_trains
        expected = []
        for start, (length, segment) in enumerate(TRAINS):
            sender.send(start, length, segment, other.getsockname())
            expected += [
                buffer[start + cut : start + min(cut + segment, length)].tobytes()
                for cut in range(0, length, segment)
            ]
        found = collect(Receiver(other), len(expected))
        assert [packet for packet, _ in found] == expected


@pytest.mark.parametrize("address", LOOPBACKS)
def test_the_longest_trains_fit(address: str) -> None:
    with pair(address) as (one, other):
        sender = Sender(one, np.zeros(MAX_TRAIN_BYTES, np.uint8))
        supported = sender.segments
        for segment in (MAX_TRAIN_BYTES // MAX_SEGMENTS, 1424, 32_500):
            length = min(segment * MAX_SEGMENTS, MAX_TRAIN_BYTES)
            sender.send(0, length, segment, other.getsockname())
            collect(Receiver(other), -(-length // segment))
        assert sender.segments == supported, "it fell back to single packets"


@pytest.mark.parametrize("address", LOOPBACKS)
def test_senders_are_known_by_their_addresses(address: str) -> None:
    with pair(address) as (one, other), open_socket((address, 0)) as stranger:
        known = {one.getsockname()[:2]: 5}
        one.sendto(b"known", other.getsockname())
        stranger.sendto(b"stranger", other.getsockname())
        found = collect(Receiver(other), 2, number_of=known)
        assert found == [(b"known", 5), (b"stranger", -1)]


def test_datagrams_without_a_byte_are_packets() -> None:
    with pair("127.0.0.1") as (one, other):
        for packet in (b"", b"a", b"", b"", b"b"):
            one.sendto(packet, other.getsockname())
        found = collect(Receiver(other), 5)
        assert [packet for packet, _ in found] == [b"", b"a", b"", b"", b"b"]


def test_more_datagrams_than_one_batch_holds() -> None:
    with pair("127.0.0.1") as (one, other):
        receiver = Receiver(other, capacity=4)
        packets = [bytes([i]) * (i + 1) for i in range(11)]
        for packet in packets:
            one.sendto(packet, other.getsockname())
        assert [receiver.receive() for _ in range(4)] == [4, 4, 3, 0]


def test_nothing_to_receive_does_not_wait() -> None:
    with pair("127.0.0.1") as (one, _):
        assert Receiver(one).receive() == 0


def closed_port() -> Address:
    with open_socket(("127.0.0.1", 0)) as sock:
        return sock.getsockname()


def test_a_refused_packet_is_counted_and_stops_nobody() -> None:
    with open_socket(("127.0.0.1", 0)) as sock:
        sock.connect(closed_port())
        receiver, sender = Receiver(sock), Sender(sock, np.zeros(64, np.uint8))
        sender.send(0, 16, 16)
        select.select([sock], [], [], WAIT)
        assert receiver.receive() == 0
        assert receiver.refused == 1
        sender.send(0, 16, 16)
        sender.send(0, 48, 16)  # meets the error of the packet before
        receiver.receive()


class Kernel:
    """Stands for a socket whose kernel answers `sendmsg` as the test wants."""

    def __init__(self, error: int) -> None:
        self.error = error
        self.sent: list[bytes] = []

    def setsockopt(self, *arguments: int) -> None:
        """As if it knew segments."""

    def sendmsg(self, parts: list[memoryview], control: list[Any]) -> None:
        if control:
            raise OSError(self.error, "no segments on this path")
        self.sent += [bytes(part) for part in parts]


@pytest.mark.parametrize("error", [errno.EIO, errno.EINVAL, errno.ENOPROTOOPT])
def test_a_path_that_cannot_segment_gets_single_packets(error: int) -> None:
    kernel = Kernel(error)
    sender: Any = Sender(kernel, np.arange(10, dtype=np.uint8))  # type: ignore[arg-type]
    assert sender.segments
    sender.send(1, 7, 3)
    assert kernel.sent == [b"\1\2\3", b"\4\5\6", b"\7"]
    assert not sender.segments


def test_other_errors_are_the_caller_s() -> None:
    sender: Any = Sender(Kernel(errno.EMSGSIZE), np.zeros(10, np.uint8))  # type: ignore[arg-type]
    with pytest.raises(OSError, match="no segments") as raised:
        sender.send(0, 10, 5)
    assert raised.value.errno == errno.EMSGSIZE
    assert sender.segments


def test_a_kernel_without_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "UDP_SEGMENT", 9999)
    with pair("127.0.0.1") as (one, other):
        sender = Sender(one, np.arange(6, dtype=np.uint8))
        assert not sender.segments
        sender.send(0, 6, 2, other.getsockname())
        found = collect(Receiver(other), 3)
        assert [packet for packet, _ in found] == [b"\0\1", b"\2\3", b"\4\5"]


def test_a_socket_that_cannot_be_bound_is_closed() -> None:
    with open_socket(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
        with pytest.raises(OSError, match="Address already in use"):
            open_socket(address)
