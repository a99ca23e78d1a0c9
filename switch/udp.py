"""Trains of packets: many equal packets that lie one after the other in a buffer.

Linux can send a buffer as segments of one size (UDP_SEGMENT, "GSO") and hand received
segments over in one piece (UDP_GRO). On loopback that is 16 times as fast as a system
call a packet. Here trains are made and cut; `messages.py` sends and receives them.
"""

import contextlib
import ipaddress
import socket
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from switch.compiled import kernel
from switch.config import Address, group_of

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

# linux/udp.h; Python 3.11 has no names for them
SOL_UDP = 17
UDP_SEGMENT = 103
UDP_GRO = 104
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33

DATAGRAM_BYTES = 1 << 16
MAX_TRAIN_BYTES = 65000  # a datagram's limit, headers of IPv6 included
MAX_SEGMENTS = 64  # of older kernels; newer ones take 128
MAX_ROWS = 2048  # packets of a batch: what 16 datagrams can hold
SPARE_BYTES = 1 << 20  # at the end of a batch's buffer, for faults to work in
WANTED_BUFFER = 32 << 20  # bytes; the kernel grants what it allows
LOOPBACK = socket.inet_aton("127.0.0.1")
LONGEST_LOOP = 0.5  # seconds until a packet to oneself counts as lost

PACKET = np.dtype(
    [
        ("offset", np.int64),
        ("length", np.int64),
        ("destination", np.int64),  # number of an address
    ]
)
# A train is a row of int64: offset, length, length of each packet (the last one may be
# shorter), number of the destination.
OFFSET, LENGTH, SEGMENT, DESTINATION = range(4)


class Rows(NamedTuple):
    """Received packets as rows of one buffer."""

    buffer: Bytes
    """Where the switch has faults, its last SPARE_BYTES are theirs."""
    offset: Integers
    length: Integers
    source: Integers
    """Number of the sender's address, or -1."""


def open_socket(address: Address) -> socket.socket:
    """A UDP socket bound to `address`, with the largest buffers that are allowed."""
    sock = None
    try:
        sock = _new_socket(address)
        sock.bind(address)
    except OSError as error:
        if sock is not None:
            sock.close()
        text = f"cannot use {address[0]}, port {address[1]} (UDP): {error.strerror}"
        raise OSError(error.errno, text) from error
    return sock


def open_group(group: Address, source: Address) -> socket.socket:
    """A socket for what `source` sends to a multicast group on the loopback interface.

    Any number of processes may have one. Raises OSError.
    """
    sock = _new_socket(group)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(group)
        membership = socket.inet_aton(group[0]) + LOOPBACK
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        sock.connect(source)
    except OSError:
        sock.close()
        raise
    return sock


def hears_groups(address: Address) -> bool:
    """Whether a worker at `address` could open a multicast group."""
    try:
        open_group(group_of(0, address[1]), address).close()
    except OSError:
        return False
    return is_local(address)


def is_local(address: Address) -> bool:
    """On the IPv4 loopback interface, where one packet to a group reaches everyone."""
    ip = ipaddress.ip_address(address[0])
    return ip.version == 4 and ip.is_loopback


def reaches_groups(sock: socket.socket) -> bool:
    """Whether what `sock` sends to a multicast group comes back on the loopback
    interface: seen by sending one packet. It sends there from now on."""
    address: Address = sock.getsockname()[:2]
    if not is_local(address):
        return False
    group = group_of(0, address[1])
    try:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, LOOPBACK)
        with open_group(group, address) as listener:
            listener.settimeout(LONGEST_LOOP)
            sock.sendto(b"intswitch", group)
            return listener.recv(DATAGRAM_BYTES) == b"intswitch"
    except OSError:
        return False


def _new_socket(address: Address) -> socket.socket:
    is_ipv6 = ipaddress.ip_address(address[0]).version == 6
    family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    for option, force in (
        (socket.SO_RCVBUF, SO_RCVBUFFORCE),
        (socket.SO_SNDBUF, SO_SNDBUFFORCE),
    ):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, WANTED_BUFFER)
        except OSError:  # not root
            sock.setsockopt(socket.SOL_SOCKET, option, WANTED_BUFFER)
    with contextlib.suppress(OSError):
        sock.setsockopt(SOL_UDP, UDP_GRO, 1)
    return sock


def supports_segments(sock: socket.socket) -> bool:
    """Whether the kernel cuts trains into packets (UDP_SEGMENT)."""
    try:
        sock.setsockopt(SOL_UDP, UDP_SEGMENT, 0)
    except OSError:
        return False
    return True


@kernel
def split(starts: Integers, datagrams: int, rows: Rows) -> int:
    """Datagrams to packets; the number of rows. `starts` is [n, 4]: offset, bytes,
    segment, source of each datagram."""
    count = 0
    for i in range(datagrams):
        offset, end = starts[i, 0], starts[i, 0] + starts[i, 1]
        while count < MAX_ROWS:
            length = min(starts[i, 2], end - offset)
            rows.offset[count] = offset
            rows.length[count] = length
            rows.source[count] = starts[i, 3]
            count += 1
            offset += length
            if offset >= end:
                break
    return count


@kernel
def couple(
    packets: Any, count: int, most: int, open_train: Integers, trains: Integers
) -> int:
    """Packets to trains: runs of equal, adjacent packets to one destination.

    At most `most` packets a train. `open_train` has an element for every destination.
    Returns the number of trains.
    """
    open_train[:] = -1
    used = 0
    for row in range(count):
        packet = packets[row]
        at = open_train[packet.destination]
        if at >= 0:
            train = trains[at]
            adjacent = train[OFFSET] + train[LENGTH] == packet.offset
            fits = train[LENGTH] + packet.length <= MAX_TRAIN_BYTES
            room = train[LENGTH] < most * train[SEGMENT]
            if adjacent and fits and room and packet.length == train[SEGMENT]:
                train[LENGTH] += packet.length
                continue
        trains[used, OFFSET] = packet.offset
        trains[used, LENGTH] = packet.length
        trains[used, SEGMENT] = packet.length
        trains[used, DESTINATION] = packet.destination
        open_train[packet.destination] = used
        used += 1
    return used
