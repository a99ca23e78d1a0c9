"""A worker's packets without a socket, batch by batch: what is due, and what has come.

For networks that are none, as explorations and virtual time have them. Over real
sockets `exchange.py` does the same, compiled in one piece.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from host.arrivals import Arrived, receive
from host.packetizer import (
    Results,
    Stream,
    assemble,
    assemble_queries,
    make_ready,
    new_contributions,
)
from host.window import Outgoing, State, contributions_due, queries_due
from switch.parser import bytes_of, element_type_of
from switch.protocol import HEADER_BYTES
from switch.udp import PACKET, Rows


def contributions(state: State, stream: Stream, now: float) -> Rows:
    """All that the window allows, new ones and repeats."""
    due, packets = _room(state)
    count = contributions_due(state, now, due)
    chunks, repeated = due.chunks[:count], due.repeated[:count]
    element_type = element_type_of(stream.kind)
    room = new_contributions(count, bytes_of(stream.elements_per_chunk, element_type))
    make_ready(room, count, stream.elements_per_chunk)
    stream.fill(chunks, room)
    buffer = room.packets.reshape(-1)
    assemble(state.window, chunks, repeated, room, element_type, buffer, packets)
    return _rows(buffer, packets[:count])


def queries(state: State, now: float) -> Rows:
    due, packets = _room(state)
    count = queries_due(state, now, due)
    buffer = np.zeros(count * HEADER_BYTES, np.uint8)
    assemble_queries(state.window, due.chunks[:count], buffer, packets)
    return _rows(buffer, packets[:count])


def take_in(state: State, stream: Stream, rows: Rows, now: float) -> Arrived:
    """Receive packets; the stream gets the results that count, which are returned."""
    rows_in = rows.offset.size
    room = Arrived(*np.zeros((6, rows_in), np.int64))
    count = receive(state, rows, rows_in, now, room)
    arrived = Arrived(*(each[:count] for each in room))
    stream.drain(arrived.chunks, Results(rows.buffer, *arrived[1:]))
    return arrived


def row_of(packet: bytes) -> Rows:
    """One received packet."""
    buffer = np.frombuffer(packet, np.uint8).copy()
    return Rows(buffer, *np.array([[0], [buffer.size], [0]]))


def bytes_of_rows(rows: Rows) -> list[bytes]:
    return [
        rows.buffer[start : start + length].tobytes()
        for start, length in zip(rows.offset, rows.length, strict=True)
    ]


def _room(state: State) -> tuple[Outgoing, NDArray[Any]]:
    slots = len(state.slots)
    due = Outgoing(*np.zeros((2, slots), np.int64))
    return due, np.zeros(slots, PACKET).view(np.recarray)


def _rows(buffer: NDArray[np.uint8], packets: NDArray[Any]) -> Rows:
    """No senders: they are for who receives them to tell."""
    offset, length = packets["offset"].copy(), packets["length"].copy()
    return Rows(buffer, offset, length, np.zeros(len(packets), np.int64))
