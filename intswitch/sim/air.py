"""What is on the links: packets under way, by link, in their order of arrival.

A packet lies in a block, which copies of it share. How packets get on a link is the
matter of `links.py`. Times are in seconds.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from switch.compiled import kernel, plain
from switch.faults import UDP_HEADER_BYTES
from switch.protocol import HEADER_BYTES

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]
Times = NDArray[np.float64]

NEVER = np.inf
NONE = -1
LINK = np.dtype(
    [
        ("byte_time", np.float64),  # seconds a byte
        ("delay", np.float64),
        ("queue_bytes", np.float64),  # what may wait, inf: any
        ("is_faulty", np.int64),
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
        ("overtaken_by", np.int64),  # packets that it lets pass before it goes on
        ("header", np.uint8, (HEADER_BYTES,)),  # of a packet without a block
    ]
)
FREE_FLIGHTS, FREE_BLOCKS = range(2)


class Air(NamedTuple):
    """All packets under way."""

    links: NDArray[Any]
    """Records of LINK: to the parent of node i at i, from it at nodes + i."""
    lines: NDArray[Any]
    """[links] records of `switch.faults.LINE`."""
    udp_header: Bytes
    """[8] of the datagram at hand."""
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


def new_air(
    links: NDArray[Any],
    lines: NDArray[Any],
    block_bytes: int,
    flights: int,
    blocks: int,
) -> Air:
    """Nothing under way; there is room for so much."""
    return Air(
        plain(links),
        plain(lines),
        np.zeros(UDP_HEADER_BYTES, np.uint8),
        np.full(links.size, NEVER),
        plain(np.zeros(flights, FLIGHT).view(np.recarray)),
        np.arange(flights)[::-1].copy(),
        np.zeros(blocks * block_bytes, np.uint8),
        np.zeros(blocks, np.int64),
        np.arange(blocks)[::-1].copy(),
        np.array([flights, blocks]),
    )


def enlarge(air: Air) -> Air:
    """The same with twice the room for flights, or for blocks, or for both: where more
    than half of it is taken."""
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
def has_room(air: Air, flights: int, blocks: int) -> bool:
    enough_flights = air.free[FREE_FLIGHTS] >= flights
    return bool(enough_flights and air.free[FREE_BLOCKS] >= blocks)


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
