"""The sender over a kernel that answers as a test wants: refusals, part of a batch.

Over real sockets: test_messages.py.
"""

import ctypes
import errno
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trains import packets_of, random_bytes, rows

from switch import messages, udp
from switch.addresses import Addresses, decode_name
from switch.config import Address
from switch.messages import BATCH, Sender, apart
from switch.udp import open_socket


class Message(NamedTuple):
    data: bytes
    segment: int
    """0: sent as it is."""
    address: Address | None


class Kernel:
    """Stands for sendmmsg: reads the C structures, and sends what `refuse` lets pass.

    As Linux does, it tells of an error only when nothing was sent before it.
    """

    def __init__(
        self, refuse: Callable[[Message], int] = lambda _: 0, at_most: int = 1024
    ) -> None:
        self.refuse = refuse
        self.at_most = at_most
        self.sent: list[Message] = []
        self.calls: list[int] = []

    def __call__(self, descriptor: int, first: int, count: int, room: Any) -> int:
        self.calls.append(count)
        taken = min(count, self.at_most)
        for index in range(taken):
            message = read_message(first + 64 * index)
            error = self.refuse(message)
            if error and index:
                return index
            if error:
                return -error
            self.sent.append(message)
        return taken

    def packets(self) -> list[bytes]:
        return [
            sent.data[cut : cut + (sent.segment or len(sent.data))]
            for sent in self.sent
            for cut in range(0, len(sent.data), sent.segment or len(sent.data))
        ]


def read_message(at: int) -> Message:
    """A struct mmsghdr of 64-bit Linux."""
    fields = struct.unpack("=QI4xQQQQi4xI4x", ctypes.string_at(at, 64))
    name, name_length, iovec, iovec_length, control, control_length, _, _ = fields
    assert iovec_length == 1
    base, length = struct.unpack("=QQ", ctypes.string_at(iovec, 16))
    segment = 0
    if control_length:
        assert control_length == 24  # CMSG_SPACE(2)
        found = struct.unpack("=QiiH", ctypes.string_at(control, 18))
        *header, segment = found
        assert header == [18, udp.SOL_UDP, udp.UDP_SEGMENT]
    address = decode_name(ctypes.string_at(name, name_length)) if name else None
    return Message(ctypes.string_at(base, length), segment, address)


@pytest.fixture
def sender() -> Iterator[Sender]:
    """One that believes in segments, with 2000 random bytes to send."""
    with open_socket(("127.0.0.1", 0)) as sock:
        sender = Sender(sock, random_bytes(2000))
        sender.segments = True
        yield sender


Install = Callable[..., Kernel]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    def install(*arguments: Any, **options: Any) -> Kernel:
        kernel = Kernel(*arguments, **options)
        monkeypatch.setattr(messages, "send_messages", kernel)
        return kernel

    return install


HERE: list[Address] = [("127.0.0.1", 1), ("127.0.0.1", 2)]
KNOWN = Addresses(HERE)
MANY = rows(*((at, 3, 3, at % 2) for at in range(2 * BATCH + 88)))
LONG = rows((0, 3, 3, 0), (3, 10, 4, 0), (13, 2, 2, 1), (15, 6, 3, 1), (21, 1, 1, 0))


def check_each_once(kernel: Kernel, sender: Sender, trains: np.ndarray) -> None:
    expected = packets_of(sender.buffer, trains)
    assert kernel.packets() == [packet for packet, _ in expected]


def test_only_trains_have_a_segment(sender: Sender, install: Install) -> None:
    kernel = install()
    assert sender.send(LONG, KNOWN) == 0
    data = sender.buffer.tobytes()
    assert kernel.sent == [
        Message(data[:3], 0, HERE[0]),
        Message(data[3:13], 4, HERE[0]),
        Message(data[13:15], 0, HERE[1]),
        Message(data[15:21], 3, HERE[1]),
        Message(data[21:22], 0, HERE[0]),
    ]
    assert kernel.calls == [5], "one system call"


def test_no_trains_no_call(sender: Sender, install: Install) -> None:
    kernel = install()
    assert sender.send(LONG[:0], KNOWN) == 0
    assert kernel.calls == []


def test_many_trains_in_few_calls(sender: Sender, install: Install) -> None:
    kernel = install()
    assert sender.send(MANY, KNOWN) == 0
    assert kernel.calls == [BATCH, BATCH, 88]
    check_each_once(kernel, sender, MANY)
    destinations = [HERE.index(sent.address) for sent in kernel.sent if sent.address]
    assert destinations == MANY[:, 3].tolist()


def test_what_a_call_has_left_goes_with_the_next(
    sender: Sender, install: Install
) -> None:
    kernel = install(at_most=2)
    assert sender.send(LONG, KNOWN) == 0
    assert kernel.calls == [5, 3, 1]
    check_each_once(kernel, sender, LONG)


def test_refused_trains_are_counted_over_all_calls(
    sender: Sender, install: Install
) -> None:
    refused = [*range(0, len(MANY), 100), len(MANY) - 1]
    contents = {sender.buffer[at : at + 3].tobytes() for at in refused}
    kernel = install(lambda sent: errno.ENETUNREACH * (sent.data in contents))
    assert sender.send(MANY, KNOWN) == len(refused)
    check_each_once(kernel, sender, np.delete(MANY, refused, axis=0))
    assert sender.error is not None
    assert sender.error.errno == errno.ENETUNREACH
    assert sender.segments


NO_SEGMENTS = [errno.EIO, errno.EINVAL, errno.ENOPROTOOPT]


@pytest.mark.parametrize("error", NO_SEGMENTS)
@pytest.mark.parametrize("at_most", [1, 1024])
def test_a_path_that_cannot_segment_gets_single_packets(
    sender: Sender, install: Install, error: int, at_most: int
) -> None:
    kernel = install(lambda sent: error * bool(sent.segment), at_most)
    assert sender.send(LONG, KNOWN) == 0
    check_each_once(kernel, sender, LONG)
    expected = [HERE[number] for _, number in packets_of(sender.buffer, LONG)]
    assert [sent.address for sent in kernel.sent] == expected
    assert not sender.segments
    assert sender.error is None
    tried = len(kernel.calls)
    assert sender.send(LONG, KNOWN) == 0
    assert all(sent.segment == 0 for sent in kernel.sent)
    assert at_most == 1 or len(kernel.calls) == tried + 1, "trains are not tried again"


def test_trains_that_were_sent_are_not_sent_again(
    sender: Sender, install: Install
) -> None:
    """One path can segment, the other one cannot."""
    kernel = install(
        lambda sent: errno.EIO * (sent.segment > 0 and sent.address == HERE[1])
    )
    assert sender.send(LONG, KNOWN) == 0
    check_each_once(kernel, sender, LONG)
    assert [sent.segment for sent in kernel.sent] == [0, 4, 0, 0, 0, 0]


def test_what_was_refused_before_the_first_train_counts(
    sender: Sender, install: Install
) -> None:
    first = sender.buffer[:3].tobytes()

    def refuse(sent: Message) -> int:
        return errno.EMSGSIZE if sent.data == first else errno.EIO * (sent.segment > 0)

    kernel = install(refuse)
    assert sender.send(LONG, KNOWN) == 1
    check_each_once(kernel, sender, LONG[1:])


@pytest.mark.parametrize("batch", [0, 1, 2])
def test_a_path_that_cannot_segment_gets_many_single_packets(
    sender: Sender, install: Install, batch: int
) -> None:
    trains = MANY.copy()
    trains[batch * BATCH + 5 :, 2] = 1  # packets of one byte
    kernel = install(lambda sent: errno.EIO * bool(sent.segment))
    assert sender.send(trains, KNOWN) == 0
    check_each_once(kernel, sender, trains)


def test_an_old_packet_s_error_refuses_no_train(
    sender: Sender, install: Install
) -> None:
    errors = [errno.ECONNREFUSED, 0, errno.ECONNREFUSED, errno.ECONNREFUSED]
    kernel = install(lambda _: errors.pop(0) if errors else 0)
    assert sender.send(LONG, KNOWN) == 0
    check_each_once(kernel, sender, LONG)
    assert errors == []
    assert [sent.segment for sent in kernel.sent] == [0, 4, 0, 3, 0]
    assert sender.error is None
    assert sender.segments


def test_a_train_of_packets_longer_than_the_path_takes(
    sender: Sender, install: Install
) -> None:
    """Linux takes such a packet alone, in fragments. A train it refuses: with EINVAL,
    and since 6.14 with EMSGSIZE."""
    kernel = install(
        lambda sent: errno.EMSGSIZE * (sent.segment > 0 and sent.address == HERE[0])
    )
    trains = np.tile(LONG, (BATCH, 1))
    assert sender.send(trains, KNOWN) == 0
    check_each_once(kernel, sender, trains)
    assert sender.error is None
    assert sender.segments
    segments = [sent.segment for sent in kernel.sent]
    assert segments == [0, 0, 0, 0, 0, 3, 0] * BATCH, "other paths still take trains"


def test_a_packet_alone_says_nothing_of_trains(
    sender: Sender, install: Install
) -> None:
    kernel = install(lambda sent: errno.EINVAL * (sent.segment == 0))
    assert sender.send(LONG, KNOWN) == 3
    assert [sent.segment for sent in kernel.sent] == [4, 3]
    assert sender.segments


def test_a_signal_refuses_no_train(sender: Sender, install: Install) -> None:
    """A call that waits for room ends with EINTR when the process handles a signal."""
    errors = [errno.EINTR, 0, errno.EINTR, errno.EINTR]
    kernel = install(lambda _: errors.pop(0) if errors else 0)
    assert sender.send(LONG, KNOWN) == 0
    check_each_once(kernel, sender, LONG)
    assert errors == []
    assert [sent.segment for sent in kernel.sent] == [0, 4, 0, 3, 0]


def test_no_addresses_after_some(sender: Sender, install: Install) -> None:
    kernel = install()
    sender.send(LONG, KNOWN)
    sender.send(LONG)
    assert {sent.address for sent in kernel.sent[len(LONG) :]} == {None}


# apart


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 900),
            st.integers(1, 900),
            st.integers(1, 900),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=9,
    )
)
def test_trains_come_apart_at_their_segments(
    trains: list[tuple[int, int, int, int]],
) -> None:
    buffer = random_bytes(2000)
    found = apart(rows(*trains))
    assert np.all(found[:, 1] <= found[:, 2])
    assert packets_of(buffer, found) == packets_of(buffer, rows(*trains))
    assert len(found) == len(packets_of(buffer, rows(*trains)))
