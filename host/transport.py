"""One aggregation after the other over a socket: window, packets, clock."""

import gc
import math
import os
import select
import socket
import threading
import time
from dataclasses import dataclass

import numpy as np

from host import arrivals
from host import window as win
from host.controller import Membership
from host.packetizer import (
    Results,
    Stream,
    assemble,
    assemble_queries,
    first_rows,
    new_contributions,
)
from switch.compiled import plain
from switch.messages import Receiver, Sender
from switch.parser import element_bytes, element_type_of
from switch.protocol import HEADER_BYTES, SEQUENCE_MASK
from switch.udp import MAX_ROWS, PACKET, couple

MAX_RETRIES = 15  # unanswered packets for one chunk, about 10 s
SILENCE = 5.0  # seconds without any packet before the switch counts as silent
BATCH_ROWS = 256  # packets filled at once; their payloads stay in the L2 cache
# Chunks in flight above which a worker that is woken lets others run first: the switch
# is about to send more, and a worker that goes on at once would handle train by train.
# With more processes than cores this is worth a third of the throughput.
YIELD_ABOVE = 64
LONGEST_WAIT = 0.5  # seconds between looks at the aggregation's own timeout


class AggregationError(RuntimeError):
    """An aggregation cannot end. The job is lost; the text says who or what is gone."""


@dataclass(slots=True)
class Statistics:
    """Running totals of one worker's network."""

    aggregations: int = 0
    packets_sent: int = 0
    packets_received: int = 0
    packets_ignored: int = 0
    """Received, but the answer to nothing outstanding: late or repeated."""
    retransmissions: int = 0
    queries: int = 0
    bytes_sent: int = 0
    """UDP payloads, retransmissions and queries included."""
    bytes_received: int = 0
    overflows: int = 0
    """Aggregations with an overflow flag."""
    fill_seconds: float = 0.0
    drain_seconds: float = 0.0
    aggregate_seconds: float = 0.0
    """In aggregations, filling and draining included."""


class NoCollections:
    """Keeps Python's cyclic garbage collector out of aggregations.

    They make no cycles, but many short-lived tuples: collections took a quarter of the
    time of a worker. Workers may be threads of one process: the last one out enables
    the collector again, if it was enabled.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.was_enabled = False

    def __enter__(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.was_enabled = gc.isenabled()
                gc.disable()
            self.inside += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0 and self.was_enabled:
                gc.enable()


NO_COLLECTIONS = NoCollections()


class Transport:
    """Runs one aggregation after the other: window, packets, socket, clock."""

    def __init__(self, sock: socket.socket, membership: Membership, job: str) -> None:
        self.sock = sock
        self.membership = membership
        self.job = job
        self.lost = False
        """An aggregation did not end: the workers may no longer agree on sequences."""
        self.heard_at = 0.0
        self.suspects: list[int] = []
        self.statistics = Statistics()
        self.chunks = 0
        state = win.new_state(
            num_slots=membership.num_slots,
            limit=membership.window,
            job=membership.job,
            worker=membership.rank,
            num_workers=membership.num_workers,
        )
        self.window = state.window[0]
        # the same memory, as the kernels like it
        self.state = state._replace(
            window=plain(state.window), slots=plain(state.slots)
        )
        # one-element views: reading a record's field takes Python ten times as long
        self.done = self.state.window["done"]
        self.in_flight = self.state.window["in_flight"]
        self.next_timeout = self.state.window["next_timeout"]
        self.again_head = self.state.window["again_head"]
        self.again_tail = self.state.window["again_tail"]
        self.ignored = self.state.window["ignored"]
        packet_bytes = HEADER_BYTES + membership.slot_bytes
        self.contributions = new_contributions(BATCH_ROWS, membership.slot_bytes)
        self.outgoing = win.Outgoing(*np.zeros((2, BATCH_ROWS), np.int64))
        self.arrived = arrivals.Arrived(*np.zeros((6, MAX_ROWS), np.int64))
        self.packets = plain(np.zeros(BATCH_ROWS, PACKET).view(np.recarray))
        self.trains = np.zeros((BATCH_ROWS, 4), np.int64)
        self.open_train = np.zeros(1, np.int64)
        buffer = np.zeros(BATCH_ROWS * packet_bytes, np.uint8)
        self.buffer = buffer
        self.sender = Sender(sock, buffer)
        self.receiver = Receiver(sock)
        self.poll = select.poll()
        self.poll.register(sock, select.POLLIN)
        self.poll.register(membership.fileno(), select.POLLIN)

    def aggregate(self, stream: Stream, timeout: float) -> None:
        """Send all chunks of `stream` and drain all results."""
        if stream.num_chunks == 0:
            return
        self._check_alive()
        with NO_COLLECTIONS:
            self.lost = True  # whatever ends it early, Ctrl-C included
            self._run(stream, timeout)
            self.lost = False

    def _run(self, stream: Stream, timeout: float) -> None:
        started = self.heard_at = time.monotonic()
        self.suspects = []
        width = element_bytes(element_type_of(stream.kind))
        win.begin(self.state, stream.num_chunks, stream.kind, stream.elements_per_chunk)
        now = started
        while True:
            self._send_due(stream, width, now)
            if self.done[0] == stream.num_chunks:
                break
            self._wait(now)
            now = time.monotonic()
            self._receive(stream, now)
            # what lies unread in the socket is not late
            late = now >= self.next_timeout[0] and self.receiver.drained
            if late and self.done[0] < stream.num_chunks:
                win.expire(self.state, now)
                self._check_progress(started + timeout, now)
        self.statistics.aggregations += 1
        self.chunks += stream.num_chunks
        self.statistics.aggregate_seconds += time.monotonic() - started

    def _send_due(self, stream: Stream, width: int, now: float) -> None:
        """Contributions and queries, until nothing more is due."""
        rows = BATCH_ROWS
        while rows == BATCH_ROWS or self.again_head[0] < self.again_tail[0]:
            rows = win.contributions_due(self.state, now, self.outgoing)
            if rows > 0:
                self._contribute(stream, width, rows)
            if self.again_head[0] < self.again_tail[0]:
                self._ask(win.queries_due(self.state, now, self.outgoing))

    def _ask(self, rows: int) -> None:
        chunks = self.outgoing.chunks[:rows]
        assemble_queries(self.state.window, chunks, self.buffer, self.packets)
        self.statistics.queries += rows
        self._send(rows)

    def _contribute(self, stream: Stream, width: int, rows: int) -> None:
        chunks = self.outgoing.chunks[:rows]
        repeated = self.outgoing.repeated[:rows]
        count = stream.elements_per_chunk
        some = first_rows(self.contributions, rows, count, count * width)
        before = time.perf_counter()
        stream.fill(chunks, some)
        self.statistics.fill_seconds += time.perf_counter() - before
        self.statistics.retransmissions += assemble(
            self.state.window, chunks, repeated, some, width, self.buffer, self.packets
        )
        self._send(rows)

    def _send(self, rows: int) -> None:
        count = couple(self.packets, rows, self.open_train, self.trains)
        # what the kernel refuses is as good as lost: the reason may pass
        self.sender.send(self.trains[:count])
        self.statistics.packets_sent += rows
        self.statistics.bytes_sent += int(self.trains[:count, 1].sum())

    def _wait(self, now: float) -> None:
        """Until packets or news have come, or a timer runs out."""
        seconds = min(max(self.next_timeout[0] - now, 0.0), LONGEST_WAIT)
        ready = self.poll.poll(math.ceil(seconds * 1000))
        if self.in_flight[0] > YIELD_ABOVE:
            os.sched_yield()
        for which, _ in ready:
            if which == self.membership.fileno():
                self.membership.acknowledge()
                self.window.missing = 0  # known from before the news
                self._check_membership()

    def _receive(self, stream: Stream, now: float) -> None:
        rows = self.receiver.receive()
        if rows == 0:
            return
        self.heard_at = now
        packets = self.receiver.rows
        arrived = arrivals.receive(self.state, packets, rows, now, self.arrived)
        self.statistics.packets_received += rows
        self.statistics.packets_ignored = int(self.ignored[0])
        self.statistics.bytes_received += int(packets.length[:rows].sum())
        if arrived == 0:
            return
        chunks, *fields = (field[:arrived] for field in self.arrived)
        before = time.perf_counter()
        stream.drain(chunks, Results(packets.buffer, *fields))
        self.statistics.drain_seconds += time.perf_counter() - before

    def _check_alive(self) -> None:
        if self.sock.fileno() < 0:
            raise AggregationError(f"the network of job {self.job!r} is closed")
        self._check_membership()
        if self.lost:
            raise AggregationError(
                f"job {self.job!r}: an earlier aggregation did not end; join anew"
            )

    def _check_membership(self) -> None:
        failure = self.membership.failure()
        if failure is not None:
            raise AggregationError(self._describe(failure))

    def _check_progress(self, deadline: float, now: float) -> None:
        """Raise once nothing more is to be hoped for."""
        if self.window.left_behind:
            raise AggregationError(self._describe("the switch has gone on without it"))
        if self.window.silent > MAX_RETRIES and now - self.heard_at > SILENCE:
            raise AggregationError(self._describe(self._silence()))
        missing = self._missing()
        if now >= deadline:
            who = f"workers {missing} are missing" if missing else "it takes too long"
            raise AggregationError(self._describe(f"timeout: {who}"))
        gone = [worker for worker in missing if worker in self.membership.left]
        if gone and gone == self.suspects:
            raise AggregationError(self._describe(f"workers {gone} have left"))
        if gone:  # unless the status is older than the news: look again
            self.suspects = gone
            self.window.missing = 0

    def _missing(self) -> list[int]:
        """Ranks that the last status showed missing."""
        bitmap = int(self.window.missing)
        return [
            rank for rank in range(self.membership.num_workers) if bitmap >> rank & 1
        ]

    def _silence(self) -> str:
        reasons = []
        if self.receiver.refused:
            reasons.append("its port is closed, or the way there barred (ICMP)")
        if self.sender.error is not None:
            reasons.append(f"packets were refused: {self.sender.error.strerror}")
        return "the switch does not answer" + "".join(f"; {text}" for text in reasons)

    def _describe(self, what: str) -> str:
        sequence = (int(self.window.first) + int(self.window.oldest)) & SEQUENCE_MASK
        done = f"{self.window.done} of {self.window.num_chunks} chunks done"
        return f"job {self.job!r}, sequence {sequence} ({done}): {what}"
