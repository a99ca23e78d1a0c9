"""Sends and receives many trains in one system call: sendmmsg and recvmmsg of libc.

The C structures are NumPy records, laid out as 64-bit Linux has them, and written by a
kernel: the call costs the same for one train as for twenty. (Python's own sendmsg takes
two microseconds a train to build what the kernel then copies in eight.)
"""

import ctypes
import errno
import ipaddress
import os
import socket
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from switch.compiled import kernel
from switch.config import Address
from switch.udp import (
    DATAGRAM_BYTES,
    DESTINATION,
    LENGTH,
    MAX_ROWS,
    OFFSET,
    SEGMENT,
    SOL_UDP,
    UDP_GRO,
    UDP_SEGMENT,
    Bytes,
    Integers,
    Rows,
    split,
    supports_segments,
)

# struct iovec, struct mmsghdr and struct cmsghdr of 64-bit Linux
IOVEC = np.dtype([("base", np.uint64), ("length", np.uint64)])
MESSAGE = np.dtype(
    [
        ("name", np.uint64),
        ("name_length", np.uint64),
        ("iovec", np.uint64),
        ("iovec_length", np.uint64),
        ("control", np.uint64),
        ("control_length", np.uint64),
        ("flags", np.uint64),
        ("length", np.uint64),
    ]
)
CONTROL = np.dtype(
    [
        ("length", np.uint64),
        ("level", np.int32),
        ("type", np.int32),
        ("value", np.int64),
    ]
)
CONTROL_BYTES = CONTROL.itemsize
SEGMENT_CONTROL_BYTES = 18  # CMSG_LEN(2): the segment length is 16 bits wide
NAME_BYTES = 28  # struct sockaddr_in6
BATCH = 256  # messages a call
# What ICMP messages turn into: they may be wrong, forged, or over soon.
PASSING = (
    errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EMSGSIZE,
    errno.ENOPROTOOPT, errno.EACCES,
)  # fmt: skip
# What a path answers that has no UDP_SEGMENT. (EMSGSIZE: it has, for shorter packets.)
NO_SEGMENTS = (errno.EIO, errno.EINVAL, errno.ENOPROTOOPT)

_libc = ctypes.CDLL(None, use_errno=True)
for _call in (_libc.sendmmsg, _libc.recvmmsg):
    _call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
_libc.recvmmsg.argtypes = [*_libc.recvmmsg.argtypes, ctypes.c_void_p]


def send_messages(descriptor: int, messages: int, count: int) -> int:
    """How many of `count` messages at address `messages` were sent. Raises OSError."""
    sent = int(_libc.sendmmsg(descriptor, messages, count, 0))
    if sent < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return sent


def receive_messages(descriptor: int, messages: int, count: int) -> int:
    """How many were there to receive, at most `count`. Raises OSError."""
    received = int(
        _libc.recvmmsg(descriptor, messages, count, socket.MSG_DONTWAIT, None)
    )
    if received < 0:
        number = ctypes.get_errno()
        if number in (errno.EAGAIN, errno.EINTR):
            return 0
        raise OSError(number, os.strerror(number))
    return received


def encode_name(address: Address) -> bytes:
    """The sockaddr of a numeric IP address and a port."""
    packed = ipaddress.ip_address(address[0]).packed
    if len(packed) == 4:
        name = struct.pack("=H", socket.AF_INET) + struct.pack("!H", address[1])
        return name + packed + bytes(8)
    name = struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", address[1], 0)
    return name + packed + bytes(4)


def decode_name(name: bytes) -> Address:
    """The reverse."""
    (family,) = struct.unpack_from("=H", name)
    (port,) = struct.unpack_from("!H", name, 2)
    packed = name[4:8] if family == socket.AF_INET else name[8:24]
    return str(ipaddress.ip_address(packed)), port


class Receiver:
    """Reads what has arrived, up to `capacity` datagrams, without waiting."""

    def __init__(self, sock: socket.socket, capacity: int = 16) -> None:
        self.descriptor = sock.fileno()
        self.capacity = capacity
        self.refused = 0
        """ICMP errors: nobody listens at the other end, or the way there is barred."""
        self.drained = True
        """Whether the last call read all that there was."""
        buffer = np.zeros(capacity * DATAGRAM_BYTES, np.uint8)
        self.rows = Rows(buffer, *(np.zeros(MAX_ROWS, np.int64) for _ in range(3)))
        self.starts = np.zeros((capacity, 4), np.int64)
        self.names = np.zeros((capacity, 32), np.uint8)
        self.controls = np.zeros(capacity, CONTROL)
        self.iovecs = np.zeros(capacity, IOVEC)
        self.messages = np.zeros(capacity, MESSAGE)
        each = np.arange(capacity, dtype=np.uint64)
        self.iovecs["base"] = buffer.ctypes.data + each * DATAGRAM_BYTES
        self.iovecs["length"] = DATAGRAM_BYTES
        self.messages["iovec"] = self.iovecs.ctypes.data + each * IOVEC.itemsize
        self.messages["iovec_length"] = 1
        self.messages["name"] = self.names.ctypes.data + each * 32
        self.messages["control"] = self.controls.ctypes.data + each * CONTROL_BYTES
        self.messages_at = self.messages.ctypes.data
        self.sources: dict[bytes, int] = {}
        make_ready(self.messages, capacity)

    def receive(self, number_of: dict[Address, int] | None = None) -> int:
        """Fill `rows`; how many. `number_of`: addresses of known senders."""
        count = self._call()
        self.drained = count < self.capacity
        if count == 0:
            return 0
        measure(self.messages, self.controls, count, self.starts)
        if number_of is not None:
            for index in range(count):
                self.starts[index, 3] = self._source(index, number_of)
        return split(self.starts, count, self.rows)

    def _call(self) -> int:
        try:
            return receive_messages(self.descriptor, self.messages_at, self.capacity)
        except OSError as error:
            if error.errno not in PASSING:
                raise
            self.refused += 1
            return self._call()  # reading the error has cleared it

    def _source(self, index: int, number_of: dict[Address, int]) -> int:
        name = self.names[index].tobytes()
        number = self.sources.get(name, -1)
        if number < 0:
            number = number_of.get(decode_name(name), -1)
            if number >= 0:
                self.sources[name] = number
        return number


@kernel
def make_ready(messages: Any, count: int) -> None:
    """Give the kernel back the room that it has shortened to what it used."""
    for i in range(count):
        messages[i]["name_length"] = NAME_BYTES
        messages[i]["control_length"] = CONTROL_BYTES


@kernel
def measure(messages: Any, controls: Any, count: int, starts: Integers) -> None:
    """Rows for `udp.split` of what was received: offset, bytes, segment, source 0."""
    for i in range(count):
        size = np.int64(messages[i]["length"])
        control = controls[i]
        is_train = messages[i]["control_length"] > 0 and (
            control["level"] == SOL_UDP and control["type"] == UDP_GRO
        )
        starts[i, 0] = i * DATAGRAM_BYTES
        starts[i, 1] = size
        # the value is a C int in the low half on little-endian machines
        starts[i, 2] = control["value"] & 0xFFFFFFFF if is_train else size
        starts[i, 3] = 0
    make_ready(messages, count)


class Sender:
    """Sends trains from one buffer, many in a system call where the kernel can."""

    def __init__(self, sock: socket.socket, buffer: Bytes) -> None:
        self.descriptor = sock.fileno()
        self.buffer = buffer
        self.segments = supports_segments(sock)
        self.error: OSError | None = None
        """Why a packet was refused."""
        self._refusal: OSError | None = None
        self.address = buffer.ctypes.data
        self.names: NDArray[np.uint8] = np.zeros((0, 32), np.uint8)
        self.names_at = 0
        self.name_bytes = NAME_BYTES if sock.family == socket.AF_INET6 else 16
        self.iovecs = np.zeros(BATCH, IOVEC)
        self.controls = np.zeros(BATCH, CONTROL)
        self.messages = np.zeros(BATCH, MESSAGE)
        each = np.arange(BATCH, dtype=np.uint64)
        self.messages["iovec"] = self.iovecs.ctypes.data + each * IOVEC.itemsize
        self.messages["iovec_length"] = 1
        self.messages["control"] = self.controls.ctypes.data + each * CONTROL_BYTES
        self.messages_at = self.messages.ctypes.data
        self.controls["length"] = SEGMENT_CONTROL_BYTES
        self.controls["level"] = SOL_UDP
        self.controls["type"] = UDP_SEGMENT

    def send(self, trains: Integers, addresses: list[Address] | None = None) -> int:
        """Send `trains` ([n, 4], see `udp.couple`) to their destinations.

        To the connected address if there are no `addresses`. A train that the kernel
        refuses is tried again packet by packet. Returns how many packets it refused
        (too long, no route, ...); `error` says why.
        """
        if addresses is not None and len(addresses) > len(self.names):
            self._note(addresses)
        refused = start = 0
        if not self.segments:
            trains = apart(trains)
        while start < len(trains):
            start += self._send(trains[start : start + BATCH], addresses is not None)
            if self._refusal is None:
                continue
            left = trains[start:]
            if left[0, LENGTH] > left[0, SEGMENT]:
                trains, start = self._without_segments(left, self._refusal), 0
            else:
                self.error = self._refusal
                refused, start = refused + 1, start + 1
        return refused

    def _send(self, trains: Integers, named: bool) -> int:
        """How many of at most BATCH trains were sent before one was refused, if so."""
        prepare(
            self.messages, self.iovecs, self.controls, self.address, trains,
            self.names_at if named else 0, self.name_bytes if named else 0,
        )  # fmt: skip
        self._refusal = None
        try:
            return send_messages(self.descriptor, self.messages_at, len(trains))
        except (ConnectionRefusedError, InterruptedError):
            return 0  # an earlier packet's error, cleared by reading it; or a signal
        except OSError as error:
            self._refusal = error
            return 0

    def _without_segments(self, left: Integers, error: OSError) -> Integers:
        """`left`, its first train cut into packets; or all, if the path takes none."""
        if error.errno in NO_SEGMENTS:
            self.segments = False
            return apart(left)
        return np.concatenate([apart(left[:1]), left[1:]])

    def _note(self, addresses: list[Address]) -> None:
        encoded = [encode_name(address).ljust(32, b"\0") for address in addresses]
        self.names = np.frombuffer(b"".join(encoded), np.uint8).reshape(-1, 32)
        self.names_at = self.names.ctypes.data


def apart(trains: Integers) -> Integers:
    """Trains of one packet each."""
    return np.array(
        [
            (offset, min(segment, start + length - offset), segment, destination)
            for start, length, segment, destination in trains.tolist()
            for offset in range(start, start + length, segment)
        ],
        np.int64,
    )


@kernel
def prepare(
    messages: Any, iovecs: Any, controls: Any, buffer: int, trains: Integers,
    names: int, name_bytes: int,
) -> None:  # fmt: skip
    """Write the C structures of `trains`. `buffer`, `names`: where in memory they lie;
    no names: the socket is connected."""
    for i in range(len(trains)):
        train = trains[i]
        iovecs[i]["base"] = buffer + train[OFFSET]
        iovecs[i]["length"] = train[LENGTH]
        controls[i]["value"] = train[SEGMENT]
        # a packet alone goes without: not every path has UDP_SEGMENT
        is_train = train[LENGTH] > train[SEGMENT]
        messages[i]["control_length"] = CONTROL_BYTES if is_train else 0
        messages[i]["name"] = names + 32 * train[DESTINATION] if names != 0 else 0
        messages[i]["name_length"] = name_bytes
