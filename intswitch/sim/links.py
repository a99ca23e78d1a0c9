"""How packets get on a link, and what it does to them. Times are in seconds.

One direction of a link sends one packet after the other at its rate; what waits for
that is its queue, which drops what it has no room for. Faults come behind the queue:
a packet that is lost has taken its time on the link.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from intswitch.sim.air import (
    FREE_FLIGHTS,
    NEVER,
    NONE,
    Air,
    drop_block,
    take_block,
)
from switch.compiled import kernel
from switch.faults import CORRUPT, DUPLICATE, HOLD_BACK, LOSE, corrupt, fate
from switch.protocol import HEADER_BYTES

Bytes = NDArray[np.uint8]

OVERHEAD_BYTES = 66
"""Around a UDP payload: UDP 8, IPv4 20, Ethernet 14 + 4, preamble 8, gap 12."""
SMALLEST_FRAME = 84  # bytes on the wire
LET_GO = -1


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
    arrives = link.free_at + link.delay
    if link.is_faulty:
        disturb(air, at, block, header, length, arrives)
    else:
        launch(air, at, block, header, length, arrives)


@kernel
def disturb(
    air: Air, at: int, block: int, header: Bytes, length: int, arrives: float
) -> None:
    """Launch what the faults of a link make of a packet."""
    line = air.lines[at]
    what = fate(line)
    if what == LOSE:
        drop_block(air, block)
        return
    if what & DUPLICATE:
        if block != NONE:
            air.uses[block] += 1
        launch(air, at, block, header, length, arrives)
        pass_held(air, at, arrives)
    if what & CORRUPT:
        block = damaged(air, line, block, length)
        if block == NONE:
            return
    if what & HOLD_BACK:
        number = launch(air, at, block, header, length, arrives + line.held_for)
        air.flights[number].overtaken_by = line.overtaken_by
    else:
        launch(air, at, block, header, length, arrives)
        pass_held(air, at, arrives)


@kernel
def damaged(air: Air, line: Any, block: int, length: int) -> int:
    """A block with the packet's bytes, some bits flipped; NONE: it does not arrive."""
    block_bytes = air.blocks.size // air.uses.size
    own = take_block(air)
    start, source = own * block_bytes, block * block_bytes
    for i in range(length):
        air.blocks[start + i] = air.blocks[source + i]
    drop_block(air, block)
    if corrupt(line, air.udp_header, air.blocks[start : start + length]):
        return own
    drop_block(air, own)
    return NONE


@kernel
def pass_held(air: Air, at: int, arrives: float) -> None:
    """A packet has overtaken those that are held back; one that has let enough pass
    comes right behind it."""
    if air.lines[at].reordering <= 0.0:
        return
    number = air.links[at].head
    while number != NONE:
        flight = air.flights[number]
        if flight.overtaken_by > 0:
            flight.overtaken_by -= 1
            if flight.overtaken_by == 0:
                flight.overtaken_by = LET_GO
        number = flight.next
    while let_go(air, at, arrives):
        pass


@kernel
def let_go(air: Air, at: int, arrives: float) -> bool:
    """Move the first packet that has let enough pass; False: there is none."""
    before, number = NONE, air.links[at].head
    while number != NONE:
        flight = air.flights[number]
        if flight.overtaken_by == LET_GO:
            unlink(air, at, before, number)
            flight.overtaken_by = 0
            flight.arrives = arrives
            queue_up(air, at, number)
            return True
        before, number = number, flight.next
    return False


@kernel
def unlink(air: Air, at: int, before: int, number: int) -> None:
    """Take a packet out of its link's queue. `before`: its predecessor, or NONE."""
    link = air.links[at]
    after = air.flights[number].next
    if before == NONE:
        link.head = after
        air.due[at] = NEVER if after == NONE else air.flights[after].arrives
    else:
        air.flights[before].next = after
    if link.tail == number:
        link.tail = before


@kernel
def launch(
    air: Air, at: int, block: int, header: Bytes, length: int, arrives: float
) -> int:
    """Queue a packet among those under way; the number of its flight."""
    air.free[FREE_FLIGHTS] -= 1
    number = air.idle[air.free[FREE_FLIGHTS]]
    flight = air.flights[number]
    flight.arrives = arrives
    flight.block = block
    flight.length = length
    flight.overtaken_by = 0
    if block == NONE:
        for i in range(HEADER_BYTES):
            flight.header[i] = header[i]
    queue_up(air, at, number)
    return int(number)


@kernel
def queue_up(air: Air, at: int, number: int) -> None:
    """Put a flight into its link's queue, by when it arrives; behind its equals."""
    link = air.links[at]
    arrives = air.flights[number].arrives
    air.flights[number].next = NONE
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
