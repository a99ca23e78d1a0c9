"""One stretch of virtual time at one switch, or at one worker.

A stretch is shorter than any packet takes from one node to the next, so that what a
node sends within it reaches nobody within it: node after node can be stepped, each
with all its events in their order, and no event ever comes too late.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from host.arrivals import Arrived, receive
from host.losses import expire
from host.packetizer import assemble, assemble_queries, write8
from host.window import Outgoing, State, contributions_due, queries_due
from intswitch.sim.air import (
    NEVER,
    NONE,
    Air,
    drop_block,
    has_room,
    land,
    take_block,
)
from intswitch.sim.links import transmit
from intswitch.sim.ports import MOST_PORTS, next_packet, open_ports
from intswitch.sim.roll import call, enter
from intswitch.sim.state import (
    CONTRIBUTIONS,
    LANDED,
    OUTGOING,
    QUERIES,
    RESULTS,
    ROOM,
    Desk,
    World,
    state_of,
    window_of,
)
from switch import pipeline
from switch.aggregate import RESULTS as MULTICASTS
from switch.aggregate import look_for_stragglers
from switch.compiled import kernel
from switch.parser import element_type_of, read16, read32
from switch.protocol import AT_JOB, AT_SEQUENCE, HEADER_BYTES, SEQUENCE_MASK
from switch.replicate import Copies, clear
from switch.slots import NEXT_LOOK, NOW, REDUCE, START_AGAIN, TAKE_OVER
from switch.udp import Rows

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

MOST_COPIES = (
    2 * MOST_PORTS
)  # of what one packet at a switch causes, if all are doubled


def make(plan: Any, worker: int, chunk: int, packet: Bytes) -> None:
    """Stands for a kernel in `serve`: write the payload of a contribution."""
    raise NotImplementedError


def complete(windows: Any, rank: int, plan: Any, header: Bytes, packet: Bytes) -> None:
    """The whole of a worker's contribution, of which a header came."""
    write8(packet[:HEADER_BYTES], header)
    chunk = (read32(header, AT_SEQUENCE) - windows[rank].first) & SEQUENCE_MASK
    make(plan, rank, chunk, packet[HEADER_BYTES:])


def serve(world: World, plan: Any, node: int, until: float) -> bool:
    """A switch's events before `until`: take what comes, send what has waited long
    enough for stragglers; False: there is no room."""
    switches, air, roll = world.switches, world.air, world.roll
    number = world.nodes.switch[node]
    first, children = world.nodes.first_child[number], world.nodes.num_children[number]
    ports, out = switches.ports, switches.out
    open_ports(ports, air, node, first, children, until)
    state = state_of(switches, number)
    clock = switches.clock[number]
    while ports.size[0] > 0 or clock[NEXT_LOOK] < until:
        if not has_room(air, MOST_COPIES, MOST_COPIES):
            return False
        clear(out)
        row = 1  # results go out without stragglers where there is one job
        if ports.size[0] > 0 and ports.time[0] <= clock[NEXT_LOOK]:
            port, clock[NOW] = ports.number[0], ports.time[0]
            flight = air.flights[land(air, ports.link[0])]
            block = flight.block
            packet = world.packet[: flight.length]
            if block == NONE:
                rank = world.nodes.rank[first + port]
                complete(world.workers.windows, rank, plan, flight.header, packet)
            else:
                start = block * world.block_bytes
                packet = air.blocks[start : start + flight.length]
            row = 1 + state.row_of[read16(packet, AT_JOB)]
            counts = switches.counters[number, row]
            released, held = counts[MULTICASTS], held_slots(counts)
            accepted = counts[TAKE_OVER] + counts[REDUCE]
            pipeline.step(state, packet, port, world.rule, out)
            if counts[TAKE_OVER] + counts[REDUCE] != accepted:
                enter(roll, number, state.registers.slots, packet)
            drop_block(air, block)
            next_packet(ports, air, until)
        else:
            clock[NOW] = clock[NEXT_LOOK]
            counts = switches.counters[number, row]
            released, held = counts[MULTICASTS], held_slots(counts)
            look_for_stragglers(state, out)
        note_held(switches.occupancy[number, row], held, held_slots(counts), clock[NOW])
        if out.used[0] > 0:
            if node == 0 and counts[MULTICASTS] != released:
                call(roll, world.nodes, out, world.workers.windows[0].first)
            spread(air, out, first, children, node, world.block_bytes, clock[NOW])
    return True


@kernel
def held_slots(counts: Integers) -> int:
    """Those taken over whose result is not out, from what a switch has counted."""
    return int(counts[TAKE_OVER] + counts[START_AGAIN] - counts[MULTICASTS])


@kernel
def note_held(occupancy: Any, before: int, held: int, now: float) -> None:
    if held != before:
        occupancy.integral += before * (now - occupancy.since)
        occupancy.since = now
        occupancy.most = max(occupancy.most, held)


@kernel
def spread(
    air: Air, out: Copies, first: int, children: int, node: int, block_bytes: int,
    now: float,
) -> None:  # fmt: skip
    """Put what a packet has caused on the links; the copies of a multicast share a
    block."""
    nodes = air.due.size // 2
    offset, block = -1, NONE
    for row in range(out.used[0]):
        copy = out.rows[row]
        if copy.offset != offset:
            drop_block(air, block)
            # one use of it is ours until all copies are made: links may lose them
            block, offset = take_block(air), copy.offset
            start = block * block_bytes
            write8(
                air.blocks[start : start + copy.length],
                out.buffer[offset : offset + copy.length],
            )
        air.uses[block] += 1
        port = copy.destination
        link = nodes + first + port if port < children else node
        transmit(air, link, block, out.buffer, copy.length, now)
    drop_block(air, block)


@kernel
def listen(world: World, node: int, until: float) -> None:
    """A worker's events before `until`: take what comes, let timers run, decide what to
    send. It ends earlier when the desk is full; then `wake` is not later than `until`.
    """
    workers, air, desk = world.workers, world.air, world.desk
    rank = world.nodes.rank[node]
    link = world.nodes.switch.size + node
    state = window_of(workers, rank)
    window = state.window[0]
    desk.used[:] = 0
    now = workers.clock[rank]
    was_done = window.done == window.num_chunks
    if not was_done and workers.wake[rank] <= now:
        decide(state, desk, now)
    while desk.used[CONTRIBUTIONS] < ROOM and desk.used[LANDED] < ROOM:
        arrives, timer = air.due[link], window.next_timeout
        if window.done == window.num_chunks:
            timer = NEVER
        if min(arrives, timer) >= until:
            break
        if timer < arrives:
            now = max(now, timer)
            expire(state, now)
        else:
            now = arrives
            take(state, air, desk, link, world.block_bytes, now)
        if window.done < window.num_chunks and now >= workers.begins[rank]:
            decide(state, desk, now)
    is_done = window.done == window.num_chunks
    if is_done and not was_done:
        workers.finished[rank] = now
        world.totals.finished[0] += 1
    workers.received[rank] += desk.used[LANDED]
    workers.clock[rank] = now
    workers.wake[rank] = NEVER if is_done else window.next_timeout
    if desk.used[CONTRIBUTIONS] == ROOM or desk.used[QUERIES] == ROOM:
        workers.wake[rank] = now


@kernel
def take(
    state: State, air: Air, desk: Desk, link: int, block_bytes: int, now: float
) -> None:
    """Receive one packet."""
    flight = air.flights[land(air, link)]
    block = flight.block
    row, arrived, used = desk.row, desk.arrived, desk.used[RESULTS]
    row.offset[0] = block * block_bytes
    row.length[0] = flight.length
    out = Arrived(
        arrived.chunks[used:], arrived.payload_at[used:], arrived.element_count[used:],
        arrived.num_workers[used:], arrived.exponent[used:], arrived.flags[used:],
    )  # fmt: skip
    here = Rows(air.blocks, row.offset, row.length, row.source)
    desk.used[RESULTS] += receive(state, here, 1, now, out)
    desk.landed[desk.used[LANDED]] = block
    desk.used[LANDED] += 1


@kernel
def decide(state: State, desk: Desk, now: float) -> None:
    """Note what is to be sent now."""
    used = desk.used[CONTRIBUTIONS]
    room = Outgoing(desk.chunks[used:], desk.repeated[used:])
    window = state.window[0]
    count = contributions_due(state, now, room)
    note(desk, 0, count, now)
    desk.used[CONTRIBUTIONS] += count
    if window.again_head < window.again_tail:
        asked = desk.used[QUERIES]
        room = Outgoing(desk.asked[asked:], desk.nothing[asked:])
        count = queries_due(state, now, room)
        note(desk, 1, count, now)
        desk.used[QUERIES] += count


@kernel
def note(desk: Desk, is_query: int, count: int, now: float) -> None:
    start = desk.used[OUTGOING]
    for row in range(start, start + count):
        desk.is_query[row] = is_query
        desk.when[row] = now
    desk.used[OUTGOING] += count


@kernel
def speak(world: World, node: int) -> None:
    """Put what a worker has decided to send on its link.

    In a `hollow` world these are headers: the payload is made when the packet arrives,
    from the same plan and so of the same bytes. It would lie in memory all the way
    else, and thousands of workers' packets fit no cache: that took half of the time.
    """
    desk, workers, air = world.desk, world.workers, world.air
    rank = world.nodes.rank[node]
    windows = workers.windows[rank : rank + 1]
    count, asked = desk.used[CONTRIBUTIONS], desk.used[QUERIES]
    workers.repeated[rank] += assemble(
        windows, desk.chunks[:count], desk.repeated, desk.contributions,
        element_type_of(windows[0].kind), desk.buffer, desk.packets,
    )  # fmt: skip
    assemble_queries(windows, desk.asked[:asked], desk.query_buffer, desk.query_packets)
    workers.sent[rank] += count + asked
    workers.queries[rank] += asked
    contributions = queries = 0
    for row in range(desk.used[OUTGOING]):
        if desk.is_query[row] == 1:
            packet, buffer = desk.query_packets[queries], desk.query_buffer
            queries += 1
        else:
            packet, buffer = desk.packets[contributions], desk.buffer
            contributions += 1
        here = buffer[packet.offset : packet.offset + packet.length]
        block = NONE
        if world.hollow == 0 or packet.length == HEADER_BYTES:
            block = take_block(air)
            start = block * world.block_bytes
            write8(air.blocks[start : start + packet.length], here)
        transmit(air, node, block, here, packet.length, desk.when[row])


@kernel
def clear_desk(air: Air, landed: Integers) -> None:
    """Give the blocks of what came back; its results have been drained."""
    for row in range(landed.size):
        drop_block(air, landed[row])
