"""Names of addresses, and trains over real sockets on loopback: every packet once."""

import contextlib
import errno
import select
import socket
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_switch import needs_ipv6
from trains import packets_of, random_bytes, rows

from switch import udp
from switch.addresses import NAME_BYTES, Addresses, decode_name, encode_name, find
from switch.config import Address
from switch.messages import BATCH, Receiver, Sender, send_trains
from switch.udp import MAX_SEGMENTS, MAX_TRAIN_BYTES, open_socket

WAIT = 5.0  # seconds after which a test fails instead of hanging
LOOPBACKS = ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)]
TOO_LONG = 65_530  # bytes of a packet; UDP over IPv4 takes 65507, over IPv6 65527


# names


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 500])
def test_every_address_is_found_by_its_name(count: int) -> None:
    hosts = ("127.0.0.1", "::1", "10.0.0.9", "fe80::7")
    known = Addresses((hosts[i % 4], 1 + i // 4) for i in range(count))
    assert len(known.known) == count
    for number, address in enumerate(known.known):
        name = encode_name(address).ljust(NAME_BYTES, b"\xa5")  # rubbish behind it
        assert find(known.table, np.frombuffer(name, np.uint8)) == number
        assert known.number(address) == number
    stranger = encode_name(("127.0.0.2", 1)).ljust(NAME_BYTES, b"\0")
    assert find(known.table, np.frombuffer(stranger, np.uint8)) == -1


def test_flow_information_is_no_part_of_an_address() -> None:
    known = Addresses([("::1", 5)])
    name = np.frombuffer(encode_name(("::1", 5)).ljust(32, b"\0"), np.uint8).copy()
    name[4:8] = 7
    assert find(known.table, name) == 0


def family_of(family: int) -> bytes:
    return int(family).to_bytes(2, sys.byteorder)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (
            ("127.0.0.1", 5001),
            family_of(socket.AF_INET) + b"\x13\x89\x7f\0\0\1" + bytes(8),
        ),
        (
            ("2001:db8::ff", 65535),
            family_of(socket.AF_INET6)
            + b"\xff\xff\0\0\0\0"
            + b"\x20\1\x0d\xb8"
            + bytes(11)
            + b"\xff"
            + bytes(4),
        ),
    ],
)
def test_names_are_what_the_kernel_reads(address: Address, name: bytes) -> None:
    assert encode_name(address) == name
    assert decode_name(name.ljust(32, b"\0")) == address


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_address_has_one_name(
    address: IPv4Address | IPv6Address, port: int
) -> None:
    name = encode_name((str(address), port))
    assert len(name) == (16 if address.version == 4 else 28)
    assert decode_name(name) == (str(address), port)


def test_any_spelling_of_an_address_has_its_name() -> None:
    assert encode_name(("0:0::0:1", 7)) == encode_name(("::1", 7))


# real sockets


@contextlib.contextmanager
def pair(address: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    with open_socket((address, 0)) as sender, open_socket((address, 0)) as receiver:
        yield sender, receiver


def collect(
    receiver: Receiver, count: int, *known: Addresses
) -> list[tuple[bytes, int]]:
    """The next `count` packets with their sources."""
    found: list[tuple[bytes, int]] = []
    while len(found) < count:
        ready, _, _ = select.select([receiver.inlet.descriptor], [], [], WAIT)
        assert ready, f"{len(found)} of {count} packets came"
        found += read(receiver, *known)
    assert not select.select([receiver.inlet.descriptor], [], [], 0)[0], (
        "more than was sent"
    )
    return found


def read(receiver: Receiver, *known: Addresses) -> list[tuple[bytes, int]]:
    """What one call receives."""
    buffer, offset, length, source = receiver.rows
    return [
        (
            buffer[offset[row] : offset[row] + length[row]].tobytes(),
            int(source[row]) if known else 0,
        )
        for row in range(receiver.receive(*known))
    ]


TRAINS = rows(
    (0, 1, 1, 0),
    (1, 1424, 1424, 0),
    (2, 1424 * 3, 1424, 0),
    (3, 1424 * 3 + 1, 1424, 0),
    (4, 16 * 63, 16, 0),
)


@pytest.mark.parametrize("receives_trains", [True, False])
@pytest.mark.parametrize("sends_trains", [True, False])
@pytest.mark.parametrize("address", LOOPBACKS)
def test_both_paths_deliver_the_same_packets(
    address: str, sends_trains: bool, receives_trains: bool
) -> None:
    with pair(address) as (one, other):
        if not receives_trains:
            with contextlib.suppress(OSError):  # a kernel without trains
                other.setsockopt(udp.SOL_UDP, udp.UDP_GRO, 0)
        buffer = random_bytes(MAX_TRAIN_BYTES)
        sender = Sender(one, buffer)
        sender.segments = sender.segments and sends_trains
        assert sender.send(TRAINS, Addresses([other.getsockname()[:2]])) == 0
        expected = packets_of(buffer, TRAINS)
        assert collect(Receiver(other), len(expected)) == expected


@pytest.mark.parametrize("address", LOOPBACKS)
def test_without_addresses_to_the_connected_one(address: str) -> None:
    with pair(address) as (one, other):
        one.connect(other.getsockname())
        buffer = random_bytes(MAX_TRAIN_BYTES)
        assert Sender(one, buffer).send(TRAINS) == 0
        expected = packets_of(buffer, TRAINS)
        assert collect(Receiver(other), len(expected)) == expected


@pytest.mark.parametrize("address", LOOPBACKS)
def test_the_longest_trains_fit(address: str) -> None:
    with pair(address) as (one, other):
        sender = Sender(one, np.zeros(MAX_TRAIN_BYTES, np.uint8))
        supported = sender.segments
        for segment in (MAX_TRAIN_BYTES // MAX_SEGMENTS, 1424, 32_500):
            length = min(segment * MAX_SEGMENTS, MAX_TRAIN_BYTES)
            trains = rows((0, length, segment, 0))
            assert sender.send(trains, Addresses([other.getsockname()[:2]])) == 0
            collect(Receiver(other), -(-length // segment))
        assert sender.segments == supported, "it fell back to single packets"


@pytest.mark.parametrize("address", LOOPBACKS)
def test_every_train_goes_to_its_own_destination(address: str) -> None:
    """More than a call takes, but few enough for the smallest socket's buffer."""
    with pair(address) as (one, other), open_socket((address, 0)) as third:
        buffer = random_bytes(2 * BATCH)
        trains = rows(*((at, 1 + at % 3, 3, at % 2) for at in range(BATCH + 44)))
        addresses = [sock.getsockname()[:2] for sock in (third, other)]
        assert Sender(one, buffer).send(trains, Addresses(addresses)) == 0
        for number, sock in enumerate((third, other)):
            expected = packets_of(buffer, trains[number::2])
            found = collect(Receiver(sock), len(expected))
            assert [packet for packet, _ in found] == [each for each, _ in expected]


@pytest.mark.parametrize("sends_trains", [True, False])
@pytest.mark.parametrize("at", [0, 2, 4])
@pytest.mark.parametrize("address", LOOPBACKS)
def test_a_packet_that_is_too_long_keeps_no_other_back(
    address: str, at: int, sends_trains: bool
) -> None:
    with pair(address) as (one, other):
        buffer = random_bytes(TOO_LONG)
        sender = Sender(one, buffer)
        sender.segments = supported = sender.segments and sends_trains
        good = TRAINS[:4]
        trains = np.insert(good, at, (0, TOO_LONG, TOO_LONG, 0), axis=0)
        assert sender.send(trains, Addresses([other.getsockname()[:2]])) == 1
        assert sender.error is not None
        assert sender.error.errno == errno.EMSGSIZE
        assert str(sender.error) == "[Errno 90] Message too long"
        assert sender.segments == supported
        expected = packets_of(buffer, good)
        assert collect(Receiver(other), len(expected)) == expected


def test_the_compiled_path_tells_where_it_was_refused() -> None:
    """The third train is too long for a packet; the two before it are on their way."""
    with pair("127.0.0.1") as (one, other):
        buffer = random_bytes(TOO_LONG)
        outlet = Sender(one, buffer).outlet
        trains = rows(
            (0, 9, 9, 0), (9, 8, 8, 0), (0, TOO_LONG, TOO_LONG, 0), (3, 1, 1, 0)
        )
        names_at = Addresses([other.getsockname()]).table.names.ctypes.data
        assert send_trains(outlet, trains, 4, names_at) == 2
        assert outlet.room.error[0] == errno.EMSGSIZE
        assert send_trains(outlet, trains[3:], 1, names_at) == 1
        found = collect(Receiver(other), 3)
        assert [each for each, _ in found] == [
            buffer[:9].tobytes(), buffer[9:17].tobytes(), buffer[3:4].tobytes()
        ]  # fmt: skip


def test_addresses_that_come_later() -> None:
    """The switch's list grows with every job."""
    with pair("127.0.0.1") as (one, other), open_socket(("127.0.0.1", 0)) as third:
        sender = Sender(one, np.arange(2, dtype=np.uint8))
        addresses = Addresses([other.getsockname()])
        sender.send(rows((0, 1, 1, 0)), addresses)
        addresses.number(third.getsockname())
        sender.send(rows((1, 1, 1, 1)), addresses)
        assert collect(Receiver(other), 1) == [(b"\0", 0)]
        assert collect(Receiver(third), 1) == [(b"\1", 0)]


@pytest.mark.parametrize("address", LOOPBACKS)
def test_senders_are_known_by_their_addresses(address: str) -> None:
    with pair(address) as (one, other), open_socket((address, 0)) as stranger:
        known = Addresses([(address, 1), one.getsockname()[:2]])
        receiver = Receiver(other)
        for _ in range(2):
            one.sendto(b"known", other.getsockname())
            stranger.sendto(b"stranger", other.getsockname())
            found = collect(receiver, 2, known)
            assert found == [(b"known", 1), (b"stranger", -1)]
        known.number(stranger.getsockname()[:2])  # it has joined a job
        stranger.sendto(b"stranger", other.getsockname())
        assert collect(receiver, 1, known) == [(b"stranger", 2)]


def test_datagrams_without_a_byte_are_packets() -> None:
    with pair("127.0.0.1") as (one, other):
        for packet in (b"", b"a", b"", b"", b"b"):
            one.sendto(packet, other.getsockname())
        found = collect(Receiver(other), 5)
        assert [packet for packet, _ in found] == [b"", b"a", b"", b"", b"b"]


def test_more_datagrams_than_one_batch_holds() -> None:
    with pair("127.0.0.1") as (one, other):
        receiver = Receiver(other, capacity=4)
        packets = [bytes([i]) * (i + 1) for i in range(12)]
        for packet in packets[:11]:
            one.sendto(packet, other.getsockname())
        found, drained = [], []
        for _ in range(4):
            found.append([packet for packet, _ in read(receiver)])
            drained.append(bool(receiver.inlet.drained[0]))
        assert found == [packets[:4], packets[4:8], packets[8:11], []]
        assert drained == [False, False, True, True]


def test_a_full_batch_may_not_be_all_there_is() -> None:
    with pair("127.0.0.1") as (one, other):
        receiver = Receiver(other, capacity=2)
        for packet in (b"a", b"b"):
            one.sendto(packet, other.getsockname())
        assert (receiver.receive(), receiver.inlet.drained[0]) == (2, 0)
        assert (receiver.receive(), receiver.inlet.drained[0]) == (0, 1)


@pytest.mark.parametrize("address", LOOPBACKS)
def test_nothing_is_left_over_from_the_call_before(address: str) -> None:
    """The kernel shortens the room that it is given to what it used of it."""
    with pair(address) as (one, other):
        buffer = random_bytes(3000)
        sender, receiver = Sender(one, buffer), Receiver(other, capacity=1)
        if not sender.segments:
            pytest.skip("no trains")
        known = Addresses([one.getsockname()[:2]])
        for train in [(0, 3000, 1000, 0), (5, 2900, 2900, 0), (9, 900, 300, 0)] * 2:
            sender.send(rows(train), Addresses([other.getsockname()[:2]]))
            expected = [(each, 0) for each, _ in packets_of(buffer, rows(train))]
            assert collect(receiver, len(expected), known) == expected


def test_nothing_to_receive_does_not_wait() -> None:
    with pair("127.0.0.1") as (one, _):
        assert Receiver(one).receive() == 0


def closed_port() -> Address:
    with open_socket(("127.0.0.1", 0)) as sock:
        return sock.getsockname()


def test_a_port_that_nobody_listens_at_is_counted_and_stops_nobody() -> None:
    with open_socket(("127.0.0.1", 0)) as sock:
        sock.connect(closed_port())
        receiver, sender = Receiver(sock), Sender(sock, np.zeros(64, np.uint8))
        sender.send(rows((0, 16, 16, 0)))
        select.select([sock], [], [], WAIT)
        assert receiver.receive() == 0
        assert receiver.refused == 1
        assert sender.send(rows((0, 16, 16, 0))) == 0
        # meets the error of the packet before
        assert sender.send(rows((0, 48, 16, 0))) == 0
        receiver.receive()


def test_other_errors_are_told() -> None:
    with open_socket(("127.0.0.1", 0)) as sock:
        receiver, sender = Receiver(sock), Sender(sock, np.zeros(9, np.uint8))
        receiver.inlet = receiver.inlet._replace(descriptor=-1)
        sender.outlet = sender.outlet._replace(descriptor=-1)
        with pytest.raises(OSError, match="Bad file descriptor"):
            receiver.receive()
        # one packet, and the three of a train that is tried apart
        assert sender.send(rows((0, 9, 9, 0), (0, 9, 3, 0))) == 4
        assert sender.error is not None
        assert sender.error.errno == errno.EBADF


def test_a_kernel_without_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "UDP_SEGMENT", 9999)
    with pair("127.0.0.1") as (one, other):
        sender = Sender(one, np.arange(6, dtype=np.uint8))
        assert not sender.segments
        assert sender.send(rows((0, 6, 2, 0)), Addresses([other.getsockname()])) == 0
        found = collect(Receiver(other), 3)
        assert [packet for packet, _ in found] == [b"\0\1", b"\2\3", b"\4\5"]
