"""One aggregation after the other over a socket: the shell around `exchange.py`."""

import socket
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from host import exchange
from host import window as win
from host.arrivals import Arrived
from host.exchange import Line, loop_of
from host.fixed_job import Place
from host.packetizer import Stream, new_contributions
from host.recovery import PATIENT, Recovery
from switch.addresses import Addresses
from switch.compiled import plain
from switch.messages import Receiver, Sender
from switch.parser import bytes_of, element_type_of
from switch.protocol import HEADER_BYTES, SEQUENCE_MASK
from switch.system import POLL, POLL_IN
from switch.udp import MAX_ROWS, MAX_SEGMENTS, MAX_TRAIN_BYTES, PACKET

MAX_RETRIES = 15  # unanswered packets for one chunk
SILENCE = 10.0  # seconds without any packet before the switch counts as silent
BATCH_TRAINS = 2  # filled at once; their payloads stay in the L2 cache
BATCH_ROWS = BATCH_TRAINS * MAX_SEGMENTS
READ_TRAINS = 8  # read at once, for the same reason
GLANCE = 0.05  # seconds between looks at signals, news and the aggregation's timeout


class AggregationError(RuntimeError):
    """An aggregation cannot end. The job is lost; the text says who or what is gone."""


class LeftBehind(AggregationError):
    """The others have gone on without this worker: results went out while it was late.
    It may reload what it has missed, and go on with `Network.rejoin_at`."""


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
    partial_results: int = 0
    """Without workers that were late."""
    overflows: int = 0
    """Aggregations with an overflow flag."""
    fill_seconds: float = 0.0
    drain_seconds: float = 0.0
    aggregate_seconds: float = 0.0
    """In aggregations, filling and draining included."""


class Transport:
    """Runs one aggregation after the other: window, packets, socket, clock."""

    aborted: str | None = None
    """Why nothing is to go on, says another thread."""

    def __init__(
        self,
        sock: socket.socket,
        group: socket.socket | None,
        membership: Place,
        job: str,
        recovery: Recovery = PATIENT,
    ) -> None:
        self.sock = sock
        self.membership = membership
        self.job = job
        self.lost = False
        """An aggregation did not end: the workers may no longer agree on sequences."""
        self.is_behind = False
        """... and the switch has said so."""
        self.suspects: list[int] = []
        self.statistics = Statistics()
        self.chunks = 0
        state = _new_state(membership, recovery)
        self.window = state.window[0]
        # the same memory, as the kernels like it
        self.state = state._replace(
            window=plain(state.window), slots=plain(state.slots)
        )
        buffer = np.zeros(BATCH_ROWS * (HEADER_BYTES + membership.slot_bytes), np.uint8)
        self.sender = Sender(sock, buffer)
        self.receiver = Receiver(sock, READ_TRAINS)
        shared = -1 if group is None else group.fileno()
        self.line = Line(
            inlet=self.receiver.inlet,
            group=self.receiver.inlet._replace(descriptor=shared),
            outlet=self.sender.outlet,
            nobody=Addresses().table,
            contributions=new_contributions(BATCH_ROWS, 0),
            buffer=buffer,
            outgoing=win.Outgoing(*np.zeros((2, BATCH_ROWS), np.int64)),
            arrived=Arrived(*np.zeros((6, MAX_ROWS), np.int64)),
            packets=plain(np.zeros(BATCH_ROWS, PACKET).view(np.recarray)),
            open_train=np.zeros(1, np.int64),
            trains=np.zeros((BATCH_ROWS, 4), np.int64),
            progress=np.zeros(2, np.int64),
            polled=_polled(sock.fileno(), membership.fileno(), shared),
            counts=np.zeros(exchange.COUNTS, np.int64),
            seconds=np.zeros(3),
        )

    def aggregate(self, stream: Stream, timeout: float) -> None:
        """Send all chunks of `stream` and drain all results."""
        if stream.num_chunks == 0:
            return
        self._check_alive()
        self.lost = True  # whatever ends it early, Ctrl-C included
        started = time.monotonic()
        self._run(stream, started, timeout)
        self.lost = False
        self.statistics.aggregate_seconds += time.monotonic() - started
        self.statistics.aggregations += 1
        self.chunks += stream.num_chunks

    def skip_to(self, chunks: int) -> None:
        """Begin with chunk `chunks` of the job. Raises AggregationError if this worker
        was not left behind."""
        if not self.is_behind:
            raise AggregationError(f"job {self.job!r}: this worker is not left behind")
        self.window.first, self.window.num_chunks = chunks & SEQUENCE_MASK, 0
        self.window.left_behind = 0
        self.chunks, self.lost, self.is_behind = chunks, False, False

    def _run(self, stream: Stream, started: float, timeout: float) -> None:
        self.suspects = []
        loop = loop_of(stream.fill_rows, stream.drain_rows)
        line = self._line_of(stream)
        line.seconds[exchange.HEARD] = started
        win.begin(self.state, stream.num_chunks, stream.kind, stream.elements_per_chunk)
        while True:
            why = loop(stream.plan, self.state, line, time.monotonic() + GLANCE)
            self._count()
            if why == exchange.DONE:
                return
            if why == exchange.REFUSED:
                # what the kernel refuses is as good as lost: the reason may pass
                count, sent = line.progress
                self.sender.send(line.trains[sent:count])
            elif why == exchange.FAILED:
                self.receiver.note(int(line.counts[exchange.ERROR]))
            elif why == exchange.NEWS:
                self._hear_news()
            self._check_progress(started, timeout, time.monotonic())

    def _line_of(self, stream: Stream) -> Line:
        """The line, its buffer divided into packets of this stream's length."""
        element_type = element_type_of(stream.kind)
        stride = HEADER_BYTES + bytes_of(stream.elements_per_chunk, element_type)
        rows = BATCH_TRAINS * min(MAX_TRAIN_BYTES // stride, MAX_SEGMENTS)
        packets = self.line.buffer[: rows * stride].reshape(rows, stride)
        return self.line._replace(
            contributions=self.line.contributions._replace(packets=packets),
            outgoing=win.Outgoing(*(each[:rows] for each in self.line.outgoing)),
        )

    def _hear_news(self) -> None:
        self.line.polled["returned"] = 0
        self.membership.acknowledge()
        self.window.missing = 0  # known from before the news
        self._check_membership()

    def _count(self) -> None:
        """Bring the statistics up to date."""
        counts, total = self.line.counts.tolist(), self.statistics
        total.packets_sent = counts[exchange.SENT]
        total.packets_received = counts[exchange.RECEIVED]
        total.packets_ignored = int(self.window.ignored)
        total.partial_results = int(self.window.partial)
        total.retransmissions = counts[exchange.RETRANSMITTED]
        total.queries = counts[exchange.QUERIED]
        total.bytes_sent = counts[exchange.BYTES_SENT]
        total.bytes_received = counts[exchange.BYTES_RECEIVED]
        total.fill_seconds = float(self.line.seconds[exchange.FILL])
        total.drain_seconds = float(self.line.seconds[exchange.DRAIN])

    def _check_alive(self) -> None:
        if self.sock.fileno() < 0:
            raise AggregationError(f"the network of job {self.job!r} is closed")
        self._check_membership()
        if self.lost:
            raise AggregationError(
                f"job {self.job!r}: an earlier aggregation did not end; join anew"
            )

    def _check_membership(self) -> None:
        failure = self.aborted or self.membership.failure()
        if failure is not None:
            raise AggregationError(self._describe(failure))

    def _check_progress(self, started: float, timeout: float, now: float) -> None:
        """Raise once nothing more is to be hoped for."""
        if self.aborted is not None:
            raise AggregationError(self._describe(self.aborted))
        if self.window.left_behind:
            self.is_behind = True
            raise LeftBehind(self._describe("the others have gone on without it"))
        quiet = now - self.line.seconds[exchange.HEARD]
        if self.window.silent > MAX_RETRIES and quiet > SILENCE:
            raise AggregationError(self._describe(self._silence()))
        missing = self._missing()
        if now >= started + timeout:
            who = f"workers {missing} are missing" if missing else "it takes too long"
            what = f"timeout after {timeout:g} s: {who}"
            raise AggregationError(self._describe(what))
        gone = [worker for worker in missing if worker in self.membership.left]
        if gone and gone == self.suspects:
            raise AggregationError(self._describe(f"workers {gone} have left"))
        if gone:  # unless the status is older than the news: look again
            self.suspects = gone
            self.window.missing = 0

    def _missing(self) -> list[int]:
        """Ranks that the last status showed missing, or behind a switch that is."""
        bitmap = int(self.window.missing)
        behind = enumerate(self.membership.behind)
        return [rank for bit, ranks in behind if bitmap >> bit & 1 for rank in ranks]

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


def _new_state(place: Place, recovery: Recovery) -> win.State:
    return win.new_state(
        num_slots=place.num_slots,
        limit=place.window,
        job=place.job,
        worker=place.rank,
        num_workers=place.num_workers,
        seat=win.seat_at(place.rank, place.behind),
        recovery=recovery,
    )


def _polled(*descriptors: int) -> Any:
    polled = np.zeros(len(descriptors), POLL)
    polled["descriptor"] = descriptors
    polled["events"] = POLL_IN
    return polled
