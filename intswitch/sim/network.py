"""A worker's network in virtual time: its end of a `Meeting`."""

from __future__ import annotations

from multiprocessing.connection import Client
from time import perf_counter
from typing import Any

import numpy as np

from host.codes import check_kind
from host.collectives import Collectives
from host.packetizer import Results, Stream, make_ready, new_contributions
from host.transport import AggregationError, Statistics
from intswitch.sim.meeting import Seat
from intswitch.sim.simulated import Task
from switch.closing import Closing
from switch.codes import Table
from switch.parser import bytes_of, element_type_of


def join(
    simulator: str,
    *,
    job: str,
    rank: int,
    num_workers: int,
    num_slots: int,
    slot_bytes: int,
    code4: Table | None = None,
    code8: Table | None = None,
    **options: Any,
) -> SimNetwork:
    """Join a job at the simulator whose Unix socket this is, and wait for the others.

    Raises OSError when there is none, AggregationError when it refuses.
    """
    given = {"num_slots": num_slots, "slot_bytes": slot_bytes, **options}
    given |= {"code4": code4, "code8": code8}
    seat = Seat(job=job, rank=rank, num_workers=num_workers, options=given)
    return SimNetwork(simulator, seat)


class SimNetwork(Closing, Collectives):
    """One worker's place in a simulated job. See `Collectives` for what it can do."""

    def __init__(self, simulator: str, seat: Seat) -> None:
        self.rank, self.num_workers = seat.rank, seat.num_workers
        self.num_slots = seat.options["num_slots"]
        self.slot_bytes = seat.options["slot_bytes"]
        self.code4, self.code8 = seat.options["code4"], seat.options["code8"]
        self.address = "127.0.0.1"
        """Of what goes past the switch, in real time."""
        self.chunks = 0
        """How many chunks this job's aggregations have had so far."""
        self.totals = Statistics()
        self.ahead = 0.0
        """Seconds by which the network's clock is ahead of the real one."""
        self.counts: dict[str, int] = {}
        self.connection = Client(simulator, "AF_UNIX")
        self.connection.send(seat)
        _, (self.switch, self.accepted_per_chunk) = self._receive()

    @property
    def statistics(self) -> Statistics:
        return self.totals

    def clock(self) -> float:
        """Seconds: real ones, but for aggregations, which take their virtual time."""
        return perf_counter() + self.ahead

    def counters(self) -> dict[str, int]:
        """What became of this job's packets at this worker's switch."""
        return dict(self.counts)

    def aggregate(self, stream: Stream) -> None:
        """See `Collectives`. Raises AggregationError when it cannot end."""
        check_kind(stream.kind, self.code4, self.code8, self.num_workers)
        if stream.num_chunks == 0:
            return
        began, filled, drained = perf_counter(), 0.0, 0.0
        task = Task(
            kind=stream.kind,
            num_chunks=stream.num_chunks,
            elements_per_chunk=stream.elements_per_chunk,
        )
        self.connection.send(("task", task, stream.needs_results))
        while True:
            what, *told = self._receive()
            started = perf_counter()
            if what == "make":
                self.connection.send(made(stream, *told))
                filled += perf_counter() - started
            elif what == "take":
                take(stream, *told)
                drained += perf_counter() - started
            else:
                self._count(told, filled, drained, perf_counter() - began)
                self.chunks += stream.num_chunks
                return

    def _receive(self) -> Any:
        try:
            told = self.connection.recv()
        except (EOFError, OSError):
            raise AggregationError("a worker, or the simulator, is gone") from None
        if told[0] == "failed":
            raise AggregationError(told[1])
        return told

    def _count(self, told: Any, filled: float, drained: float, real: float) -> None:
        seconds, per_switch, sent, received, repeated, partial = told
        whole = filled + seconds + drained
        self.ahead += whole - real
        totals = self.totals
        totals.aggregations += 1
        totals.fill_seconds += filled
        totals.drain_seconds += drained
        totals.aggregate_seconds += whole
        totals.packets_sent += sent
        totals.packets_received += received
        totals.retransmissions += repeated
        totals.partial_results += partial
        for name, count in per_switch[self.switch].items():
            self.counts[name] = self.counts.get(name, 0) + count

    def close(self) -> None:
        self.connection.close()


def made(stream: Stream, first: int, end: int) -> tuple[Any, Any]:
    """Contributions of the chunks from `first` to `end`: [chunks, bytes of a payload]
    and [chunks, 4]."""
    count = end - first
    width = bytes_of(stream.elements_per_chunk, element_type_of(stream.kind))
    room = new_contributions(count, width)
    make_ready(room, count, stream.elements_per_chunk)
    stream.fill(np.arange(first, end), room)
    fields = (room.element_count, room.recipient, room.exponent, room.flags)
    return room.payload, np.stack(fields, axis=1)


def take(stream: Stream, chunks: Any, payloads: Any, told: Any) -> None:
    """Drain results; as `stored.results_since` has them."""
    width = payloads.shape[1]
    at = np.arange(len(chunks)) * width
    buffer = np.ascontiguousarray(payloads).reshape(-1)
    fields = np.ascontiguousarray(told.T)
    stream.drain(np.ascontiguousarray(chunks), Results(buffer, at, *fields))
