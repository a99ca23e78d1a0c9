"""The switch's ports: where faults happen to real packets, batch by batch.

One Port serves one direction, with a line (`faults.LINE`) for each address. Packets
that go on at once stay where they lie; those held back wait in the port's own memory.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from switch.compiled import kernel, plain
from switch.config import Address, FaultConfig
from switch.faults import (
    CORRUPT,
    DUPLICATE,
    HOLD_BACK,
    IN,
    LINE,
    LOSE,
    PASS,
    UDP_HEADER_BYTES,
    corrupt,
    fate,
    line_of,
)
from switch.udp import Rows

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

HELD = 4096  # packets that a port holds back at most; more are lost
NEVER = np.inf

# A packet that is held back. In the order in which they came; a freed one has length 0.
WAITING = np.dtype(
    [
        ("length", np.int64),
        ("address", np.int64),
        ("due", np.float64),  # when it goes on, at the latest
        ("overtaken_at", np.int64),  # the line's packet after which it does; 0: none
    ]
)
# Places in Port.queue: the first of those held back, the end.
FIRST, END = range(2)
# Places in Port.used.
ROWS, ROOM = range(2)

# Names of what the switch counts, with _in and _out behind them.
COUNTED = {
    "lost": "lost",
    "duplicated": "duplicated",
    "held_back": "held_back",
    "caught": "checksum",
    "missed": "corrupted",
}


class Port(NamedTuple):
    """One direction of all links of a switch."""

    lines: Any
    """[1 + addresses] records of LINE; the first is of unknown addresses. Empty: no
    link has faults in this direction."""
    waiting: Any
    """[HELD] records of WAITING, a ring."""
    memory: Bytes
    """[HELD, bytes of the longest packet]"""
    queue: Integers
    """[2]"""
    next_due: NDArray[np.float64]
    """[1] when the first of those held back must go on."""
    header: Bytes
    """[8] of the datagram at hand."""
    used: Integers
    """[2] rows that go on; bytes of the batch's buffer that are taken."""
    offset: Integers
    """[rows] of what goes on, in the batch's buffer."""
    length: Integers
    address: Integers


def new_port(faults: bool, addresses: int, rows: int, packet_bytes: int) -> Port:
    """Perfect links; `lines` gets the faults of each. `rows`: packets of a batch."""
    held = HELD if faults else 0
    lines = np.zeros(1 + addresses if faults else 0, LINE).view(np.recarray)
    return Port(
        lines,
        np.zeros(held, WAITING).view(np.recarray),
        np.empty((held, packet_bytes), np.uint8),
        np.zeros(2, np.int64),
        np.full(1, NEVER),
        np.zeros(UDP_HEADER_BYTES, np.uint8),
        np.zeros(2, np.int64),
        *np.zeros((3, rows if faults else 0), np.int64),
    )


def write_line(
    port: Port, config: FaultConfig, direction: int, number: int, address: Address
) -> None:
    """Give an address the faults of the link that leads there, from the beginning.

    What the line of its number has counted before goes to the line of unknown ones.
    What it holds back for the address that had the number is lost.
    """
    if port.lines.size:
        end = config.end(address[0])
        faults = end.inward if direction == IN else end.outward
        old, rest = port.lines[1 + number], port.lines[0]
        if number >= 0:
            held = port.waiting.length * (port.waiting.address == number) > 0
            rest.lost += held.sum()
            port.waiting.length[held] = 0
            for name in COUNTED:
                rest[name] += old[name]
        port.lines[1 + number] = line_of(faults, config.seed, direction, 1 + number)


def plain_port(port: Port) -> Port:
    """The same memory, as kernels like it."""
    return port._replace(lines=plain(port.lines), waiting=plain(port.waiting))


def counts_of(port: Port, suffix: str) -> dict[str, int]:
    """What faults have done to packets so far, all links together."""
    return {
        f"{name}_{suffix}": int(port.lines[field].sum())
        for field, name in COUNTED.items()
    }


@kernel
def is_perfect(port: Port) -> bool:
    return bool(port.lines.size == 0)


@kernel
def cross(port: Port, batch: Rows, count: int, room_at: int, now: float) -> int:
    """Pass `count` packets of `batch`; how many rows of the port go on, those that were
    held back until now among them.

    The buffer of the batch is free from `room_at` on. `batch.source` has the numbers of
    the addresses at the other ends of the links, whether packets come from or go there.
    """
    port.used[ROWS], port.used[ROOM] = 0, room_at
    for row in range(count):
        line = port.lines[1 + batch.source[row]]
        what = fate(line)
        if what == PASS and line.delay == 0.0:
            emit(port, batch.offset[row], batch.length[row], batch.source[row])
        elif what != LOSE:
            treat(port, batch, row, what, now)
        if line.waits > 0:
            free_overtaken(port, batch, line, batch.source[row], now)
    release(port, batch, now)
    forget_gone(port)
    return int(port.used[ROWS])


@kernel
def emit(port: Port, offset: int, length: int, address: int) -> bool:
    """Let a packet go on; False if there is no room for it."""
    at = port.used[ROWS]
    if at >= port.offset.size:
        return False
    port.offset[at], port.length[at], port.address[at] = offset, length, address
    port.used[ROWS] += 1
    return True


@kernel
def treat(port: Port, batch: Rows, row: int, what: int, now: float) -> None:
    """Double, corrupt, hold back, delay a packet."""
    address = batch.source[row]
    line = port.lines[1 + address]
    offset, length = batch.offset[row], batch.length[row]
    if what & DUPLICATE:
        pass_on(port, batch, offset, length, address, 0, now)
    if what & CORRUPT:
        # others may share the bytes
        offset = copy_of(port, batch, batch.buffer[offset : offset + length])
        if offset < 0:
            line.lost += 1
            return
        if not corrupt(line, port.header, batch.buffer[offset : offset + length]):
            return
    pass_on(port, batch, offset, length, address, what & HOLD_BACK, now)


@kernel
def pass_on(
    port: Port, batch: Rows, offset: int, length: int, address: int, hold: int,
    now: float,
) -> None:  # fmt: skip
    """Let a packet go on: now, or later; where there is no room for it, it is lost."""
    line = port.lines[1 + address]
    if hold or line.delay > 0.0:
        packet = batch.buffer[offset : offset + length]
        done = keep(port, packet, address, hold, now)
    else:
        done = emit(port, offset, length, address)
    if not done:
        line.lost += 1


@kernel
def put(place: Bytes, packet: Bytes) -> None:
    """(An assignment of slices allocates, in case that they overlap.)"""
    for at in range(packet.size):
        place[at] = packet[at]


@kernel
def copy_of(port: Port, batch: Rows, packet: Bytes) -> int:
    """Where in the batch's buffer a copy lies, or -1: there is no room."""
    start = port.used[ROOM]
    if start + packet.size > batch.buffer.size:
        return -1
    put(batch.buffer[start : start + packet.size], packet)
    port.used[ROOM] += packet.size
    return int(start)


@kernel
def keep(port: Port, packet: Bytes, address: int, hold: int, now: float) -> bool:
    """Take a packet into the port's memory; False if there is no room for it."""
    at = port.queue[END] % HELD
    if port.queue[END] - port.queue[FIRST] >= HELD or packet.size > len(port.memory[0]):
        return False
    line = port.lines[1 + address]
    entry = port.waiting[at]
    entry.length = packet.size
    entry.address = address
    entry.due = now + line.delay + (line.held_for if hold else 0.0)
    entry.overtaken_at = 0
    if hold and line.overtaken_by > 0:
        entry.overtaken_at = line.seen + line.overtaken_by
        line.waits += 1
    put(port.memory[at, : packet.size], packet)
    port.queue[END] += 1
    port.next_due[0] = min(port.next_due[0], entry.due)
    return True


@kernel
def free_overtaken(
    port: Port, batch: Rows, line: Any, address: int, now: float
) -> None:
    """Let go what enough packets of the line have overtaken; after its delay."""
    for place in range(port.queue[FIRST], port.queue[END]):
        entry = port.waiting[place % HELD]
        if entry.overtaken_at == 0 or entry.address != address:
            continue
        if entry.length > 0 and entry.overtaken_at <= line.seen:
            entry.overtaken_at = 0
            line.waits -= 1
            entry.due = min(entry.due, now + line.delay)
            port.next_due[0] = min(port.next_due[0], entry.due)
            if line.delay == 0.0:
                let_go(port, batch, place % HELD)


@kernel
def let_go(port: Port, batch: Rows, at: int) -> bool:
    """Pass a packet of the port's memory on; False if there is no room for it yet."""
    entry = port.waiting[at]
    if port.used[ROWS] >= port.offset.size:
        return False
    offset = copy_of(port, batch, port.memory[at, : entry.length])
    if offset < 0:
        return False
    emit(port, offset, entry.length, entry.address)
    if entry.overtaken_at > 0:
        port.lines[1 + entry.address].waits -= 1
    entry.length = 0
    return True


@kernel
def release(port: Port, batch: Rows, now: float) -> None:
    """Pass on what is due, as far as there is room; find the next moment."""
    if port.next_due[0] > now:
        return
    port.next_due[0] = NEVER
    for place in range(port.queue[FIRST], port.queue[END]):
        entry = port.waiting[place % HELD]
        if entry.length > 0 and (
            entry.due > now or not let_go(port, batch, place % HELD)
        ):
            port.next_due[0] = min(port.next_due[0], entry.due)


@kernel
def forget_gone(port: Port) -> None:
    """Move the queue's beginning over what has gone."""
    while port.queue[FIRST] < port.queue[END]:
        if port.waiting[port.queue[FIRST] % HELD].length > 0:
            return
        port.queue[FIRST] += 1
