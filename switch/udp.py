"""UDP sockets that move trains of packets: many equal segments in one system call.

Linux can send a buffer as segments of one size (UDP_SEGMENT, "GSO") and hand received
segments over in one piece (UDP_GRO). On loopback that is 16 times as fast as a system
call a packet. Where the kernel has neither, every packet goes alone.
"""

import contextlib
import errno
import ipaddress
import socket
import struct
import sys
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from switch.compiled import kernel
from switch.config import Address

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
ANCILLARY_BYTES = socket.CMSG_SPACE(4)
WANTED_BUFFER = 32 << 20  # bytes; the kernel grants what it allows

PACKET = np.dtype(
    [
        ("offset", np.int64),
        ("length", np.int64),
        ("destination", np.int64),  # number of an address
    ]
)
TRAIN = np.dtype(
    [
        ("offset", np.int64),
        ("length", np.int64),
        ("segment", np.int64),  # length of every packet but, maybe, the last
        ("destination", np.int64),  # number of an address
    ]
)


class Rows(NamedTuple):
    """Received packets as rows of one buffer."""

    buffer: Bytes
    offset: Integers
    length: Integers
    source: Integers
    """Number of the sender's address, or -1."""


def open_socket(address: Address) -> socket.socket:
    """A UDP socket bound to `address`, with the largest buffers that are allowed."""
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
    try:
        sock.bind(address)
    except OSError as error:
        sock.close()
        text = f"cannot use {address[0]}, port {address[1]} (UDP): {error.strerror}"
        raise OSError(error.errno, text) from error
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
def couple(packets: Any, count: int, open_train: Integers, trains: Any) -> int:
    """Packets to trains: runs of equal, adjacent packets to one destination.

    `open_train` has an element for every destination. Returns the number of trains.
    """
    open_train[:] = -1
    used = 0
    for row in range(count):
        packet = packets[row]
        at = open_train[packet.destination]
        if at >= 0:
            train = trains[at]
            adjacent = train.offset + train.length == packet.offset
            fits = train.length + packet.length <= MAX_TRAIN_BYTES
            room = train.length < (MAX_SEGMENTS - 1) * train.segment
            if adjacent and fits and room and packet.length == train.segment:
                train.length += packet.length
                continue
        train = trains[used]
        train.offset = packet.offset
        train.length = packet.length
        train.segment = packet.length
        train.destination = packet.destination
        open_train[packet.destination] = used
        used += 1
    return used


class Receiver:
    """Reads what has arrived, up to `capacity` datagrams, without waiting."""

    def __init__(self, sock: socket.socket, capacity: int = 16) -> None:
        self.sock = sock
        self.refused = 0
        """ICMP "port unreachable" errors: nobody listens at the other end."""
        self.drained = True
        """Whether the last call read all that there was."""
        buffer = np.zeros(capacity * DATAGRAM_BYTES, np.uint8)
        whole = memoryview(buffer)  # type: ignore[arg-type]
        self.views = [
            [whole[start : start + DATAGRAM_BYTES]]
            for start in range(0, buffer.size, DATAGRAM_BYTES)
        ]
        self.starts = np.zeros((capacity, 4), np.int64)
        self.rows = Rows(buffer, *(np.zeros(MAX_ROWS, np.int64) for _ in range(3)))

    def receive(self, number_of: dict[Address, int] | None = None) -> int:
        """Fill `rows`; how many. `number_of`: addresses of known senders."""
        datagrams = 0
        receive = self.sock.recvmsg_into
        while datagrams < len(self.views):
            try:
                size, ancillary, _, sender = receive(
                    self.views[datagrams], ANCILLARY_BYTES, socket.MSG_DONTWAIT
                )
            except BlockingIOError:
                break
            except ConnectionRefusedError:
                self.refused += 1
                continue
            segment = size
            if ancillary:
                segment = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
            source = number_of.get(sender[:2], -1) if number_of is not None else 0
            offset = datagrams * DATAGRAM_BYTES
            self.starts[datagrams] = (offset, size, segment, source)
            datagrams += 1
        self.drained = datagrams < len(self.views)
        if datagrams == 0:
            return 0
        return split(self.starts, datagrams, self.rows)


class Sender:
    """Sends trains, in one system call each where the kernel can."""

    def __init__(self, sock: socket.socket, buffer: Bytes) -> None:
        self.sock = sock
        self.view = memoryview(buffer)  # type: ignore[arg-type]
        self.segments = supports_segments(sock)

    def send(
        self, start: int, length: int, segment: int, address: Address | None = None
    ) -> None:
        """Send `length` bytes of the buffer from `start` in packets of `segment`.

        To the connected address if none is given. Raises OSError when the packets do
        not fit the path (EMSGSIZE).
        """
        data = self.view[start : start + length]
        if length > segment and self.segments:
            control = [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", segment))]
            try:
                self._send(data, control, address)
                return
            except OSError as error:
                if error.errno not in (errno.EIO, errno.EINVAL, errno.ENOPROTOOPT):
                    raise
                self.segments = False  # this path cannot: packet by packet from now on
        for offset in range(0, length, segment):
            self._send(data[offset : offset + segment], [], address)

    def _send(self, data: Any, control: list[Any], address: Address | None) -> None:
        try:
            if address is None:
                self.sock.sendmsg([data], control)
            else:
                self.sock.sendmsg([data], control, 0, address)
        except ConnectionRefusedError:
            # an earlier packet's ICMP error; this one was not sent: as good as lost
            pass
