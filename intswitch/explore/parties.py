"""A switch and its workers as functions: state and packet in, state and packets out.

The code that steps is the product's own: `switch.pipeline`, `host.window`,
`host.datagrams`. A state is the bytes of its arrays, so that it can be put back, and
compared. Time is left out: what a timer would have a worker send, it may send at any
moment, and what only timers read is kept at one value.
"""

from itertools import combinations
from typing import Any

import numpy as np

from host import datagrams, window
from host.packetizer import ArrayStream
from host.recovery import new_estimate
from intswitch.explore.shapes import (
    JOB,
    SLOT_BYTES,
    Packet,
    Party,
    Shape,
    Step,
    address,
    jobs_of_places,
    number,
    pack,
    place_of,
    unpack,
)
from switch.config import Address, JobConfig, SwitchConfig
from switch.pipeline import Pipeline
from switch.protocol import (
    AT_FORMAT_OPCODE,
    AT_SEQUENCE,
    AT_WORKER,
    HEADER_BYTES,
    SEQUENCE_MASK,
    STATUS_BYTES,
    Opcode,
    Reduction,
    Rule,
)
from switch.slots import CLOSED, NEXT_LOOK
from switch.tree import ranks_behind, ranks_of
from switch.udp import Rows

MOST_WORKERS = 4  # the numbers below fit an int32


class Switch:
    """The pipeline with one job; its state is the job's registers."""

    def __init__(self, shape: Shape, job: JobConfig, place: int) -> None:
        self.shape, self.job, self.place = shape, job, place
        self.name = f"switch {place}" if shape.tree else "switch"
        self.below = sum(map(len, ranks_behind(job)))
        self.pipeline = Pipeline(
            SwitchConfig(
                rule=shape.rule,
                num_slots=shape.num_slots,
                slot_bytes=SLOT_BYTES,
                jobs=(job,),
            )
        )
        registers = self.pipeline.state.registers
        self.arrays = [registers.slots.view(np.ndarray), registers.values]

    def start(self) -> Step:
        """See `empty`. A switch that waits for no straggler has a timer for each slot
        and version: a packet to itself, which can come at any time."""
        return self.empty()._replace(later=self.timers)

    def empty(self) -> Step:
        """Empty registers; where the first sequence is not 0, those of a job whose
        chunks have all been summed so far."""
        slots: Any = self.pipeline.state.registers.slots
        versions = 2 * self.shape.num_slots
        for back in range(1, versions + 1 if self.shape.first else 1):
            sequence = (self.shape.first - back) & SEQUENCE_MASK
            slot = slots[sequence & (versions - 1)]
            slot.sequence = sequence
            slot.received, slot.final = self.below, self.shape.num_workers
            slot.closed = CLOSED
            if self.shape.rule == Rule.SAFE:
                slot.bitmap = (1 << len(self.job.workers)) - 1
        return Step(pack(self.arrays), (), "starts")

    def take(self, state: bytes, packet: Packet) -> Step:
        unpack(state, self.arrays)
        before = self.pipeline.counters(JOB)
        if packet.source == self.place:
            copies = self.expire(packet.data[0])
        else:
            copies = self.pipeline.process([(packet.data, address(packet.source))])
        after = self.pipeline.counters(JOB)
        did = [name for name in after if after[name] > before[name]]
        sent = [
            Packet(self.place, place_of(to), self.as_read(data, place_of(to)))
            for data, to in copies
        ]
        words = ", ".join(name for name in did if name != "copies")
        return Step(pack(self.arrays), tuple(sent), words)

    def expire(self, index: int) -> list[tuple[bytes, Address]]:
        """Have a slot wait for too long, and no other. Times are kept at one value."""
        slots: Any = self.pipeline.state.registers.slots
        clock = self.pipeline.state.registers.clock
        patience = self.job.straggler_timeout
        slots.began, clock[NEXT_LOOK] = 2 * patience, 0.0
        slots[index].began = 0.0
        copies = self.pipeline.process([], patience)
        slots.began, clock[NEXT_LOOK] = 0.0, np.inf
        slots.heard = 0.0
        return copies

    def as_read(self, data: bytes, place: int) -> bytes:
        """A status with no more in it than a host acts on: its own bit, and whether
        anybody, or everybody, is in. (The others' bits name the missing in an error.)
        """
        if data[AT_FORMAT_OPCODE] & 0xF != Opcode.STATUS:
            return data
        header = bytearray(data[:HEADER_BYTES])
        bitmap = int.from_bytes(data[HEADER_BYTES:], "big")
        if header[AT_WORKER + 1] != self.below:
            bitmap &= 1 << self.job.workers.index(address(place))
            header[AT_WORKER + 1] = min(header[AT_WORKER + 1], 1)
        return bytes(header) + bitmap.to_bytes(STATUS_BYTES, "big")

    @property
    def timers(self) -> tuple[Packet, ...]:
        count = 2 * self.shape.num_slots if self.shape.stragglers else 0
        return tuple(
            Packet(self.place, self.place, bytes([timer])) for timer in range(count)
        )

    def again(self, state: bytes) -> tuple[Packet, ...]:
        return self.timers

    def finished(self, state: bytes) -> bool:
        return True

    def claim(self, packet: Packet) -> None:
        return None


class Worker:
    """A window that goes through all its aggregations; what it gets must be right."""

    def __init__(
        self, shape: Shape, rank: int, place: int, switch: int, job: JobConfig
    ) -> None:
        self.shape, self.rank, self.place, self.switch = shape, rank, place, switch
        self.name = f"worker {rank}"
        self.window = window.new_state(
            num_slots=shape.num_slots,
            limit=shape.limit or shape.num_slots,
            job=JOB,
            worker=rank,
            num_workers=shape.num_workers,
            seat=window.seat_at(rank, ranks_behind(job)),
        )
        self.begun = np.zeros(1, np.int64)
        """[1] how many aggregations."""
        self.arrays = [
            self.begun,
            *(np.asarray(each) for each in self.window),
        ]
        self.starts = np.cumsum((0, *shape.aggregations))
        self.outs = [np.zeros(count, np.int32) for count in shape.aggregations]
        self.streams = [self.stream(index) for index in range(len(self.outs))]

    def stream(self, index: int) -> ArrayStream:
        chunks = range(self.starts[index], self.starts[index + 1])
        values = np.array([number(self.rank, each) for each in chunks], np.int32)
        return ArrayStream(values, self.outs[index], Reduction.SUM, SLOT_BYTES)

    def start(self) -> Step:
        self.begun[0] = 0
        self.window.window["first"] = self.shape.first
        self.begin_next()
        return self.step("starts")

    def claim(self, packet: Packet) -> tuple[bytes, bytes] | None:
        """All results of a chunk are the same, also those that some are missing in."""
        opcode = packet.data[AT_FORMAT_OPCODE] & 0xF
        if not self.shape.stragglers or opcode != Opcode.RESULT:
            return None
        data = packet.data
        sequence = data[AT_SEQUENCE : AT_SEQUENCE + 4]
        return sequence, data[AT_WORKER : AT_WORKER + 2] + data[HEADER_BYTES:]

    @property
    def news(self) -> tuple[Packet, ...]:
        """Which aggregation it is at, told past the switches."""
        begun = bytes([int(self.begun[0]) if self.shape.rejoin else 0])
        first = self.place - self.rank
        others = range(first, first + self.shape.num_workers)
        return tuple(Packet(self.place, each, begun) for each in others if begun[0] > 1)

    def rejoin(self, state: bytes, begun: int) -> Step:
        """`Network.rejoin_at`, if it is left behind and not as far."""
        record: Any = self.window.window[0]
        if not record.left_behind or begun <= self.begun[0]:
            return Step(state, (), "has no use for it")
        record.first = (self.shape.first + self.starts[begun - 1]) & SEQUENCE_MASK
        record.num_chunks = record.left_behind = 0
        self.begun[0] = begun - 1
        self.begin_next()
        return self.step(f"goes on with aggregation {begun - 1}")

    def begin_next(self) -> None:
        stream = self.streams[self.begun[0]]
        self.begun[0] += 1
        window.begin(
            self.window, stream.num_chunks, stream.kind, stream.elements_per_chunk
        )

    def take(self, state: bytes, packet: Packet) -> Step:
        unpack(state, self.arrays)
        if len(packet.data) == 1:
            return self.rejoin(state, packet.data[0])
        if self.window.window[0].left_behind:
            return Step(state, (), "has given up")
        index = int(self.begun[0]) - 1
        self.outs[index][:] = 0
        stream, rows = self.streams[index], datagrams.row_of(packet.data)
        arrived = datagrams.take_in(self.window, stream, rows, 0.0)
        record = self.window.window[0]
        if record.left_behind:
            told = "is told that the switch went on without it"
            if self.shape.stragglers:  # it gives up, and that is the end of it
                self.forget_time()
                return Step(pack(self.arrays), (), told)
            return self.step("learns", told)
        if arrived.chunks.size == 0:
            return self.step("ignores" if record.ignored else "learns")
        found, wrong = self.judge(index, int(arrived.chunks[0]), arrived.num_workers[0])
        if record.done == record.num_chunks and self.begun[0] < len(self.streams):
            self.begin_next()
        return self.step(found, wrong)

    def judge(self, index: int, chunk: int, workers: int) -> tuple[str, str | None]:
        """What a result was taken for, and what is wrong with it."""
        chunk_of_job = int(self.starts[index]) + chunk
        everybody = range(self.shape.num_workers)
        got = int(self.outs[index][chunk])
        if self.shape.stragglers:
            return self.judge_part(chunk_of_job, got, workers)
        right = sum(number(worker, chunk_of_job) for worker in everybody)
        found = f"takes {got} as the sum of chunk {chunk_of_job}"
        if got != right:
            return found, f"{found}, where {right} is right"
        if workers != self.shape.num_workers:
            return found, f"{found}, of {workers} workers"
        return found, None

    def judge_part(self, chunk: int, got: int, workers: int) -> tuple[str, str | None]:
        """A result must be the sum of as many workers as it says."""
        found = f"takes {got} as the sum of chunk {chunk}, of {workers} workers"
        everybody = range(self.shape.num_workers)
        sums = {
            sum(number(worker, chunk) for worker in some)
            for some in combinations(everybody, workers)
        }
        return found, None if got in sums else f"{found}, which no {workers} have"

    def step(self, did: str, wrong: str | None = None) -> Step:
        """Send what is due; and what timers may have it send later."""
        sent = self.contributions()
        later = self.repeats(window.AGAIN) + self.repeats(window.ASK)
        self.forget_time()
        later += self.news
        return Step(pack(self.arrays), tuple(sent), did, wrong, tuple(later))

    def again(self, state: bytes) -> tuple[Packet, ...]:
        """After a few contributions in vain a host asks, and no more."""
        unpack(state, self.arrays)
        if self.window.window[0].left_behind:
            return ()
        return tuple(self.repeats(window.ASK))

    def repeats(self, how: int) -> list[Packet]:
        """Every outstanding contribution once more, or a query for it."""
        for at, slot in enumerate(self.window.slots):
            if slot.state == window.SENT:
                window.send_again(self.window, at, how)
        return self.contributions() if how == window.AGAIN else self.queries()

    def contributions(self) -> list[Packet]:
        stream = self.streams[self.begun[0] - 1]
        return self.packets(datagrams.contributions(self.window, stream, 0.0))

    def queries(self) -> list[Packet]:
        return self.packets(datagrams.queries(self.window, 0.0))

    def packets(self, rows: Rows) -> list[Packet]:
        sent = datagrams.bytes_of_rows(rows)
        return [Packet(self.place, self.switch, data) for data in sent]

    def forget_time(self) -> None:
        """Set what depends on when things happened to one value, and the queue of
        what the limit holds back to its beginning."""
        window.advance_oldest(self.window)
        record: Any = self.window.window
        slots: Any = self.window.slots
        waiting = [
            self.window.fresh[at % self.shape.num_slots]
            for at in range(record.fresh_head[0], record.fresh_tail[0])
        ]
        self.window.fresh[:] = 0
        self.window.fresh[: len(waiting)] = waiting
        self.window.again[:] = 0
        record.fresh_head = record.again_head = record.again_tail = 0
        record.fresh_tail = len(waiting)
        record.newest_sent_at = record.newest_rtt = record.rtt = 0
        record.newest_chunk = record.repaired = record.next_timeout = 0
        record.newest_number = record.sent = record.shortest_rtt = 0
        record.missing = record.silent = record.ignored = record.partial = 0
        slots.sent_at = slots.deadline = 0
        slots.timeouts = slots.silent = slots.excused = slots.queries = 0
        slots.number = 0
        self.window.estimate[:] = new_estimate()

    def finished(self, state: bytes) -> bool:
        unpack(state, self.arrays)
        record = self.window.window[0]
        return bool(
            record.left_behind
            or (self.begun[0] == len(self.streams) and record.done == record.num_chunks)
        )


def parties_of(shape: Shape) -> list[Party]:
    """The switches, and the workers. Raises ValueError for what cannot be explored."""
    if not 1 <= shape.num_workers <= MOST_WORKERS:
        raise ValueError(f"{shape.num_workers} workers: must be 1 to {MOST_WORKERS}")
    if shape.num_slots < 1 or shape.num_slots & (shape.num_slots - 1):
        raise ValueError(f"{shape.num_slots} slots: must be a power of two")
    if not shape.aggregations or min(shape.aggregations) < 1:
        raise ValueError("aggregations: each must have a chunk or more")
    if sum(shape.aggregations) > 99:
        raise ValueError("aggregations: must have at most 99 chunks in all")
    if shape.tree and sorted(ranks_of(shape.tree)) != list(range(shape.num_workers)):
        raise ValueError(f"tree {shape.tree}: must have each rank from 0 on once")
    jobs = jobs_of_places(shape)
    switches = [Switch(shape, job, place) for place, job in enumerate(jobs)]
    workers = [
        Worker(shape, place - len(jobs), place, switch, jobs[switch])
        for place in range(len(jobs), len(jobs) + shape.num_workers)
        for switch, job in enumerate(jobs)
        if address(place) in job.workers
    ]
    return [*switches, *workers]
