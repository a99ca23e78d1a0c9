"""Sends and receives many trains in one system call: sendmmsg and recvmmsg of libc.

The C structures are NumPy records, laid out as 64-bit Linux has them, and written by
kernels: the call costs the same for one train as for twenty, and a loop of receiving,
processing and sending needs no Python. (Python's own sendmsg takes two microseconds a
train to build what the kernel then copies in eight.)
"""

import errno
import os
import socket
from typing import Any, NamedTuple

import numpy as np

from switch.addresses import NAME_BYTES, Addresses, Table, find
from switch.compiled import kernel
from switch.system import (
    DONT_WAIT,
    EAGAIN,
    EINTR,
    Room,
    last_error,
    new_room,
    recvmmsg,
    sendmmsg,
)
from switch.udp import (
    DATAGRAM_BYTES,
    DESTINATION,
    LENGTH,
    MAX_ROWS,
    MAX_SEGMENTS,
    OFFSET,
    SEGMENT,
    SOL_UDP,
    SPARE_BYTES,
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
SOCKADDR_BYTES = {socket.AF_INET: 16, socket.AF_INET6: 28}
BATCH = 256  # messages a call
# What ICMP messages turn into: they may be wrong, forged, or over soon.
PASSING = (
    errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EMSGSIZE,
    errno.ENOPROTOOPT, errno.EACCES,
)  # fmt: skip
# What a path answers that has no UDP_SEGMENT. (EMSGSIZE: it has, for shorter packets.)
NO_SEGMENTS = (errno.EIO, errno.EINVAL, errno.ENOPROTOOPT)

NO_ADDRESSES = Addresses()


@kernel
def send_messages(descriptor: int, messages: int, count: int, room: Room) -> int:
    """How many of `count` messages at address `messages` were sent, or -errno."""
    sent = sendmmsg(descriptor, messages, count, 0)
    return int(sent) if sent >= 0 else -last_error(room)


@kernel
def receive_messages(descriptor: int, messages: int, count: int, room: Room) -> int:
    """How many were there to receive, at most `count`, or -errno."""
    received = recvmmsg(descriptor, messages, count, DONT_WAIT, 0)
    if received >= 0:
        return int(received)
    number = last_error(room)
    return 0 if number in (EAGAIN, EINTR) else -number


class Inlet(NamedTuple):
    """What kernels need to receive."""

    descriptor: int
    messages_at: int
    """Where in memory `messages` lie."""
    capacity: int
    """Datagrams a call."""
    messages: Any
    controls: Any
    names: Bytes
    """[capacity, NAME_BYTES] sockaddr of each datagram's sender."""
    starts: Integers
    """[capacity, 4]; see `udp.split`."""
    rows: Rows
    drained: Integers
    """[1] 1: the last call read all that there was."""
    room: Room


@kernel
def receive_rows(inlet: Inlet, table: Table) -> int:
    """Fill `inlet.rows` with what has arrived; how many, or -errno."""
    count = receive_messages(
        inlet.descriptor, inlet.messages_at, inlet.capacity, inlet.room
    )
    inlet.drained[0] = 1 if count < inlet.capacity else 0
    if count <= 0:
        return count
    measure(inlet.messages, inlet.controls, count, inlet.starts)
    for index in range(count):
        inlet.starts[index, 3] = find(table, inlet.names[index])
    return split(inlet.starts, count, inlet.rows)


class Receiver:
    """Reads what has arrived, up to `capacity` datagrams, without waiting."""

    def __init__(self, sock: socket.socket, capacity: int = 16) -> None:
        self.refused = 0
        """ICMP errors: nobody listens at the other end, or the way there is barred."""
        buffer = np.zeros(capacity * DATAGRAM_BYTES + SPARE_BYTES, np.uint8)
        self.rows = Rows(buffer, *(np.zeros(MAX_ROWS, np.int64) for _ in range(3)))
        names = np.zeros((capacity, NAME_BYTES), np.uint8)
        controls = np.zeros(capacity, CONTROL)
        self.iovecs = np.zeros(capacity, IOVEC)
        messages = np.zeros(capacity, MESSAGE)
        each = np.arange(capacity, dtype=np.uint64)
        self.iovecs["base"] = buffer.ctypes.data + each * DATAGRAM_BYTES
        self.iovecs["length"] = DATAGRAM_BYTES
        messages["iovec"] = self.iovecs.ctypes.data + each * IOVEC.itemsize
        messages["iovec_length"] = 1
        messages["name"] = names.ctypes.data + each * NAME_BYTES
        messages["control"] = controls.ctypes.data + each * CONTROL_BYTES
        make_ready(messages, capacity)
        self.inlet = Inlet(
            sock.fileno(), messages.ctypes.data, capacity, messages, controls, names,
            np.zeros((capacity, 4), np.int64), self.rows, np.ones(1, np.int64),
            new_room(),
        )  # fmt: skip

    def receive(self, known: Addresses = NO_ADDRESSES) -> int:
        """Fill `rows`; how many. `known`: senders whose number is wanted."""
        while True:
            count = receive_rows(self.inlet, known.table)
            if count >= 0:
                return count
            self.note(-count)

    def note(self, number: int) -> None:
        """Count an error that passes; reading it has cleared it. Raises OSError."""
        if number not in PASSING:
            raise OSError(number, os.strerror(number))
        self.refused += 1


@kernel
def make_ready(messages: Any, count: int) -> None:
    """Give the kernel back the room that it has shortened to what it used."""
    for i in range(count):
        messages[i]["name_length"] = NAME_BYTES
        messages[i]["control_length"] = CONTROL_BYTES


@kernel
def measure(messages: Any, controls: Any, count: int, starts: Integers) -> None:
    """Rows for `udp.split` of what was received: offset, bytes, segment."""
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
    make_ready(messages, count)


class Outlet(NamedTuple):
    """What kernels need to send."""

    descriptor: int
    messages_at: int
    buffer_at: int
    """Where in memory the packets lie."""
    sockaddr_bytes: int
    messages: Any
    iovecs: Any
    controls: Any
    most: Integers
    """[1] packets that a train may have: 1 where there is no UDP_SEGMENT."""
    room: Room


@kernel
def send_trains(outlet: Outlet, trains: Integers, count: int, names_at: int) -> int:
    """Send the first `count` trains; how many went before one was refused, if so.

    names_at: where the sockaddrs of the destinations lie; 0: the connected one.
    """
    start = 0
    while start < count:
        some = min(count - start, BATCH)
        prepare(
            outlet.messages, outlet.iovecs, outlet.controls, outlet.buffer_at,
            trains[start : start + some], names_at, outlet.sockaddr_bytes,
        )  # fmt: skip
        sent = send_messages(outlet.descriptor, outlet.messages_at, some, outlet.room)
        if sent <= 0:
            break
        start += sent
    return start


class Sender:
    """Sends trains from one buffer, many in a system call where the kernel can."""

    def __init__(self, sock: socket.socket, buffer: Bytes) -> None:
        self.buffer = buffer
        self.error: OSError | None = None
        """Why a packet was refused."""
        self._refusal: OSError | None = None
        self.iovecs = np.zeros(BATCH, IOVEC)
        controls = np.zeros(BATCH, CONTROL)
        messages = np.zeros(BATCH, MESSAGE)
        each = np.arange(BATCH, dtype=np.uint64)
        messages["iovec"] = self.iovecs.ctypes.data + each * IOVEC.itemsize
        messages["iovec_length"] = 1
        messages["control"] = controls.ctypes.data + each * CONTROL_BYTES
        controls["length"] = SEGMENT_CONTROL_BYTES
        controls["level"] = SOL_UDP
        controls["type"] = UDP_SEGMENT
        self.outlet = Outlet(
            sock.fileno(), messages.ctypes.data, buffer.ctypes.data,
            SOCKADDR_BYTES[sock.family], messages, self.iovecs, controls,
            np.ones(1, np.int64), new_room(),
        )  # fmt: skip
        self.segments = supports_segments(sock)

    @property
    def segments(self) -> bool:
        """Whether the kernel cuts trains into packets."""
        return bool(self.outlet.most[0] > 1)

    @segments.setter
    def segments(self, able: bool) -> None:
        self.outlet.most[0] = MAX_SEGMENTS if able else 1

    def send(self, trains: Integers, known: Addresses | None = None) -> int:
        """Send `trains` ([n, 4], see `udp.couple`) to their destinations.

        To the connected address if nobody is `known`. A train that the kernel refuses
        is tried again packet by packet. Returns how many packets it refused (too long,
        no route, ...); `error` says why.
        """
        refused = start = 0
        if not self.segments:
            trains = apart(trains)
        names_at = 0 if known is None else known.table.names.ctypes.data
        while start < len(trains):
            start += self._send(trains[start : start + BATCH], names_at)
            if self._refusal is None:
                continue
            left = trains[start:]
            if left[0, LENGTH] > left[0, SEGMENT]:
                trains, start = self._without_segments(left, self._refusal), 0
            else:
                self.error = self._refusal
                refused, start = refused + 1, start + 1
        return refused

    def _send(self, trains: Integers, names_at: int) -> int:
        """How many of at most BATCH trains were sent before one was refused, if so."""
        outlet = self.outlet
        prepare(
            outlet.messages, outlet.iovecs, outlet.controls, outlet.buffer_at, trains,
            names_at, outlet.sockaddr_bytes,
        )  # fmt: skip
        sent = send_messages(
            outlet.descriptor, outlet.messages_at, len(trains), outlet.room
        )
        # an earlier packet's error, cleared by reading it; or a signal
        is_refusal = sent < 0 and -sent not in (errno.ECONNREFUSED, EINTR)
        self._refusal = OSError(-sent, os.strerror(-sent)) if is_refusal else None
        return max(sent, 0)

    def _without_segments(self, left: Integers, error: OSError) -> Integers:
        """`left`, its first train cut into packets; or all, if the path takes none."""
        if error.errno in NO_SEGMENTS:
            self.segments = False
            return apart(left)
        return np.concatenate([apart(left[:1]), left[1:]])


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
        if names != 0:
            messages[i]["name"] = names + NAME_BYTES * train[DESTINATION]
        else:
            messages[i]["name"] = 0
        messages[i]["name_length"] = name_bytes if names != 0 else 0
