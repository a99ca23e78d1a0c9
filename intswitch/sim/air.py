"""What is on the links: packets under way, by link, in their order of arrival.

A packet lies in a block, which copies of it share. One direction of a link sends one
packet after the other at its rate; what waits for that is the link's queue. Times are
in seconds.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from switch.compiled import kernel, plain
from switch.protocol import HEADER_BYTES

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]
Times = NDArray[np.float64]

NEVER = np.inf
NONE = -1
OVERHEAD_BYTES = 66
"""Around a UDP payload: UDP 8, IPv4 20, Ethernet 14 + 4, preamble 8, gap 12."""
SMALLEST_FRAME = 84  # bytes on the wire

LINK = np.dtype(
    [
        ("byte_time", np.float64),  # seconds a byte
        ("delay", np.float64),
        ("queue_bytes", np.float64),  # what may wait, inf: any
        ("free_at", np.float64),  # when the last packet has been sent
        ("head", np.int64),
        ("tail", np.int64),
        ("packets", np.int64),
        ("bytes", np.int64),  # UDP payloads
        ("dropped", np.int64),  # by the full queue
        ("waited", np.float64),  # seconds, of all packets together
        ("longest_wait", np.float64),
    ]
)
FLIGHT = np.dtype(
    [
        ("arrives", np.float64),
        ("block", np.int64),
        ("length", np.int64),
        ("next", np.int64),
        ("header", np.uint8, (HEADER_BYTES,)),  # of a packet without a block
    ]
)
FREE_FLIGHTS, FREE_BLOCKS = range(2)


class Air(NamedTuple):
    """All packets under way."""

    links: NDArray[Any]
    """Records of LINK: to the parent of node i at i, from it at nodes + i."""
    due: Times
    """[links] when the first packet of each arrives, or NEVER."""
    flights: NDArray[Any]
    """Records of FLIGHT."""
    idle: Integers
    """Stack of flights that are free; the last given back is the first taken."""
    blocks: Bytes
    """[blocks * block_bytes] packets."""
    uses: Integers
    """[blocks] copies that share each."""
    empty: Integers
    """Stack of blocks that are free."""
    free: Integers
    """[2] how many are in the stacks."""


def new_air(links: NDArray[Any], block_bytes: int, flights: int, blocks: int) -> Air:
    """Nothing under way; there is room for so much."""
    return Air(
        plain(links),
        np.full(links.size, NEVER),
        plain(np.zeros(flights, FLIGHT).view(np.recarray)),
        np.arange(flights)[::-1].copy(),
        np.zeros(blocks * block_bytes, np.uint8),
        np.zeros(blocks, np.int64),
        np.arange(blocks)[::-1].copy(),
        np.array([flights, blocks]),
    )


def enlarge(air: Air) -> Air:
    """The same with twice the room for what fills more than half of it."""
    if 2 * air.free[FREE_FLIGHTS] < air.idle.size:
        count, free = air.idle.size, air.free[FREE_FLIGHTS]
        flights = np.concatenate([air.flights, np.zeros(count, FLIGHT)])
        air = air._replace(
            flights=plain(flights.view(np.recarray)), idle=twice(air.idle, free)
        )
        air.free[FREE_FLIGHTS] += count
    if 2 * air.free[FREE_BLOCKS] < air.uses.size:
        count, free = air.uses.size, air.free[FREE_BLOCKS]
        air = air._replace(
            blocks=np.concatenate([air.blocks, np.zeros_like(air.blocks)]),
            uses=np.concatenate([air.uses, np.zeros_like(air.uses)]),
            empty=twice(air.empty, free),
        )
        air.free[FREE_BLOCKS] += count
    return air


def twice(stack: Integers, used: int) -> Integers:
    """A stack of free numbers below its size, and as many again from there on."""
    count = stack.size
    more = np.arange(count, 2 * count)[::-1]
    return np.concatenate([more, stack[:used], np.zeros(count - used, np.int64)])


@kernel
def has_room(air: Air, packets: int) -> bool:
    flights, blocks = air.free[FREE_FLIGHTS], air.free[FREE_BLOCKS]
    return bool(flights >= packets and blocks >= packets)


@kernel
def take_block(air: Air) -> int:
    """A block for one copy."""
    air.free[FREE_BLOCKS] -= 1
    block = air.empty[air.free[FREE_BLOCKS]]
    air.uses[block] = 1
    return int(block)


@kernel
def drop_block(air: Air, block: int) -> None:
    """One copy less; of a packet without a block there is nothing to give back."""
    if block == NONE:
        return
    air.uses[block] -= 1
    if air.uses[block] == 0:
        air.empty[air.free[FREE_BLOCKS]] = block
        air.free[FREE_BLOCKS] += 1


@kernel
def transmit(
    air: Air, at: int, block: int, header: Bytes, length: int, now: float
) -> None:
    """Put a packet on a link; its copy of the block goes with it. `header`: of one that
    has no block."""
    link = air.links[at]
    wire = max(length + OVERHEAD_BYTES, SMALLEST_FRAME) * link.byte_time
    begins = max(now, link.free_at)
    waits = begins - now
    link.packets += 1
    if waits > 0.0:
        if waits + wire > link.queue_bytes * link.byte_time:
            link.dropped += 1
            drop_block(air, block)
            return
        link.waited += waits
        link.longest_wait = max(link.longest_wait, waits)
    link.bytes += length
    link.free_at = begins + wire
    launch(air, at, block, header, length, link.free_at + link.delay)


@kernel
def launch(
    air: Air, at: int, block: int, header: Bytes, length: int, arrives: float
) -> None:
    """Queue a packet among those under way, by when it arrives."""
    link = air.links[at]
    air.free[FREE_FLIGHTS] -= 1
    number = air.idle[air.free[FREE_FLIGHTS]]
    flight = air.flights[number]
    flight.arrives = arrives
    flight.block = block
    flight.length = length
    flight.next = NONE
    if block == NONE:
        for i in range(HEADER_BYTES):
            flight.header[i] = header[i]
    if air.due[at] == NEVER:
        link.head = link.tail = number
        air.due[at] = arrives
    elif air.flights[link.tail].arrives <= arrives:
        air.flights[link.tail].next = number
        link.tail = number
    else:
        squeeze_in(air, at, number)


@kernel
def squeeze_in(air: Air, at: int, number: int) -> None:
    """Queue a packet that overtakes others."""
    link = air.links[at]
    flight = air.flights[number]
    if flight.arrives < air.due[at]:
        flight.next = link.head
        link.head = number
        air.due[at] = flight.arrives
        return
    before = link.head
    after = air.flights[before].next
    while air.flights[after].arrives <= flight.arrives:
        before = after
        after = air.flights[before].next
    flight.next = after
    air.flights[before].next = number


@kernel
def land(air: Air, at: int) -> int:
    """Take the first packet off a link: its flight, to be read before the next
    `launch`."""
    link = air.links[at]
    number = link.head
    link.head = air.flights[number].next
    air.due[at] = NEVER if link.head == NONE else air.flights[link.head].arrives
    air.idle[air.free[FREE_FLIGHTS]] = number
    air.free[FREE_FLIGHTS] += 1
    return int(number)
